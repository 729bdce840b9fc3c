#include "admission/estimator/pool_layout.h"

#include <gtest/gtest.h>

#include <array>
#include <filesystem>
#include <limits>
#include <random>
#include <sstream>

#include "admission/estimator/arithmetic.h"
#include "tests/admission/estimator/test_models.h"

namespace vramgate {
namespace {

Kept Tokens(int64_t heads) {
  return {.kind = KeptKind::kTokens, .heads = heads, .key_dim = 128, .value_dim = 128};
}

Kept Window(int64_t heads, int64_t span) {
  return {.kind = KeptKind::kWindow, .heads = heads, .key_dim = 128, .value_dim = 128, .span = span};
}

// `elements` of fp32 for each sequence.
Kept State(int64_t elements) {
  return {.kind = KeptKind::kState, .state = WholeAxis(elements), .wide_state = true};
}

std::vector<Kept> Times(int count, const Kept& kept, std::vector<Kept> more = {}) {
  more.insert(more.end(), static_cast<size_t>(count), kept);
  return more;
}

PoolLayout Layout(const std::vector<Kept>& kept, const EngineProfile& profile, PoolOptions options = {}) {
  absl::StatusOr<PoolLayout> layout = PoolLayout::Compile(kept, options, profile);
  EXPECT_TRUE(layout.ok()) << layout.status();
  return layout.ok() ? *std::move(layout) : PoolLayout{};
}

// A layer of 8 KV heads of 128 keeps 4096 B a token at 16 bits.
TEST(PoolLayoutTest, LayersThatGrowAlikeStandInOneGroup) {
  const PoolLayout layout = Layout(Times(32, Tokens(8)), Engine("vllm-0.19"));
  EXPECT_EQ(layout.bytes_per_token(), 32 * 4096);
  EXPECT_EQ(layout.id_bytes(), 16 * 32 * 4096);
  EXPECT_EQ(layout.group_count(), 1);
  EXPECT_EQ(layout.Blocks(17, Phase::kPeak), 2);
  EXPECT_EQ(layout.Bytes(0, Phase::kPeak), 0);
}

TEST(PoolLayoutTest, WindowsHoldTheStepWhileAPromptIsRead) {
  const PoolLayout layout = Layout(Times(4, Window(8, 1024)), Engine("vllm-0.19"), {.max_batched_tokens = 2048});
  // 1023 + 2048 tokens are 192 blocks, and one more where the window begins inside of a block.
  EXPECT_EQ(layout.Blocks(100'000, Phase::kPeak), 193);
  EXPECT_EQ(layout.Blocks(100'000, Phase::kSteady), 65);
  EXPECT_EQ(layout.Blocks(16, Phase::kSteady), 1) << "no more than the tokens need";
  const PoolLayout exact =
      Layout(Times(4, Window(8, 1024)), GenericProfile(), {.block_tokens = 1, .max_batched_tokens = 1});
  EXPECT_EQ(exact.Bytes(100'000, Phase::kSteady), 4 * 4096 * 1024);
}

TEST(PoolLayoutTest, KindsOfLayersShareIdsOfOneSize) {
  // 5 full layers and 25 windows: six groups of 5, each block the size of 5 layers.
  const PoolLayout layout = Layout(Times(25, Window(8, 1024), Times(5, Tokens(8))), Engine("vllm-0.19"));
  EXPECT_EQ(layout.group_count(), 6);
  EXPECT_EQ(layout.id_bytes(), 16 * 5 * 4096);
  EXPECT_EQ(layout.Blocks(64, Phase::kSteady), 6 * 4);
  // Counts that differ by less than half are padded to the larger: 10 and 12 are two groups of 12.
  EXPECT_EQ(Layout(Times(12, Window(8, 1024), Times(10, Tokens(8))), Engine("vllm-0.19")).id_bytes(), 16 * 12 * 4096);
}

TEST(PoolLayoutTest, ABlockGrowsUntilAStateFits) {
  // 1 MiB of state beside 4096 B a token: 256 tokens, already a multiple of 16.
  const std::vector<Kept> kept = Times(3, State(1 << 18), {Tokens(8)});
  const PoolLayout layout = Layout(kept, Engine("vllm-0.19"));
  EXPECT_EQ(layout.id_bytes(), 1 << 20);
  EXPECT_EQ(layout.smallest_block(), 256);
  EXPECT_EQ(layout.Blocks(257, Phase::kPeak), 3 + 2);
  EXPECT_EQ(layout.state_bytes(), 3 << 20);
  EXPECT_EQ(Layout(kept, Engine("vllm-0.21")).Blocks(257, Phase::kPeak), 2 * 3 + 2) << "the state before is kept too";
  EXPECT_EQ(Layout(kept, Engine("vllm-0.19"), {.speculative_tokens = 2}).Blocks(1, Phase::kPeak), 3 * 3 + 1);
  EXPECT_EQ(Layout(kept, GenericProfile(), {.block_tokens = 1}).Bytes(10, Phase::kPeak), (3 << 20) + 10 * 4096);
}

TEST(PoolLayoutTest, LatentsAreWholeAndIndexersBesideThem) {
  const Kept latent = {.kind = KeptKind::kLatent, .width = 576, .rope = 64};
  const Kept index = {.kind = KeptKind::kIndex, .width = 128};
  for (const int64_t devices : {1, 2, 16}) {
    EXPECT_EQ(Layout({latent}, GenericProfile(), {.tensor_parallel = devices}).bytes_per_token(), 1152);
    EXPECT_EQ(Layout({index}, GenericProfile(), {.tensor_parallel = devices}).bytes_per_token(), 132);
  }
  EXPECT_EQ(Layout({latent}, GenericProfile(), {.kv_dtype = DType::kFp8}).bytes_per_token(), 576);
  EXPECT_EQ(Layout({latent}, GenericProfile(), {.kv_dtype = DType::kFp8DsMla}).bytes_per_token(), 656);
}

TEST(PoolLayoutTest, CacheTypesWithTheirScales) {
  const std::pair<DType, int64_t> bytes[] = {
      {DType::kFp32, 8192},          {DType::kBf16, 4096},  {DType::kFp8, 2048},  {DType::kInt8TokenHead, 2112},
      {DType::kInt4TokenHead, 1088}, {DType::kNvfp4, 1152}, {DType::kQ8_0, 2176}, {DType::kQ5_1, 1536},
      {DType::kQ5_0, 1408},          {DType::kQ4_1, 1280},  {DType::kQ4_0, 1152},
  };
  for (const auto& [dtype, expected] : bytes) {
    EXPECT_EQ(Layout({Tokens(8)}, GenericProfile(), {.kv_dtype = dtype}).bytes_per_token(), expected)
        << DTypeName(dtype);
  }
}

// What a length costs, by the groups alone: however Bytes computes it, it is this.
int64_t SlowBytes(const PoolLayout& layout, int64_t tokens, Phase phase) {
  if (tokens == 0) return 0;
  int64_t sum = 0;
  for (const PoolGroup& g : layout.groups()) {
    const int64_t blocks = SaturatingMultiply(g.Blocks(tokens, phase), g.copies);
    sum = SaturatingAdd(sum, SaturatingMultiply(blocks, g.block_bytes));
  }
  return sum;
}

TEST(PoolLayoutTest, BytesAreTheSumOfTheGroupsBlocksAtEveryLength) {
  std::mt19937_64 random(20240607);
  std::stringstream names(EngineProfileNames());
  for (std::string engine; std::getline(names >> std::ws, engine, ',');) {
    for (const auto& entry : std::filesystem::directory_iterator(std::string(VRAMGATE_TEST_DATA) + "/models")) {
      if (entry.path().extension() != ".json") continue;
      const std::string model = entry.path().stem().string();
      SCOPED_TRACE(engine + " " + model);
      const CostTable table =
          Compiled(ReadShape(model), {.activation = ActivationMode::kResident, .profile = Engine(engine)});
      const PoolLayout& layout = table.layout();
      std::vector<int64_t> lengths = {0,
                                      1,
                                      2,
                                      1 << 20,
                                      (1 << 30) - 1,
                                      1 << 30,
                                      (1 << 30) + 1,
                                      int64_t{1} << 31,
                                      (int64_t{1} << 32) - 1,
                                      int64_t{1} << 32,
                                      int64_t{1} << 40,
                                      std::numeric_limits<int64_t>::max()};
      for (const PoolGroup& g : layout.groups()) {
        for (const int64_t edge : {g.block_tokens, g.peak_cap, g.steady_cap, g.ratio, g.block_tokens * 1000}) {
          for (const int64_t near : {-1, 0, 1}) lengths.push_back(std::max<int64_t>(edge + near, 0));
        }
      }
      for (int i = 0; i < 200; ++i) lengths.push_back(static_cast<int64_t>(random() >> (1 + random() % 62)));
      for (const int64_t tokens : lengths) {
        for (const Phase phase : {Phase::kPeak, Phase::kSteady}) {
          ASSERT_EQ(layout.Bytes(tokens, phase), SlowBytes(layout, tokens, phase)) << tokens << " tokens";
        }
      }
    }
  }
}

Kept RandomKept(std::mt19937_64& random) {
  const auto upTo = [&](int64_t n) { return static_cast<int64_t>(random() % static_cast<uint64_t>(n)) + 1; };
  Kept k{.heads = upTo(16), .key_dim = 16 * upTo(16), .value_dim = 16 * upTo(16)};
  switch (random() % 6) {
    case 0:
      return k;
    case 1:
      k.kind = KeptKind::kWindow;
      k.span = upTo(5000);
      return k;
    case 2:
      k.kind = KeptKind::kChunk;
      k.span = upTo(9000);
      return k;
    case 3:
      return {.kind = KeptKind::kCompressed, .width = 16 * upTo(40), .ratio = int64_t{1} << random() % 8};
    case 4:
      return {.kind = KeptKind::kState,
              .taps = 3,
              .conv = {SplitAxis(upTo(9000)), Axis{0, 1, false}, Axis{0, 1, false}},
              .state = SplitAxis(upTo(64), 128 * upTo(128))};
    default:
      return {.kind = KeptKind::kLatent, .width = 16 * upTo(40), .rope = 16};
  }
}

TEST(PoolLayoutTest, BytesAreTheSumOfTheGroupsBlocksOfAnyLayers) {
  std::mt19937_64 random(20260101);
  const std::array<EngineProfile, 4> profiles = {Engine("vllm-0.19"), Engine("llama.cpp"), Engine("sglang"),
                                                 Engine("generic")};
  for (int round = 0; round < 2000; ++round) {
    std::vector<Kept> kept;
    for (uint64_t kinds = random() % 4 + 1; kinds > 0; --kinds) {
      kept.insert(kept.end(), random() % 40 + 1, RandomKept(random));
    }
    const PoolOptions options{.tensor_parallel = int64_t{1} << random() % 4,
                              .block_tokens = random() % 3 == 0 ? static_cast<int64_t>(random() % 300 + 1) : 0};
    const absl::StatusOr<PoolLayout> layout = PoolLayout::Compile(kept, options, profiles[round % profiles.size()]);
    ASSERT_TRUE(layout.ok()) << layout.status();
    for (int i = 0; i < 50; ++i) {
      const auto tokens = static_cast<int64_t>(random() >> (random() % 63 + 1));
      for (const Phase phase : {Phase::kPeak, Phase::kSteady}) {
        ASSERT_EQ(layout->Bytes(tokens, phase), SlowBytes(*layout, tokens, phase)) << tokens << " in round " << round;
      }
    }
  }
}

TEST(PoolLayoutTest, NothingForNoTokenAndNeverOverTheTop) {
  const PoolLayout layout = PoolLayout::ByHand(int64_t{1} << 40, 5, 16);
  EXPECT_EQ(layout.Bytes(0, Phase::kPeak), 0);
  EXPECT_EQ(layout.Bytes(1, Phase::kPeak), (int64_t{16} << 40) + 5);
  EXPECT_EQ(layout.Bytes(kMaxBytes, Phase::kPeak), kMaxBytes);
}

}  // namespace
}  // namespace vramgate
