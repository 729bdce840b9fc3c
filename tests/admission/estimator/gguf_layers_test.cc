#include "admission/estimator/gguf_layers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/gguf_writer.h"

namespace vramgate {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr int64_t kMiB = int64_t{1} << 20;
constexpr uint32_t kF16 = 1;

// A file of that architecture with plain attention, to be bent: keys are written without their prefix.
class Model {
 public:
  explicit Model(std::string_view arch, uint32_t layers = 2, uint32_t hidden = 64) : arch_(arch) {
    writer_.Text("general.architecture", arch);
    U32("block_count", layers).U32("embedding_length", hidden);
  }
  Model& U32(const std::string& key, uint32_t value) {
    writer_.U32(arch_ + "." + key, value);
    return *this;
  }
  Model& Heads(uint32_t heads, uint32_t kv_heads, uint32_t dim) {
    return U32("attention.head_count", heads).U32("attention.head_count_kv", kv_heads).Dim(dim, dim);
  }
  Model& Dim(uint32_t key, uint32_t value) {
    return U32("attention.key_length", key).U32("attention.value_length", value);
  }
  Model& Ints(const std::string& key, const std::vector<int32_t>& values) {
    writer_.Ints(arch_ + "." + key, values);
    return *this;
  }
  Model& Bools(const std::string& key, const std::vector<bool>& values) {
    writer_.Bools(arch_ + "." + key, values);
    return *this;
  }
  Model& Ssm(uint32_t kernel, uint32_t inner, uint32_t state, uint32_t groups, uint32_t rank) {
    U32("ssm.conv_kernel", kernel).U32("ssm.inner_size", inner).U32("ssm.state_size", state);
    return U32("ssm.group_count", groups).U32("ssm.time_step_rank", rank);
  }
  GgufWriter& writer() { return writer_; }

  GgufModel Read() const {
    const absl::StatusOr<GgufModel> model = Try();
    EXPECT_TRUE(model.ok()) << model.status();
    return model.value_or(GgufModel());
  }
  std::string Error() const {
    const absl::StatusOr<GgufModel> model = Try();
    EXPECT_EQ(model.status().code(), absl::StatusCode::kInvalidArgument);
    return std::string(model.status().message());
  }

 private:
  absl::StatusOr<GgufModel> Try() const {
    const absl::StatusOr<GgufFile> file = ParseGguf(writer_.Head(), "m.gguf");
    EXPECT_TRUE(file.ok()) << file.status();
    return ReadGgufLayers(*file, "m.gguf");
  }

