// The price that is taken millions of times (PoolLayout::Bytes) against the plain sum over its groups.
#include "admission/estimator/pool_layout.h"

#include <gtest/gtest.h>

#include <array>
#include <random>

#include "admission/estimator/arithmetic.h"

namespace vramgate {
namespace {

// What each group takes, by the divisions that define it.
int64_t PlainSum(const PoolLayout& layout, int64_t tokens, Phase phase) {
  if (tokens == 0) return 0;
  int64_t sum = 0;
  for (const PoolGroup& g : layout.groups()) {
    const int64_t blocks = SaturatingMultiply(g.Blocks(tokens, phase), g.copies);
    sum = SaturatingAdd(sum, SaturatingMultiply(blocks, g.block_bytes));
  }
  return sum;
}

EngineProfile Profile(const char* name) {
  absl::StatusOr<EngineProfile> profile = FindEngineProfile(name);
  EXPECT_TRUE(profile.ok()) << profile.status();
  return profile.ok() ? *std::move(profile) : GenericProfile();
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

TEST(PoolPriceTest, BytesAreTheSumOverGroupsWhateverTheEngine) {
  std::mt19937_64 random(20260101);
  const std::array<EngineProfile, 4> profiles = {Profile("vllm-0.19"), Profile("llama.cpp"), Profile("sglang"),
                                                 Profile("generic")};
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
        ASSERT_EQ(layout->Bytes(tokens, phase), PlainSum(*layout, tokens, phase)) << tokens << " in round " << round;
      }
    }
  }
}

TEST(PoolPriceTest, NothingForNoTokenAndNeverOverTheTop) {
  const PoolLayout layout = PoolLayout::ByHand(int64_t{1} << 40, 5, 16);
  EXPECT_EQ(layout.Bytes(0, Phase::kPeak), 0);
  EXPECT_EQ(layout.Bytes(1, Phase::kPeak), (int64_t{16} << 40) + 5);
  EXPECT_EQ(layout.Bytes(kMaxBytes, Phase::kPeak), kMaxBytes);
}

}  // namespace
}  // namespace vramgate
