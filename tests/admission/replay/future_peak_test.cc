#include "admission/replay/future_peak.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "admission/rng.h"

namespace vramgate {
namespace {

// Step by step: what FuturePeak must agree with.
bool NaiveFits(const KvCurve& curve, int64_t pool, const std::vector<Growth>& growths, const Growth& candidate) {
  int64_t last = candidate.last_step;
  for (const Growth& g : growths) last = std::max(last, g.last_step);
  for (int64_t step = candidate.first_step; step <= last; ++step) {
    int64_t bytes = 0;
    const auto add = [&](const Growth& g) {
      if (step >= g.first_step && step <= g.last_step) bytes += curve.bytes(g.tokens(step));
    };
    for (const Growth& g : growths) add(g);
    add(candidate);
    if (bytes > pool) return false;
  }
  return true;
}

TEST(FuturePeakTest, OneThatLeavesInTimeMakesRoom) {
  const KvCurve curve = KvCurve::Linear(1, 1);
  FuturePeak future(curve, 100);
  future.Set({{.held_tokens = 60, .last_step = 5}});
  EXPECT_FALSE(future.Fits({.held_tokens = 31, .last_step = 5})) << "65 + 36 when both leave";
  EXPECT_TRUE(future.Fits({.held_tokens = 30, .last_step = 5}));
  EXPECT_TRUE(future.Fits({.held_tokens = 30, .last_step = 70})) << "alone it may grow to the pool's end";
  EXPECT_FALSE(future.Fits({.held_tokens = 30, .last_step = 71}));
  EXPECT_EQ(future.EarliestStart({.held_tokens = 90, .last_step = 10}), 6);
}

TEST(FuturePeakTest, AgreesWithStepByStep) {
  for (uint64_t seed = 1; seed <= 3000; ++seed) {
    SCOPED_TRACE(seed);
    Rng rng(seed);
    const auto upto = [&](uint64_t n) { return static_cast<int64_t>(rng.Below(n + 1)); };
    const int64_t block = 1 + upto(7);
    const KvCurve curve =
        rng.Below(2) == 0
            ? KvCurve::Linear(3, block)
            : KvCurve::Table({0,   7,   9,   20,  20,  25,  60,  61,  62,  70,  75,  80,  99,  100, 110, 120,
                              130, 140, 150, 160, 170, 180, 190, 200, 210, 220, 230, 240, 250, 260, 270, 280,
                              290, 300, 310, 320, 330, 340, 350, 360, 370, 380, 390, 400, 410, 420, 430, 440,
                              450, 460, 470, 480, 490, 500, 510, 520, 530, 540, 550, 560, 570, 580},
                             block);
    const int64_t pool = 100 + upto(400);
    std::vector<Growth> growths;
    for (int64_t n = upto(8); n > 0; --n) {
      Growth g{.held_tokens = upto(20), .grow_step = upto(5)};
      g.last_step = g.grow_step + upto(20);
      growths.push_back(g);
    }
    FuturePeak future(curve, pool);
    future.Set(growths);
    Growth candidate{.held_tokens = upto(20), .grow_step = upto(3)};
    candidate.last_step = candidate.grow_step + upto(25);
    bool possible = true;  // what runs already fits
    for (const Growth& g : growths) possible = possible && NaiveFits(curve, pool, growths, {.last_step = g.last_step});
    if (!possible) continue;
    EXPECT_EQ(future.Fits(candidate), NaiveFits(curve, pool, growths, candidate));
    if (!NaiveFits(curve, pool, {}, candidate)) continue;
    const int64_t start = future.EarliestStart(candidate);
    std::vector<int64_t> starts = {0};  // where it looks
    for (const Growth& g : growths) starts.push_back(g.last_step + 1);
    for (const int64_t at : starts) {
      if (at > start) continue;
      Growth moved = candidate;
      moved.grow_step += at;
      moved.last_step += at;
      moved.first_step += at;
      EXPECT_EQ(NaiveFits(curve, pool, growths, moved), at == start) << at;
    }
  }
}

}  // namespace
}  // namespace vramgate