  std::string arch_;
  GgufWriter writer_;
};

// Elements of a token's keys and values, in layers with a window or in those without.
int64_t Elements(const GgufModel& model, bool windowed) {
  int64_t sum = 0;
  for (const GgufLayer& layer : model.layers) {
    if ((layer.window_tokens > 0) == windowed) sum += layer.kv_heads * (layer.key_dim + layer.value_dim);
  }
  return sum;
}

int64_t StateBytes(const GgufModel& model) {
  int64_t sum = 0;
  for (const GgufLayer& layer : model.layers) sum += 4 * (layer.conv_elements + layer.state_elements);
  return sum;
}

// The kinds of layers, one letter each.
std::string Kinds(const GgufModel& model) {
  std::string kinds;
  for (const GgufLayer& layer : model.layers) {
    const bool attention = layer.kv_heads > 0;
    const bool state = layer.state != GgufState::kNone;
    kinds += attention && state ? 'B' : state ? 'S' : !attention ? '-' : layer.window_tokens > 0 ? 'w' : 'F';
  }
  return kinds;
}

// Buffers as llama.cpp prints them when it loads such models, from public logs: the cells are the logs', too. f16
// unless said.
TEST(GgufLayersTest, CountsTheBuffersThatLlamaCppPrinted) {
  const GgufModel qwen2 = Model("qwen2", 28, 3584).Heads(28, 4, 128).Read();
  EXPECT_EQ(Elements(qwen2, false) * 2 * 2048, 112 * kMiB);  // llama-cpp-python#1 (JamePeng)
  const GgufModel llama2 = Model("llama", 32, 4096).U32("attention.head_count", 32).Read();
  EXPECT_EQ(Elements(llama2, false) * 2 * 2048, 1024 * kMiB);  // Llama-2-7B: all heads, of hidden / heads
  const GgufModel oss = Model("gpt-oss", 24, 2880).Heads(64, 8, 64).U32("attention.sliding_window", 128).Read();
  EXPECT_EQ(Elements(oss, false) * 2 * 16'384, 384 * kMiB);  // 2048 cells of 8 streams
  EXPECT_EQ(Elements(oss, true) * 2 * 4096, 96 * kMiB);      // 512 cells of 8 streams
  const GgufModel gemma3 = Model("gemma3", 18, 640).Heads(4, 1, 256).U32("attention.sliding_window", 512).Read();
  EXPECT_EQ(Elements(gemma3, false) * 2 * 8192 + Elements(gemma3, true) * 2 * 1024, 39 * kMiB);  // 270m
  const GgufModel laguna = Model("laguna", 48, 2048).Heads(48, 8, 128).U32("attention.sliding_window", 512).Read();
  EXPECT_EQ(Elements(laguna, false) * 9 / 16 * 1'048'576, 13'824 * kMiB);  // q4_0
  EXPECT_EQ(Elements(laguna, true) * 9 / 16 * 1024, 81 * kMiB / 2);
}

TEST(GgufLayersTest, CountsTheBuffersOfADeepSeekNotConvertedForMla) {
  Model model("deepseek2", 27, 2048);
  model.U32("attention.head_count", 16).U32("attention.head_count_kv", 16).Dim(192, 128);
  model.U32("attention.kv_lora_rank", 512).U32("rope.dimension_count", 64);
  const GgufModel read = model.Read();
  EXPECT_EQ(Elements(read, false) * 2 * 16'384, 4320 * kMiB);
  EXPECT_FALSE(read.layers[0].is_latent);
}

// Gemma 4 E4B: of 42 blocks the last 18 have no keys and values of their own.
TEST(GgufLayersTest, CountsTheBuffersOfSharedLayersAndOwnHeadsOfWindows) {
  std::vector<bool> windows;
  for (int i = 0; i < 42; ++i) windows.push_back(i % 6 != 5);
  Model model("gemma4", 42, 2560);
  model.Heads(8, 2, 512).U32("attention.key_length_swa", 256).U32("attention.value_length_swa", 256);
  model.U32("attention.sliding_window", 512).Bools("attention.sliding_window_pattern", windows);
  const GgufModel read = model.U32("attention.shared_kv_layers", 18).Read();
  EXPECT_EQ(Elements(read, false) * 2 * 32'768, 512 * kMiB);
  EXPECT_EQ(Elements(read, true) * 2 * 1024, 40 * kMiB);
  EXPECT_EQ(Kinds(read), "wwwwwFwwwwwFwwwwwFwwwwwF------------------");
}

TEST(GgufLayersTest, CountsTheStatesThatLlamaCppPrinted) {
  Model qwen("qwen35", 32, 4096);
  qwen.Heads(16, 4, 256).Ssm(4, 4096, 128, 16, 32).U32("full_attention_interval", 4);
  EXPECT_EQ(Elements(qwen.Read(), false) * 2 * 135'168, 4224 * kMiB);
  EXPECT_EQ(4 * StateBytes(qwen.Read()), 201 * kMiB);  // 4 cells
  Model large("qwen35", 64, 5120);
  large.Heads(24, 4, 256).Ssm(4, 6144, 128, 16, 48);
  EXPECT_EQ(8 * StateBytes(large.Read()), 1197 * kMiB);  // 4 cells are 598.50 MiB
  Model mamba("mamba", 64, 2560);
  mamba.U32("attention.head_count", 0).Ssm(4, 5120, 16, 0, 160);
  EXPECT_EQ(4 * StateBytes(mamba.Read()), 95 * kMiB);  // 2.8b: 23.75 MiB (llama.cpp#5328)
}

TEST(GgufLayersTest, ADraftsLayersAreLeftOut) {
  Model model("qwen35", 65, 5120);
  model.Heads(24, 4, 256).Ssm(4, 6144, 128, 16, 48).U32("nextn_predict_layers", 1);
  const GgufModel read = model.Read();
  EXPECT_EQ(read.layers.size(), 64);
  EXPECT_EQ(read.draft_layers, 1);
  EXPECT_EQ(Elements(read, false) * 2 * 131'072, 8192 * kMiB);  // 4352 MiB in q8_0
}

TEST(GgufLayersTest, MlaKeepsOneLatentWhateverTheHeads) {
  Model model("deepseek2", 61, 7168);
  model.U32("attention.head_count", 128).U32("attention.head_count_kv", 1).Dim(576, 512);
  model.U32("attention.key_length_mla", 192).U32("attention.value_length_mla", 128).U32("attention.kv_lora_rank", 512);
  EXPECT_EQ(2 * Elements(model.Read(), false), 70'272);  // DeepSeek-V3: 61 * 576 * 2
  EXPECT_TRUE(model.Read().layers[60].is_latent);
  model.writer().Tensor("blk.0.attn_kv_b.weight", kF16, {512, 32'768});
  EXPECT_FALSE(model.Read().layers[0].is_latent);
}

TEST(GgufLayersTest, TheIndexerOfDsaIsWhereTheFileOrTheContextSays) {
  const auto dsa = [](uint32_t context) {
    Model model("glm-dsa", 10, 6144);
    model.U32("attention.head_count", 64).U32("attention.head_count_kv", 1).Dim(576, 512);
    model.U32("attention.key_length_mla", 256).U32("attention.value_length_mla", 256);
    return model.U32("attention.indexer.key_length", 128).U32("context_length", context);
  };
  const auto indexed = [](const GgufModel& model) {
    std::vector<int64_t> dims;
    for (const GgufLayer& layer : model.layers) dims.push_back(layer.index_dim / 128);
    return dims;
  };
  EXPECT_THAT(indexed(dsa(202'752).Read()), ElementsAre(1, 1, 1, 1, 1, 1, 1, 1, 1, 1));
  EXPECT_THAT(indexed(dsa(1 << 20).Read()), ElementsAre(1, 1, 1, 0, 0, 0, 1, 0, 0, 0));
  Model listed = dsa(1 << 20).Ints("attention.indexer.types", {0, 1, 0, 0, 0, 0, 0, 0, 0, 1});
  EXPECT_THAT(indexed(listed.Read()), ElementsAre(0, 1, 0, 0, 0, 0, 0, 0, 0, 1));
}

TEST(GgufLayersTest, WindowsFollowTheirPatterns) {
  const auto kinds = [](std::string_view arch, uint32_t layers, bool window = true) {
    Model model(arch, layers);
    model.Heads(4, 2, 16);
    if (window) model.U32("attention.sliding_window", 128);
    return Kinds(model.Read());
  };
  EXPECT_EQ(kinds("gemma2", 4), "wFwF");
  EXPECT_EQ(kinds("gemma2", 4, false), "wFwF");  // 4096 by default
  EXPECT_EQ(kinds("gemma3", 7), "wwwwwFw");
  EXPECT_EQ(kinds("cohere2", 5), "wwwFw");
  EXPECT_EQ(kinds("olmo2", 4), "wwwF");
  EXPECT_EQ(kinds("olmo2", 4, false), "FFFF");
  EXPECT_EQ(kinds("laguna", 5), "FwwwF");
  EXPECT_EQ(kinds("exaone4", 30), std::string(30, 'F'));
  EXPECT_EQ(kinds("exaone4", 64).substr(0, 8), "wwwFwwwF");
  EXPECT_EQ(kinds("gemma3n", 22), "wwwwFwwwwFwwwwFwwwwF--");
  for (const char* full : {"llama", "mistral3", "phi3", "qwen2"}) EXPECT_EQ(kinds(full, 3), "FFF") << full;

  const GgufModel llama4 = Model("llama4", 4).Heads(4, 2, 16).Read();
  EXPECT_EQ(Kinds(llama4), "wwwF");
  EXPECT_TRUE(llama4.layers[0].is_chunked);
  EXPECT_EQ(llama4.layers[0].window_tokens, 8192);
  EXPECT_EQ(Kinds(Model("llama4", 4).Heads(4, 2, 16).U32("attention.sliding_window", 0).Read()), "FFFF");

  Model period("gemma3", 4);
  period.Heads(4, 2, 16).U32("attention.sliding_window", 128).U32("attention.sliding_window_pattern", 2);
  EXPECT_EQ(Kinds(period.Read()), "wFwF");
  Model list("step35", 4);
  list.Heads(4, 2, 16).U32("attention.sliding_window", 128);
  EXPECT_THAT(list.Error(), HasSubstr("sliding_window_pattern: missing"));
  EXPECT_EQ(Kinds(list.Ints("attention.sliding_window_pattern", {0, 1, 1, 0}).Read()), "FwwF");
}

TEST(GgufLayersTest, HybridsSayWhichLayersHaveAState) {
  const auto hybrid = [](std::string_view arch) {
    Model model(arch, 4);
    model.U32("attention.head_count", 4).Dim(16, 16).Ssm(4, 128, 16, 1, 8);
    return model.Ints("attention.head_count_kv", {0, 0, 2, 0});
  };
  EXPECT_EQ(Kinds(hybrid("jamba").Read()), "SSFS");
  EXPECT_EQ(Kinds(hybrid("granitehybrid").Read()), "SSFS");
  EXPECT_EQ(Kinds(hybrid("plamo2").Read()), "SSFS");
  EXPECT_EQ(Kinds(hybrid("nemotron_h").Ints("feed_forward_length", {0, 256, 0, 0}).Read()), "S-FS");
  EXPECT_EQ(Kinds(Model("falcon-h1").Heads(4, 2, 16).Ssm(4, 128, 16, 1, 8).Read()), "BB");
  EXPECT_EQ(Kinds(Model("qwen3next", 4).Heads(4, 2, 16).Ssm(4, 128, 16, 1, 8).Read()), "SSSF");
  Model listed("qwen35moe", 4);
  listed.Heads(4, 2, 16).Ssm(4, 128, 16, 1, 8).Bools("attention.recurrent_layers", {false, true, true, false});
  EXPECT_EQ(Kinds(listed.Read()), "FSSF");

  Model lfm("lfm2", 3, 2048);
  lfm.U32("attention.head_count", 32).Ints("attention.head_count_kv", {0, 8, 0}).U32("shortconv.l_cache", 3);
  EXPECT_EQ(Kinds(lfm.Read()), "SFS");
  EXPECT_EQ(StateBytes(lfm.Read()), 2 * 4 * 2048 * 2);

  Model kimi("kimi-linear", 4, 2304);
  kimi.U32("attention.head_count", 32).Ints("attention.head_count_kv", {0, 0, 0, 1}).Dim(576, 512);
  kimi.U32("attention.key_length_mla", 192).U32("attention.value_length_mla", 128).U32("kda.head_dim", 128);
  const GgufModel read = kimi.U32("attention.kv_lora_rank", 512).U32("ssm.conv_kernel", 4).Read();
  EXPECT_EQ(Kinds(read), "SSSF");
  EXPECT_EQ(Elements(read, false), 576);
  EXPECT_EQ(StateBytes(read), 3 * 4 * (3 * 3 * 4096 + 128 * 4096));

  EXPECT_EQ(StateBytes(Model("rwkv7", 2, 768).U32("wkv.head_size", 64).Read()), 2 * 4 * (2 * 768 + 768 * 64));
}

TEST(GgufLayersTest, LayersMayHaveHeadsOfTheirOwn) {
  const GgufModel deci =
      Model("deci", 3).Ints("attention.head_count", {4, 0, 4}).Ints("attention.head_count_kv", {2, 0, 1}).Read();
  EXPECT_EQ(Kinds(deci), "F-F");
  EXPECT_EQ(Elements(deci, false), 3 * (16 + 16));
  EXPECT_THAT(Model("openelm", 3).Ints("attention.head_count_kv", {2, 4}).U32("attention.head_count", 4).Error(),
              HasSubstr("for each of the 3 layers"));
}

TEST(GgufLayersTest, ReadsTheSizesThatActivationNeeds) {
  Model model("qwen3moe", 2, 2048);
  model.Heads(32, 4, 128).U32("feed_forward_length", 6144).U32("expert_count", 128).U32("expert_used_count", 8);
  model.U32("expert_feed_forward_length", 768).U32("expert_shared_count", 2).U32("context_length", 40'960);
  model.writer().Texts("tokenizer.ggml.tokens", {"a", "b", "c"}).Tensor("token_embd.weight", kF16, {2048, 3});
  const GgufModel read = model.Read();
  EXPECT_EQ(read.hidden, 2048);
  EXPECT_EQ(read.heads, 32);
  EXPECT_EQ(read.vocab, 3);
  EXPECT_EQ(read.intermediate, 6144);
  EXPECT_EQ(read.experts, 128);
  EXPECT_EQ(read.experts_used, 8);
  EXPECT_EQ(read.expert_intermediate, 768);
  EXPECT_EQ(read.shared_intermediate, 1536);
  EXPECT_EQ(read.context_tokens, 40'960);
  EXPECT_EQ(read.weights_bytes, 12'288);
  EXPECT_EQ(read.embedding_bytes, 12'288);
  EXPECT_TRUE(read.is_tied);
}

TEST(GgufLayersTest, AlienModelsAreRefusedAndTheOverridesNamed) {
  EXPECT_THAT(Model("deepseek4").Heads(4, 2, 16).Error(),
              AllOf(StartsWith("m.gguf: general.architecture: \"deepseek4\""), HasSubstr("kv_bytes_per_token"),
                    HasSubstr("state_bytes")));
  const absl::StatusOr<GgufFile> nameless = ParseGguf(GgufWriter().U32("llama.block_count", 2).Head(), "m.gguf");
  EXPECT_THAT(std::string(ReadGgufLayers(*nameless, "m.gguf").status().message()), HasSubstr("missing"));
  for (const char* key :
       {"ssm.state_size", "attention.kv_lora_rank", "attention.indexer.key_length", "full_attention_interval",
        "shortconv.l_cache", "wkv.head_size", "kda.head_dim", "attention.shared_kv_layers"}) {
    EXPECT_THAT(Model("llama").Heads(4, 2, 16).U32(key, 1).Error(), AllOf(HasSubstr(key), HasSubstr("another kind")));
  }
}

TEST(GgufLayersTest, SizesAreRefusedWhereTheyCannotBe) {
  EXPECT_THAT(Model("llama", 0).Heads(4, 2, 16).Error(), HasSubstr("block_count: 0"));
  EXPECT_THAT(Model("llama", 1 << 30).Heads(4, 2, 16).Error(), HasSubstr("block_count"));
  EXPECT_THAT(Model("llama").Error(), HasSubstr("head_count_kv: no layer has any"));
  EXPECT_THAT(Model("llama").Heads(4, 1 << 20, 16).Error(), HasSubstr("head_count_kv"));
  EXPECT_THAT(Model("llama").Heads(4, 2, 0).Error(), HasSubstr("key_length"));
  EXPECT_THAT(Model("llama").Heads(4, 2, 16).U32("nextn_predict_layers", 2).Error(), HasSubstr("as many as all"));
  EXPECT_THAT(Model("gemma3n").Heads(4, 2, 16).U32("attention.shared_kv_layers", 2).Error(),
              HasSubstr("as many as all"));
  EXPECT_THAT(Model("mamba").Error(), HasSubstr("mamba.ssm.conv_kernel: missing"));
  EXPECT_THAT(Model("mamba").Ssm(4, 1 << 30, 16, 0, 1).Error(), HasSubstr("inner_size"));
}

}  // namespace
}  // namespace vramgate
