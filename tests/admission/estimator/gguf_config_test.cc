#include "admission/estimator/gguf_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "admission/estimator/gguf_layers.h"
#include "admission/estimator/pool_layout.h"
#include "tests/support/gguf_writer.h"
#include "tests/support/temporary_directory.h"

namespace vramgate {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr int64_t kMiB = int64_t{1} << 20;
constexpr uint32_t kQ4K = 12;

struct Key {
  std::string name;
  uint32_t value;
};

GgufWriter Write(const std::string& arch, const std::vector<Key>& keys) {
  GgufWriter writer;
  writer.Text("general.architecture", arch);
  for (const Key& key : keys) writer.U32(arch + "." + key.name, key.value);
  return writer;
}

ModelShape Shape(const GgufWriter& writer, const ModelOverrides& overrides = {}) {
  const absl::StatusOr<GgufFile> file = ParseGguf(writer.Head(), "m.gguf");
  EXPECT_TRUE(file.ok()) << file.status();
  const absl::StatusOr<ModelShape> shape = ShapeOfGguf(*file, "m.gguf", overrides);
  EXPECT_TRUE(shape.ok()) << shape.status();
  return shape.value_or(ModelShape());
}

// As llama.cpp keeps it, of one sequence, in f16.
PoolLayout Layout(const ModelShape& shape, int64_t tensor_parallel = 1) {
  std::vector<Kept> kept;
  for (const uint16_t kind : shape.stack) {
    kept.insert(kept.end(), shape.kinds[kind].kept.begin(), shape.kinds[kind].kept.end());
  }
  const PoolOptions options{.tensor_parallel = tensor_parallel,
                            .kv_dtype = DType::kFp16,
                            .model_dtype = DType::kFp16,
                            .max_batched_tokens = 512};
  const absl::StatusOr<PoolLayout> layout = PoolLayout::Compile(kept, options, *FindEngineProfile("llama.cpp"));
  EXPECT_TRUE(layout.ok()) << layout.status();
  return layout.value_or(PoolLayout());
}

std::vector<Key> Attention(uint32_t layers, uint32_t hidden, uint32_t heads, uint32_t kv_heads, uint32_t dim) {
  return {{"block_count", layers},         {"embedding_length", hidden},
          {"attention.head_count", heads}, {"attention.head_count_kv", kv_heads},
          {"attention.key_length", dim},   {"attention.value_length", dim}};
}

std::vector<Key> operator+(std::vector<Key> a, const std::vector<Key>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

const std::vector<Key> kQwenState = {{"ssm.conv_kernel", 4},
                                     {"ssm.inner_size", 4096},
                                     {"ssm.state_size", 128},
                                     {"ssm.group_count", 16},
                                     {"ssm.time_step_rank", 32}};

TEST(GgufConfigTest, KeysAndValuesOfEveryToken) {
  const ModelShape shape = Shape(Write("qwen2", Attention(28, 3584, 28, 4, 128)));
  EXPECT_EQ(shape.layers(), 28);
  EXPECT_EQ(shape.kinds.size(), 1);
  EXPECT_EQ(Layout(shape).Bytes(2048, Phase::kPeak), 112 * kMiB);  // printed by llama.cpp
  EXPECT_EQ(Layout(shape, 8).bytes_per_token(), Layout(shape).bytes_per_token() / 4);
}

TEST(GgufConfigTest, WindowsHoldAStepMore) {
  const ModelShape shape =
      Shape(Write("gemma3", Attention(18, 640, 4, 1, 256) + std::vector<Key>{{"attention.sliding_window", 512}}));
  EXPECT_EQ(Layout(shape).Bytes(8192, Phase::kPeak), 39 * kMiB);  // gemma-3-270m: 3 full layers, 15 of 1024 cells
}

TEST(GgufConfigTest, StatesAreInFp32) {
  const ModelShape shape = Shape(Write("qwen35", Attention(32, 4096, 16, 4, 256) + kQwenState));
  EXPECT_EQ(4 * Layout(shape).state_bytes(), 201 * kMiB);  // Qwen3.5-9B: 4 cells
  EXPECT_EQ(Layout(shape).Bytes(135'168, Phase::kPeak) - Layout(shape).state_bytes(), 4224 * kMiB);
  const ModelShape mamba = Shape(Write("mamba", {{"block_count", 64},
                                                 {"embedding_length", 2560},
                                                 {"ssm.conv_kernel", 4},
                                                 {"ssm.inner_size", 5120},
                                                 {"ssm.state_size", 16},
                                                 {"ssm.time_step_rank", 160}}));
  EXPECT_EQ(4 * Layout(mamba).state_bytes(), 95 * kMiB);
}

// However a state is divided, whole it is what the layers say.
TEST(GgufConfigTest, AxesOfStatesMultiplyOutToTheirElements) {
  const std::vector<Key> sizes = {{"block_count", 4}, {"embedding_length", 256}, {"attention.head_count", 8}};
  const std::vector<GgufWriter> files = {
      Write("mamba", sizes + std::vector<Key>{{"ssm.conv_kernel", 4},
                                              {"ssm.inner_size", 500},
                                              {"ssm.state_size", 16},
                                              {"ssm.time_step_rank", 7}}),
      Write("mamba2", sizes + kQwenState),
      Write("rwkv7", sizes + std::vector<Key>{{"wkv.head_size", 64}}),
      Write("lfm2", sizes + std::vector<Key>{{"shortconv.l_cache", 3}})
          .Ints("lfm2.attention.head_count_kv", {0, 0, 2, 0}),
      Write("kimi-linear", sizes + std::vector<Key>{{"ssm.conv_kernel", 4}, {"kda.head_dim", 32}})
          .Ints("kimi-linear.attention.head_count_kv", {0, 0, 0, 8}),
  };
  for (const GgufWriter& writer : files) {
    const absl::StatusOr<GgufModel> model = ReadGgufLayers(*ParseGguf(writer.Head(), "m.gguf"), "m.gguf");
    ASSERT_TRUE(model.ok()) << model.status();
    int64_t elements = 0;
    for (const GgufLayer& layer : model->layers) elements += layer.conv_elements + layer.state_elements;
    EXPECT_GT(elements, 0);
    EXPECT_EQ(Layout(Shape(writer)).state_bytes(), 4 * elements) << model->architecture;
  }
}

TEST(GgufConfigTest, MlaIsWholeOnEveryDevice) {
  const ModelShape shape = Shape(Write("deepseek2", {{"block_count", 61},
                                                     {"embedding_length", 7168},
                                                     {"attention.head_count", 128},
                                                     {"attention.head_count_kv", 1},
                                                     {"attention.key_length", 576},
                                                     {"attention.value_length", 512},
                                                     {"attention.key_length_mla", 192},
                                                     {"attention.value_length_mla", 128},
                                                     {"rope.dimension_count", 64}}));
  EXPECT_EQ(Layout(shape).bytes_per_token(), 70'272);
  EXPECT_EQ(Layout(shape, 8).bytes_per_token(), 70'272);
  EXPECT_EQ(shape.kinds[0].kept[0].rope, 64);
}

TEST(GgufConfigTest, ADraftsLayersStandApart) {
  const ModelShape shape = Shape(
      Write("qwen35", Attention(33, 4096, 16, 4, 256) + kQwenState + std::vector<Key>{{"nextn_predict_layers", 1}}));
  EXPECT_EQ(shape.layers(), 32);
  ASSERT_EQ(shape.drafts.size(), 1);
  EXPECT_EQ(shape.drafts[0].kept[0].kind, KeptKind::kTokens);
}

TEST(GgufConfigTest, TheWeightsAreTheTables) {
  GgufWriter writer = Write("llama", Attention(2, 256, 4, 2, 64));
  writer.Tensor("token_embd.weight", kQ4K, {256, 1000}).Tensor("blk.0.attn_q.weight", kQ4K, {256, 256});
  EXPECT_EQ(Shape(writer).checkpoint_bytes, 1256 * 144);
  EXPECT_TRUE(Shape(writer).tied_embeddings);
  EXPECT_EQ(Shape(writer, {.weights_bytes = 5}).weights_bytes, 5);
}

TEST(GgufConfigTest, AnAlienIsLetInByItsKvAlone) {
  GgufWriter writer = Write("deepseek4", {{"block_count", 3}, {"embedding_length", 64}, {"context_length", 4096}});
  writer.Tensor("t", kQ4K, {256});
  const absl::StatusOr<GgufFile> file = ParseGguf(writer.Head(), "m.gguf");
  EXPECT_THAT(std::string(ShapeOfGguf(*file, "m.gguf").status().message()),
              AllOf(StartsWith("m.gguf: "), HasSubstr("kv_bytes_per_token")));
  const ModelShape shape = Shape(writer, {.kv_bytes_per_token = 3300, .state_bytes = 7});
  EXPECT_EQ(shape.kv_bytes_per_token, 3300);
  EXPECT_EQ(shape.state_bytes, 7);
  EXPECT_EQ(shape.checkpoint_bytes, 144);
  EXPECT_EQ(shape.layers(), 3);
  EXPECT_EQ(shape.max_positions, 4096);
}

TEST(GgufConfigTest, ReadsAFileWhateverItIsCalled) {
  const TemporaryDirectory directory;
  for (const char* name : {"a.gguf", "mamba-700B.bin"}) {
    std::ofstream(directory.At(name), std::ios::binary) << Write("qwen2", Attention(28, 3584, 28, 4, 128)).Head();
    const absl::StatusOr<ModelShape> shape = ReadGgufModel(directory.At(name));
    ASSERT_TRUE(shape.ok()) << shape.status();
    EXPECT_EQ(shape->family, "qwen2");
    EXPECT_EQ(Layout(*shape).bytes_per_token(), 57'344);
  }
  EXPECT_EQ(ReadGgufModel(directory.At("absent.gguf")).status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace vramgate
