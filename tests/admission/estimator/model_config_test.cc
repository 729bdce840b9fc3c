#include "admission/estimator/model_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "admission/estimator/json_fields.h"
#include "tests/admission/estimator/test_models.h"

namespace vramgate {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

// A small llama, to be bent.
json Llama() {
  return {{"model_type", "llama"},    {"num_hidden_layers", 2},         {"hidden_size", 64},
          {"num_attention_heads", 4}, {"num_key_value_heads", 2},       {"vocab_size", 100},
          {"intermediate_size", 128}, {"max_position_embeddings", 512}, {"torch_dtype", "bfloat16"}};
}

absl::StatusOr<ModelShape> Parse(const json& config, const ModelOverrides& overrides = {}) {
  return ParseModelConfig(config.dump(), "config.json", overrides);
}

ModelShape Parsed(const json& config, const ModelOverrides& overrides = {}) {
  const absl::StatusOr<ModelShape> shape = Parse(config, overrides);
  EXPECT_TRUE(shape.ok()) << shape.status();
  return shape.ok() ? *shape : ModelShape{};
}

std::string ParseError(std::string_view text) {
  const absl::Status status = ParseModelConfig(text, "config.json").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status << " for " << text.substr(0, 80);
  EXPECT_LT(status.message().size(), 2000u);
  return std::string(status.message());
}

json With(json config, const char* key, json value) {
  config[key] = std::move(value);
  return config;
}

json Without(json config, const char* key) {
  config.erase(key);
  return config;
}

// What the first layer keeps.
Kept FirstKept(const ModelShape& shape) {
  if (shape.stack.empty() || shape.kinds[shape.stack[0]].kept.empty()) {
    ADD_FAILURE() << "the first layer keeps nothing";
    return {};
  }
  return shape.kinds[shape.stack[0]].kept[0];
}

// A letter for what each layer keeps: f full, w window, c chunk, s state, l latent, - nothing.
std::string Pattern(const ModelShape& shape) {
  std::string pattern;
  for (const uint16_t kind : shape.stack) {
    const std::vector<Kept>& kept = shape.kinds[kind].kept;
    pattern += kept.empty() ? '-' : "fwclicresx"[static_cast<int>(kept[0].kind)];
  }
  return pattern;
}

TEST(ModelConfigTest, AbsentHeadsAndDimsFollowTheRules) {
  EXPECT_EQ(FirstKept(Parsed(Llama())).heads, 2);
  EXPECT_EQ(FirstKept(Parsed(Without(Llama(), "num_key_value_heads"))).heads, 4);
  EXPECT_EQ(FirstKept(Parsed(With(Llama(), "num_key_value_heads", nullptr))).heads, 4);
  EXPECT_EQ(FirstKept(Parsed(Llama())).key_dim, 16);
  EXPECT_EQ(FirstKept(Parsed(With(Llama(), "head_dim", 0))).key_dim, 16);
  EXPECT_EQ(FirstKept(Parsed(With(Llama(), "head_dim", nullptr))).key_dim, 16);
  EXPECT_EQ(FirstKept(Parsed(With(Llama(), "head_dim", 128))).key_dim, 128);
  EXPECT_EQ(Parsed(With(Without(Llama(), "torch_dtype"), "dtype", "float16")).dtype, DType::kFp16);
  EXPECT_EQ(Parsed(Without(Llama(), "torch_dtype")).dtype, std::nullopt);
}

TEST(ModelConfigTest, FalconKeepsOneKvHeadWhateverItsConfigCounts) {
  EXPECT_EQ(FirstKept(ReadShape("falcon-7b")).heads, 1);
  const json new_architecture = {{"model_type", "falcon"},          {"num_hidden_layers", 2}, {"hidden_size", 64},
                                 {"num_attention_heads", 4},        {"num_kv_heads", 2},      {"vocab_size", 100},
                                 {"new_decoder_architecture", true}};
  EXPECT_EQ(FirstKept(Parsed(new_architecture)).heads, 2);
  EXPECT_EQ(FirstKept(ReadShape("starcoderbase-1b")).heads, 1);
}

TEST(ModelConfigTest, WindowsStandWhereTheFamilyHasThem) {
  EXPECT_EQ(Pattern(ReadShape("mistral-7b-v0.1")), std::string(32, 'w'));
  EXPECT_EQ(FirstKept(ReadShape("mistral-7b-v0.1")).span, 4096);
  EXPECT_EQ(Pattern(ReadShape("phi-3-mini-4k")), std::string(32, 'w'));
  EXPECT_EQ(Pattern(ReadShape("mixtral-8x7b")), std::string(32, 'f'));
  EXPECT_EQ(Pattern(ReadShape("qwen2.5-7b")), std::string(28, 'f')) << "use_sliding_window is false";
  EXPECT_EQ(Pattern(ReadShape("gemma-2-2b")), "wfwfwfwfwfwfwfwfwfwfwfwfwf");
  EXPECT_EQ(Pattern(ReadShape("gemma-3-4b")), "wwwwwfwwwwwfwwwwwfwwwwwfwwwwwfwwww");
  EXPECT_EQ(Pattern(ReadShape("llama-4-scout")), "cccfcccfcccfcccfcccfcccfcccfcccfcccfcccfcccfcccf");
  EXPECT_EQ(Pattern(Parsed(With(With(Llama(), "model_type", "mistral"), "sliding_window", 511))), "ww");
  EXPECT_EQ(Pattern(Parsed(With(With(Llama(), "model_type", "mistral"), "sliding_window", nullptr))), "ff");
  EXPECT_EQ(Pattern(Parsed(With(Llama(), "sliding_window", 64))), "ff") << "llama does not use the key";
  const json qwen = With(With(With(Llama(), "model_type", "qwen2"), "sliding_window", 64), "use_sliding_window", true);
  EXPECT_EQ(Pattern(Parsed(With(qwen, "max_window_layers", 1))), "fw");
  EXPECT_EQ(Pattern(Parsed(
                With(With(Llama(), "sliding_window", 64), "layer_types", {"full_attention", "sliding_attention"}))),
            "fw");
  EXPECT_EQ(Pattern(Parsed(With(Llama(), "layer_types", {"full_attention", "full_attention"}))), "ff");
  EXPECT_THAT(ParseError(With(Llama(), "layer_types", {"full_attention", "sliding_attention"}).dump()),
              HasSubstr("sliding_window"));
}

TEST(ModelConfigTest, NothingIsLookedUpByName) {
  const absl::StatusOr<ModelShape> shape = ReadModel(ModelPath("llama-3.1-8b"));
  ASSERT_TRUE(shape.ok());
  const auto dir = std::filesystem::path(::testing::TempDir()) / "Mixtral-8x22B-GPTQ-mamba";
  std::filesystem::create_directories(dir);
  std::ifstream in(ModelPath("llama-3.1-8b"));
  json config = json::parse(in);
  config["_name_or_path"] = "deepseek-ai/DeepSeek-V3";
  config["architectures"] = {"MambaForCausalLM"};
  std::ofstream(dir / "config.json") << config.dump();
  for (const std::string& path : {dir.string(), (dir / "config.json").string()}) {
    const absl::StatusOr<ModelShape> renamed = ReadModel(path);
    ASSERT_TRUE(renamed.ok()) << renamed.status();
    const CostTable a = Compiled(*shape, {}), b = Compiled(*renamed, {});
    EXPECT_EQ(a.fixed_bytes(), b.fixed_bytes());
    EXPECT_EQ(a.Price(1000, 1000, 2), b.Price(1000, 1000, 2));
  }
  std::filesystem::remove_all(dir);
}

TEST(ModelConfigTest, UnknownKindsAreRefusedNamingTheOverrides) {
  for (const char* type : {"alien", "mamba3", "gemma5_text", "Llama", "llama ", ""}) {
    EXPECT_THAT(ParseError(With(Llama(), "model_type", type).dump()),
                AllOf(StartsWith("config.json: model_type:"), HasSubstr("kv_bytes_per_token"), HasSubstr("parameters"),
                      HasSubstr("weights_bytes")))
        << type;
  }
  EXPECT_THAT(ParseError(Without(Llama(), "model_type").dump()), HasSubstr("model_type: missing"));
  EXPECT_THAT(ParseError(With(Llama(), "kv_lora_rank", 512).dump()),
              AllOf(HasSubstr("kv_lora_rank"), HasSubstr("kv_bytes_per_token")));
  EXPECT_THAT(ParseError(With(Llama(), "layer_types", {"full_attention", "linear_attention"}).dump()),
              HasSubstr("kv_bytes_per_token"));
  EXPECT_THAT(ParseError(With(Llama(), "quantization_config", {{"quant_method", "quip#"}}).dump()),
              AllOf(HasSubstr("quip#"), HasSubstr("weights_bytes")));
}

TEST(ModelConfigTest, OverridesLetAnUnknownKindIn) {
  const json alien = {{"model_type", "alien"}, {"num_hidden_layers", 10}, {"hidden_size", 20}};
  EXPECT_FALSE(Parse(alien, {.kv_bytes_per_token = 100}).ok());
  EXPECT_FALSE(Parse(alien, {.weights_bytes = 100}).ok());
  const ModelShape shape = Parsed(alien, {.kv_bytes_per_token = 100, .parameters = 1000});
  const CostTable table = Compiled(shape, {.block_tokens = 1, .activation = ActivationMode::kResident});
  EXPECT_EQ(table.weights_bytes(), 2000);
  EXPECT_EQ(table.Price(3, 0, 1), (RankCost{300, 3 * 20 * 10 * 2}));
  // Of a known kind, an override replaces its own term only.
  const CostTable known = Compiled(Parsed(Llama(), {.kv_bytes_per_token = 7}), {.block_tokens = 1});
  EXPECT_EQ(known.kv_bytes_per_token(), 7);
  EXPECT_EQ(known.weights_bytes(), Compiled(Parsed(Llama()), {}).weights_bytes());
  EXPECT_EQ(Compiled(ReadShape("llama-3.1-8b"), {}).weights_bytes(), 2 * 8'030'261'248 + 131'072 * 128 * 2);
  EXPECT_FALSE(Parse(Llama(), {.weights_bytes = -5}).ok());
}

TEST(ModelConfigTest, EightBitCheckpointsKeepEmbeddingsAtSixteen) {
  const CostTable wide = Compiled(Parsed(Llama()), {});
  const CostTable narrow = Compiled(Parsed(With(Llama(), "quantization_config", {{"quant_method", "fp8"}})), {});
  const int64_t matrices = 2 * (64 * (64 + 32 + 32) + 64 * 64 + 3 * 64 * 128);
  const int64_t outputs = 2 * (64 + 32 + 32 + 64 + 128 + 128 + 64);
  EXPECT_EQ(wide.weights_bytes() - narrow.weights_bytes(), matrices - 4 * outputs);
  EXPECT_EQ(narrow.kv_bytes_per_token(), wide.kv_bytes_per_token());
}

TEST(ModelConfigTest, MissingAndImpossibleValuesAreNamed) {
  for (const char* key :
       {"num_hidden_layers", "hidden_size", "num_attention_heads", "vocab_size", "intermediate_size"}) {
    EXPECT_THAT(ParseError(Without(Llama(), key).dump()),
                AllOf(StartsWith("config.json: "), HasSubstr(key), HasSubstr("missing")));
    for (const json& bad : {json(0), json(-1), json(1.5), json(1e300), json("32"), json(true), json::array({1}),
                            json::object(), json(int64_t{1} << 40), json(uint64_t{0} - 1)}) {
      EXPECT_THAT(ParseError(With(Llama(), key, bad).dump()), AllOf(StartsWith("config.json: "), HasSubstr(key)))
          << bad;
    }
  }
  EXPECT_THAT(ParseError(With(Llama(), "num_key_value_heads", 3).dump()),
              HasSubstr("num_key_value_heads: 3 must divide"));
  EXPECT_THAT(ParseError(With(Llama(), "num_key_value_heads", json::array({2, 2})).dump()),
              HasSubstr("num_key_value_heads"));
  EXPECT_THAT(ParseError(With(Llama(), "hidden_size", 65).dump()), HasSubstr("head_dim"));
  EXPECT_THAT(ParseError(With(Llama(), "num_hidden_layers", 100'000).dump()), HasSubstr("layers"));
  EXPECT_THAT(ParseError(With(Llama(), "attention_bias", "yes").dump()), HasSubstr("attention_bias"));
  EXPECT_THAT(ParseError(With(Llama(), "partial_rotary_factor", -1).dump()), HasSubstr("partial_rotary_factor"));
  EXPECT_THAT(ParseError(With(Llama(), "torch_dtype", "int3").dump()), HasSubstr("torch_dtype"));
  EXPECT_THAT(ParseError(With(Llama(), "model_type", 7).dump()), HasSubstr("model_type"));
  EXPECT_THAT(ParseError(With(Llama(), "layer_types", {"full_attention"}).dump()), HasSubstr("layer_types"));
  EXPECT_THAT(ParseError(With(Llama(), "layer_types", "all").dump()), HasSubstr("layer_types"));
  EXPECT_THAT(ParseError(With(Llama(), "quantization_config", "fp8").dump()), HasSubstr("quantization_config"));
}

int64_t SparseLayers(const ModelShape& shape) {
  int64_t sparse = 0;
  for (const uint16_t kind : shape.stack) {
    const std::vector<Matrix>& matrices = shape.kinds[kind].matrices;
    sparse += std::any_of(matrices.begin(), matrices.end(), [](const Matrix& m) { return m.part == Part::kExperts; });
  }
  return sparse;
}

TEST(ModelConfigTest, ExpertsFollowTheirLayerLists) {
  std::ifstream in(ModelPath("qwen3-30b-a3b"));
  const json config = json::parse(in);
  EXPECT_EQ(SparseLayers(Parsed(config)), 48);
  EXPECT_EQ(SparseLayers(Parsed(With(config, "mlp_only_layers", {0, 1, 1, 99}))), 46);
  EXPECT_EQ(SparseLayers(Parsed(With(config, "decoder_sparse_step", 2))), 24);
  EXPECT_EQ(SparseLayers(Parsed(With(With(config, "decoder_sparse_step", 2), "mlp_only_layers", {0, 1}))), 23);
  EXPECT_THAT(ParseError(With(config, "mlp_only_layers", {"a"}).dump()), HasSubstr("mlp_only_layers"));
  EXPECT_THAT(ParseError(With(config, "decoder_sparse_step", 0).dump()), HasSubstr("decoder_sparse_step"));
  EXPECT_THAT(ParseError(With(config, "num_experts_per_tok", 129).dump()), HasSubstr("num_experts_per_tok"));
}

TEST(ModelConfigTest, HostileTextIsRefused) {
  const std::string good = Llama().dump();
  for (const std::string& text :
       {std::string(), std::string("{"), std::string("null"), std::string("[]"), std::string("42"),
        std::string("\"llama\""), std::string("{}"), good + "}", good.substr(0, good.size() / 2),
        std::string("\xff\xfe{}"), std::string(1000, '\0'), std::string("{\"model_type\": \"llama\", \"x\": 1e999}"),
        std::string("{\"model_type\": nan}")}) {
    ParseError(text);
  }
  EXPECT_THAT(ParseError("{\"a\":" + std::string(100'000, '[')), HasSubstr("nested deeper"));
  EXPECT_THAT(ParseError(std::string(kMaxConfigBytes + 1, ' ')), HasSubstr("larger than"));
  const std::string loud = ParseError(With(Llama(), "model_type", std::string(1 << 20, '\x07')).dump());
  EXPECT_EQ(loud.find('\x07'), std::string::npos);
  EXPECT_THAT(ParseError(With(Llama(), "hidden_size", std::string(1 << 20, 'x')).dump()), HasSubstr("hidden_size"));
}

// Python's json writes these, and real configs have them where nobody looks; where a size is due they are as good as
// absent.
TEST(ModelConfigTest, NaNAndInfinityAreAbsentValues) {
  std::string text = Llama().dump();
  text.insert(1, "\"time_step_limit\": [0.0, Infinity, -Infinity, NaN], \"note\": \"NaN \\\" [[[ Infinity\", ");
  EXPECT_TRUE(ParseModelConfig(text, "config.json").ok()) << ParseModelConfig(text, "config.json").status();
  EXPECT_THAT(ParseError("{\"model_type\": \"llama\", \"num_hidden_layers\": NaN}"),
              HasSubstr("num_hidden_layers: missing"));
}

TEST(ModelConfigTest, FilesThatCannotBeRead) {
  const std::filesystem::path dir = std::filesystem::path(::testing::TempDir()) / "vramgate_empty_dir";
  std::filesystem::create_directories(dir);
  EXPECT_EQ(ReadModel("/no/such/model").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(ReadModel(dir.string()).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(ReadModel("").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(ReadModel("/dev/zero").status().code(), absl::StatusCode::kInvalidArgument);
  const std::string fifo = (dir / "config.json").string();
  ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
  EXPECT_EQ(ReadModel(dir.string()).status().code(), absl::StatusCode::kInvalidArgument) << "and does not hang";
  std::filesystem::remove(fifo);
  std::ofstream(fifo) << std::string(kMaxConfigBytes + 10, ' ');
  EXPECT_THAT(std::string(ReadModel(dir.string()).status().message()), HasSubstr("larger than"));
  std::filesystem::remove_all(dir);
}

}  // namespace
}  // namespace vramgate
