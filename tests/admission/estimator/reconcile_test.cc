// The pool that an engine has against the pool that the prices assume: each rule by name, and all over random pools.
#include "admission/estimator/reconcile.h"

#include <algorithm>
#include <random>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include "admission/units.h"

namespace vramgate {
namespace {

using testing::HasSubstr;

// 1000 blocks of 16 tokens of 4 KiB.
PredictedPool Uniform() {
  return {.pool_bytes = 1000 * 16 * 4096,
          .block_tokens = 16,
          .bytes_per_block = 16 * 4096,
          .bytes_per_token = 4096,
          .max_model_len = 1600,
          .bytes_per_longest_request = 1600 * 4096};
}

PredictedPool Hybrid() {
  PredictedPool pool = Uniform();
  pool.uniform = false;
  pool.bytes_per_token = 0;
  return pool;
}

EnginePool Blocks(int64_t blocks, int64_t block_tokens = 16) {
  EnginePool pool;
  pool.engine = EngineKind::kVllm;
  pool.blocks = blocks;
  pool.block_tokens = block_tokens;
  return pool;
}

TEST(ReconcileTest, WithinTwoPercentTheTheoryIsTrusted) {
  for (int64_t blocks : {980, 990, 1000, 1013, 1020}) {
    const Drift drift = CompareAtAttach(Uniform(), Blocks(blocks));
    EXPECT_TRUE(drift.trusted) << blocks;
    EXPECT_EQ(drift.capacity_bytes, Uniform().pool_bytes);
    EXPECT_DOUBLE_EQ(drift.ratio, static_cast<double>(blocks) / 1000);
    EXPECT_EQ(drift.words, "");
  }
  EXPECT_FALSE(CompareAtAttach(Uniform(), Blocks(979)).trusted);
  EXPECT_FALSE(CompareAtAttach(Uniform(), Blocks(1021)).trusted);
}

TEST(ReconcileTest, FewerBlocksLowerTheCapacity) {
  const Drift drift = CompareAtAttach(Uniform(), Blocks(800));
  EXPECT_EQ(drift.basis, DriftBasis::kBlocks);
  EXPECT_EQ(drift.capacity_bytes, 800 * 16 * 4096);
  EXPECT_THAT(drift.words, HasSubstr("vLLM has 20.0 % less KV pool"));
  EXPECT_THAT(drift.words, HasSubstr("counts as 50MiB from now on"));
}

TEST(ReconcileTest, MoreBlocksRaiseIt) {
  const Drift drift = CompareAtAttach(Uniform(), Blocks(1500));
  EXPECT_EQ(drift.capacity_bytes, 1500 * 16 * 4096);
  EXPECT_THAT(drift.words, HasSubstr("50.0 % more"));
}

TEST(ReconcileTest, TheRatioIsKeptWithinBounds) {
  EXPECT_EQ(CompareAtAttach(Uniform(), Blocks(100)).capacity_bytes, Uniform().pool_bytes / 2);
  EXPECT_EQ(CompareAtAttach(Uniform(), Blocks(100'000)).capacity_bytes, Uniform().pool_bytes * 4);
  EXPECT_DOUBLE_EQ(CompareAtAttach(Uniform(), Blocks(100)).ratio, 0.1) << "said as it is";
}

TEST(ReconcileTest, BlocksOfAnotherSizeAreWorthTheirTokensIfAllLayersKeepThem) {
  const Drift drift = CompareAtAttach(Uniform(), Blocks(250, 64));
  EXPECT_EQ(drift.basis, DriftBasis::kBlocks);
  EXPECT_DOUBLE_EQ(drift.ratio, 1);
  EXPECT_EQ(CompareAtAttach(Hybrid(), Blocks(250, 64)).basis, DriftBasis::kNone);
  EnginePool padded = Blocks(250, 64);
  padded.hybrid = true;
  EXPECT_EQ(CompareAtAttach(Uniform(), padded).basis, DriftBasis::kNone) << "the engine says that they do not";
}

// "tokens" of a hybrid mean nothing that could be divided into bytes.
TEST(ReconcileTest, TokensOfAHybridAreNotUsed) {
  EnginePool pool;
  pool.engine = EngineKind::kVllm;
  pool.tokens = 160'000;
  EXPECT_EQ(CompareAtAttach(Hybrid(), pool).basis, DriftBasis::kNone);
  EXPECT_EQ(CompareAtAttach(Uniform(), pool).basis, DriftBasis::kTokens);
}

TEST(ReconcileTest, OnlyBlocksRaiseTheCapacity) {
  EnginePool tokens;
  tokens.tokens = 32'000;
  EnginePool concurrency;
  concurrency.max_concurrency = 20;
  concurrency.max_model_len = 1600;
  EnginePool bytes;
  bytes.pool_bytes = PrintedBytes{2 * Uniform().pool_bytes, 0};
  for (const EnginePool& pool : {tokens, concurrency, bytes}) {
    const Drift drift = CompareAtAttach(Uniform(), pool);
    EXPECT_DOUBLE_EQ(drift.ratio, 2) << DriftBasisName(drift.basis);
    EXPECT_FALSE(drift.trusted);
    EXPECT_EQ(drift.capacity_bytes, Uniform().pool_bytes);
    EXPECT_THAT(drift.words, HasSubstr("kept as configured"));
  }
  // All of them lower it.
  tokens.tokens = 12'000;
  concurrency.max_concurrency = 7.5;
  bytes.pool_bytes->bytes = Uniform().pool_bytes / 4 * 3;
  for (const EnginePool& pool : {tokens, concurrency, bytes}) {
    EXPECT_EQ(CompareAtAttach(Uniform(), pool).capacity_bytes, Uniform().pool_bytes / 4 * 3);
  }
}

TEST(ReconcileTest, ConcurrencyCountsOnlyForTheSameLength) {
  EnginePool pool;
  pool.max_concurrency = 5;
  pool.max_model_len = 1600;
  EXPECT_EQ(CompareAtAttach(Hybrid(), pool).basis, DriftBasis::kConcurrency);
  EXPECT_DOUBLE_EQ(CompareAtAttach(Hybrid(), pool).ratio, 0.5);
  pool.max_model_len = 800;
  EXPECT_EQ(CompareAtAttach(Hybrid(), pool).basis, DriftBasis::kNone);
}

// From vLLM 0.21 on "tokens" are max_concurrency x max_model_len; before, they mean something else.
TEST(ReconcileTest, TokensStandForConcurrencyWhereTheVersionSaysSo) {
  EnginePool pool;
  pool.tokens = 8000;
  pool.max_model_len = 1600;
  EXPECT_EQ(CompareAtAttach(Hybrid(), pool).basis, DriftBasis::kNone);
  pool.token_meaning = TokenMeaning::kBlocksPerGroup;
  EXPECT_EQ(CompareAtAttach(Hybrid(), pool).basis, DriftBasis::kNone);
  pool.token_meaning = TokenMeaning::kConcurrency;
  EXPECT_DOUBLE_EQ(CompareAtAttach(Hybrid(), pool).ratio, 0.5);
  // A page names tokens and concurrency, and no length.
  pool.max_model_len.reset();
  EXPECT_EQ(CompareAtAttach(Hybrid(), pool).basis, DriftBasis::kNone);
  pool.max_concurrency = 5;
  EXPECT_DOUBLE_EQ(CompareAtAttach(Hybrid(), pool).ratio, 0.5);
}

// 0.03 GiB printed to 0.01 is anything from 0.025 to 0.035: no drift of 10 % can be told from it.
TEST(ReconcileTest, RoundingOfWhatWasPrintedIsNoDrift) {
  PredictedPool predicted = Uniform();
  predicted.pool_bytes = kGiB * 33 / 1000;
  EnginePool pool;
  pool.pool_bytes = PrintedBytes{kGiB * 30 / 1000, kGiB / 200};
  EXPECT_TRUE(CompareAtAttach(predicted, pool).trusted);
  pool.pool_bytes->tolerance_bytes = 0;
  EXPECT_FALSE(CompareAtAttach(predicted, pool).trusted);
}

TEST(ReconcileTest, BytesOfAnOverriddenPoolAreNotItsOwn) {
  EnginePool pool;
  pool.pool_bytes = PrintedBytes{kGiB, 0};
  pool.blocks_overridden = true;
  EXPECT_EQ(CompareAtAttach(Uniform(), pool).basis, DriftBasis::kNone);
}

TEST(ReconcileTest, AnEngineThatSaysNothingChangesNothing) {
  const Drift drift = CompareAtAttach(Uniform(), EnginePool{});
  EXPECT_EQ(drift.basis, DriftBasis::kNone);
  EXPECT_EQ(drift.ratio, 1);
  EXPECT_EQ(CapacityNow(drift, {0, 0}), Uniform().pool_bytes);
}

TEST(ReconcileTest, UseThatNoReservationExplainsIsOffTheCapacity) {
  const Drift drift = CompareAtAttach(Uniform(), Blocks(1000));
  const int64_t pool = Uniform().pool_bytes;
  // Half in use, a quarter reserved: a quarter is somebody else's, or the price is too low.
  const LiveUse live{0.5, pool / 4};
  EXPECT_EQ(UnexplainedBytes(drift, live), pool / 4);
  EXPECT_EQ(CapacityNow(drift, live), pool - pool / 4);
  EXPECT_DOUBLE_EQ(DriftRatioNow(drift, live), 0.75);
  // It comes back when the use is gone.
  EXPECT_EQ(CapacityNow(drift, {0.2, pool / 4}), pool);
}

// Requests share blocks and have not taken all they may: little use is no reason to give out more.
TEST(ReconcileTest, LowLiveUseNeverRaisesTheCapacity) {
  for (int64_t blocks : {500, 800, 1000, 2000}) {
    const Drift drift = CompareAtAttach(Uniform(), Blocks(blocks));
    for (double used : {0.0, 0.01, 0.3}) {
      EXPECT_EQ(CapacityNow(drift, {used, drift.capacity_bytes}), drift.capacity_bytes);
      EXPECT_DOUBLE_EQ(DriftRatioNow(drift, {used, drift.capacity_bytes}), drift.ratio);
    }
  }
}

TEST(ReconcileTest, HoldsOverRandomPools) {
  constexpr uint32_t kSeed = 43308;
  std::mt19937_64 random(kSeed);
  const auto pick = [&](int64_t low, int64_t high) {
    return low + static_cast<int64_t>(random() % static_cast<uint64_t>(high - low + 1));
  };
  for (int round = 0; round < 20'000; ++round) {
    SCOPED_TRACE(testing::Message() << "seed " << kSeed << " round " << round);
    PredictedPool predicted;
    predicted.bytes_per_token = pick(1, 1 << 20);
    predicted.block_tokens = pick(1, 4096);
    predicted.bytes_per_block = predicted.bytes_per_token * predicted.block_tokens;
    predicted.pool_bytes = pick(1, int64_t{1} << 45);
    predicted.max_model_len = pick(1, 1 << 20);
    predicted.bytes_per_longest_request = predicted.max_model_len * predicted.bytes_per_token;
    predicted.uniform = random() % 2 == 0;
    EnginePool pool;
    if (random() % 2 == 0) pool.blocks = pick(0, int64_t{1} << 40);
    if (random() % 2 == 0) pool.block_tokens = random() % 2 == 0 ? predicted.block_tokens : pick(1, 4096);
    if (random() % 2 == 0) pool.tokens = pick(0, int64_t{1} << 50);
    if (random() % 2 == 0) pool.pool_bytes = PrintedBytes{pick(0, int64_t{1} << 60), pick(0, kGiB)};
    if (random() % 2 == 0) pool.max_concurrency = static_cast<double>(pick(0, 1 << 20)) / 100;
    if (random() % 2 == 0) pool.max_model_len = predicted.max_model_len;
    pool.hybrid = random() % 4 == 0;
    const Drift drift = CompareAtAttach(predicted, pool);

    EXPECT_GE(drift.ratio, 0);
    EXPECT_GE(drift.capacity_bytes, predicted.pool_bytes / 2 - 1);
    EXPECT_LE(static_cast<double>(drift.capacity_bytes), 4 * static_cast<double>(predicted.pool_bytes) + 1);
    if (drift.capacity_bytes > predicted.pool_bytes) {
      EXPECT_EQ(drift.basis, DriftBasis::kBlocks);
      EXPECT_TRUE(pool.blocks);
    }
    EXPECT_EQ(drift.words.empty(), drift.trusted);

    const LiveUse live{static_cast<double>(pick(0, 1000)) / 1000, pick(0, drift.capacity_bytes)};
    const int64_t now = CapacityNow(drift, live);
    EXPECT_LE(now, drift.capacity_bytes);
    EXPECT_GE(now, 0);
    // What may still be given out is never more than what the engine has left, but for the trusted 2 %.
    const double left =
        static_cast<double>(drift.capacity_bytes) - live.used_ratio * static_cast<double>(drift.actual_bytes);
    if (live.reserved_bytes <= now) {
      EXPECT_LE(static_cast<double>(now - live.reserved_bytes),
                std::max(left, 0.0) + kTrustedDrift * static_cast<double>(live.reserved_bytes) + 1);
    }
    // More use never leaves more room.
    EXPECT_LE(CapacityNow(drift, {std::min(1.0, live.used_ratio + 0.1), live.reserved_bytes}), now);
  }
}

}  // namespace
}  // namespace vramgate
