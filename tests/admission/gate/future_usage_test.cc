#include "admission/gate/future_usage.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <random>
#include <vector>

namespace vramgate {
namespace {

using Growth = FutureUsage::Growth;

constexpr int64_t kBlockBytes = 1600;
constexpr int64_t kBlockTokens = 16;

FutureUsage::Options Pool(int64_t blocks, int64_t bucket_steps = 1) {
  FutureUsage::Options options;
  options.capacity_bytes = blocks * kBlockBytes;
  options.block_bytes = kBlockBytes;
  options.block_tokens = kBlockTokens;
  options.bucket_steps = bucket_steps;
  return options;
}

// So many tokens now, and so many more to come, one a step.
Growth Of(int64_t tokens, int64_t more, int64_t since) {
  Growth growth;
  growth.start_bytes = (tokens + kBlockTokens - 1) / kBlockTokens * kBlockBytes;
  growth.full_bytes = (tokens + more + kBlockTokens - 1) / kBlockTokens * kBlockBytes;
  growth.block_bytes = kBlockBytes;
  growth.fill_tokens = (tokens - 1) % kBlockTokens + 1;
  growth.since = since;
  growth.last_step = since + std::max<int64_t>(0, more - 1);
  return growth;
}

// The answer key: what one uses at a step, token by token.
int64_t BytesAt(const Growth& g, int64_t step) {
  if (step > g.last_step) return 0;
  const int64_t blocks = (g.fill_tokens - 1 + step - g.since) / kBlockTokens;
  return std::min(g.full_bytes, g.start_bytes + blocks * kBlockBytes);
}

// Ends sorted, the sum looked at before each: the most that all use together from `step` on.
int64_t PeakBytes(std::vector<Growth> growths, int64_t step) {
  std::sort(growths.begin(), growths.end(), [](const Growth& a, const Growth& b) { return a.last_step < b.last_step; });
  int64_t peak = 0;
  for (const Growth& end : growths) {
    if (end.last_step < step) continue;
    int64_t sum = 0;
    for (const Growth& g : growths) sum += BytesAt(g, end.last_step);
    peak = std::max(peak, sum);
  }
  return peak;
}

int64_t SumAt(const std::vector<Growth>& growths, int64_t step) {
  int64_t sum = 0;
  for (const Growth& g : growths) sum += BytesAt(g, step);
  return sum;
}

TEST(FutureUsageTest, WithABucketAStepItIsTheSortedPeak) {
  std::mt19937_64 random(1);
  const auto below = [&](int64_t n) { return static_cast<int64_t>(random() % static_cast<uint64_t>(n)); };
  int fits = 0;
  int tries = 0;
  for (int run = 0; run < 30; ++run) {
    const int64_t blocks = 200 + below(2000);
    FutureUsage future(Pool(blocks));
    std::vector<Growth> held;
    std::vector<FutureUsage::Holder> holders;
    int64_t step = below(5000);
    future.AdvanceTo(step);
    for (int op = 0; op < 400; ++op) {
      switch (below(4)) {
        case 0:
          step += below(op % 50 == 0 ? 1500 : 12);
          future.AdvanceTo(step);
          break;
        case 1:
          if (!held.empty()) {
            const auto i = static_cast<size_t>(below(std::ssize(held)));
            future.Remove(holders[i]);
            held.erase(held.begin() + static_cast<ptrdiff_t>(i));
            holders.erase(holders.begin() + static_cast<ptrdiff_t>(i));
          }
          break;
        default: {
          const Growth growth = Of(1 + below(800), 1 + below(500), step);
          const FutureUsage::Holder holder = future.MakeHolder(growth, {});
          held.push_back(growth);
          const bool ok = PeakBytes(held, step) <= blocks * kBlockBytes;
          held.pop_back();
          ++tries;
          fits += ok;
          // Where it is full already, what lies behind the candidate's end is not the candidate's doing.
          if (PeakBytes(held, step) <= blocks * kBlockBytes) {
            ASSERT_EQ(future.FitsSurely(holder), ok) << "run " << run << " op " << op;
          }
          if (ok || below(8) == 0) {
            held.push_back(growth);
            holders.push_back(holder);
            future.Add(holder);
          }
        }
      }
      for (int64_t s = step; s < step + 450; s += 1 + below(100)) {
        ASSERT_EQ(future.MostBytes(s), SumAt(held, s)) << "run " << run << " op " << op << " step " << s - step;
      }
    }
    for (const FutureUsage::Holder& holder : holders) future.Remove(holder);
    for (int64_t s = step; s < step + FutureUsage::kBuckets - 1; ++s) ASSERT_EQ(future.MostBytes(s), 0);
  }
  EXPECT_GT(fits, 1000);
  EXPECT_GT(tries, fits + 100);
}

TEST(FutureUsageTest, AWiderBucketIsNeverLessThanAnyOfItsStepsNorMoreThanAllInFull) {
  std::mt19937_64 random(2);
  const auto below = [&](int64_t n) { return static_cast<int64_t>(random() % static_cast<uint64_t>(n)); };
  for (const int64_t width : {2, 8, 64}) {
    FutureUsage future(Pool(100'000, width));
    std::vector<Growth> held;
    std::vector<FutureUsage::Holder> holders;
    int64_t step = 12'345;
    future.AdvanceTo(step);
    for (int i = 0; i < 300; ++i) {
      held.push_back(Of(1 + below(3000), 1 + below(300 * width), step));
      holders.push_back(future.MakeHolder(held.back(), {}));
      future.Add(holders.back());
      future.AdvanceTo(step += below(2 * width));
    }
    for (int64_t s = step; s < step + 1000 * width; s += 1 + below(width)) {
      int64_t full = 0;
      for (const Growth& g : held) full += g.last_step / width >= s / width ? g.full_bytes : 0;
      ASSERT_GE(future.MostBytes(s), SumAt(held, s));
      ASSERT_LE(future.MostBytes(s), full);
    }
  }
}

// From which step on `later`, started then, fits beside `held` at each of its steps; -1: at none within `steps`.
int64_t FirstStart(const std::vector<Growth>& held, Growth later, int64_t step, int64_t steps, int64_t capacity) {
  const int64_t lasts = later.last_step - later.since;
  for (int64_t start = step + 1; start < step + steps; ++start) {
    later.since = start;
    later.last_step = start + lasts;
    bool fits = true;
    for (int64_t s = start; fits && s <= later.last_step; ++s) fits = SumAt(held, s) + BytesAt(later, s) <= capacity;
    if (fits) return start;
  }
  return -1;
}

TEST(FutureUsageTest, TheEarliestFitIsTheFirstStepThatWouldDo) {
  std::mt19937_64 random(3);
  const auto below = [&](int64_t n) { return static_cast<int64_t>(random() % static_cast<uint64_t>(n)); };
  int waited = 0;
  for (int run = 0; run < 400; ++run) {
    const int64_t blocks = 40 + below(300);
    FutureUsage future(Pool(blocks));
    const int64_t step = below(3000);
    future.AdvanceTo(step);
    std::vector<Growth> held;
    for (int i = 0; i < 20; ++i) {
      const Growth growth = Of(1 + below(500), 1 + below(200), step);
      held.push_back(growth);
      if (PeakBytes(held, step) > blocks * kBlockBytes) {
        held.pop_back();
      } else {
        future.Add(future.MakeHolder(growth, {}));
      }
    }
    const Growth later = Of(1 + below(500), 1 + below(200), step);
    const int64_t start = FirstStart(held, later, step, FutureUsage::kBuckets - 210, blocks * kBlockBytes);
    const std::optional<int64_t> earliest = future.EarliestFit(future.MakeLater(later), 0, std::nullopt);
    ASSERT_EQ(earliest.value_or(-1), start) << "run " << run;
    waited += start > step + 1;
    if (start < 0) continue;
    // Who leaves it room is just who fits with it.
    for (int i = 0; i < 20; ++i) {
      const Growth candidate = Of(1 + below(100), 1 + below(300), step);
      held.push_back(candidate);
      const bool fits_now = PeakBytes(held, step) <= blocks * kBlockBytes;
      Growth started = later;
      started.since = start;
      started.last_step += start - step;
      bool room = true;
      for (int64_t s = start; s <= started.last_step; ++s) {
        const bool there = s <= candidate.last_step;
        room = room && (!there || SumAt(held, s) + BytesAt(started, s) <= blocks * kBlockBytes);
      }
      held.pop_back();
      const FutureUsage::Holder holder = future.MakeHolder(candidate, {});
      if (!fits_now) continue;
      ASSERT_EQ(future.LeavesRoom(holder, future.MakeLater(later), start), room) << "run " << run;
    }
  }
  EXPECT_GT(waited, 100);
}

TEST(FutureUsageTest, WhoIsLongerThanTheArrayCountsInFullBeyondIt) {
  FutureUsage future(Pool(1000));
  const Growth growth = Of(160, 5000, 0);
  const FutureUsage::Holder holder = future.MakeHolder(growth, {});
  ASSERT_TRUE(future.FitsSurely(holder));
  future.Add(holder);
  EXPECT_EQ(future.MostBytes(500), BytesAt(growth, 500));
  EXPECT_EQ(future.MostBytes(3000), growth.full_bytes);
  future.AdvanceTo(2500);
  EXPECT_EQ(future.MostBytes(2600), growth.full_bytes) << "it was added before these buckets came";
  const FutureUsage::Holder renewed = future.MakeHolder(growth, {});
  future.Remove(holder);
  EXPECT_EQ(future.MostBytes(2600), 0);
  future.Add(renewed);
  EXPECT_EQ(future.MostBytes(2600), BytesAt(growth, 2600));
  future.Remove(renewed);
  EXPECT_EQ(future.MostBytes(2600), 0);
  EXPECT_EQ(future.MostBytes(9999), 0);
}

// Mean and variance against the sums that they stand for, at a chance that falls by a hundredth with each step.
TEST(FutureUsageTest, FitsIsMeanAndDeviationsOrTheMost) {
  std::vector<float> survival(2048);
  for (size_t k = 0; k < survival.size(); ++k) survival[k] = static_cast<float>(std::pow(0.99, static_cast<double>(k)));
  FutureUsage future(Pool(1000));
  const Growth each = Of(160, 1000, 0);
  for (int i = 0; i < 20; ++i) future.Add(future.MakeHolder(each, {survival, 0, 0}));
  EXPECT_NEAR(future.MeanBytes(100), 20 * static_cast<double>(BytesAt(each, 100)) * std::pow(0.99, 100), 1);
  const FutureUsage::Holder candidate = future.MakeHolder(each, {survival, 0, 0});
  const auto fits = [&](double z, int64_t capacity_bytes) {
    for (int64_t s = 0; s < 1000; ++s) {
      const double q = std::pow(0.99, static_cast<double>(s));
      const auto u = static_cast<double>(BytesAt(each, s));
      const double mean = 21 * u * q;
      const double deviation = std::sqrt(21 * u * u * q * (1 - q));
      if (std::min(mean + z * deviation, 21 * u) > static_cast<double>(capacity_bytes)) return false;
    }
    return true;
  };
  for (const double z : {0.0, 1.0, 3.0, 6.0}) {
    int64_t enough = 0;
    while (!fits(z, enough)) enough += kBlockBytes / 4;
    future.SetCapacity(enough + kBlockBytes / 4);
    EXPECT_TRUE(future.Fits(candidate, z)) << z;
    EXPECT_FALSE(future.FitsSurely(candidate)) << z;
    future.SetCapacity(enough - kBlockBytes / 2);
    EXPECT_FALSE(future.Fits(candidate, z)) << z;
  }
}

TEST(FutureUsageTest, WhatIsSureFitsAtAnyNumberOfDeviations) {
  std::mt19937_64 random(3);
  const auto below = [&](int64_t n) { return static_cast<int64_t>(random() % static_cast<uint64_t>(n)); };
  std::vector<float> survival(2048);
  for (size_t k = 0; k < survival.size(); ++k)
    survival[k] = static_cast<float>(1 / (1 + 0.01 * static_cast<double>(k)));
  int sure = 0;
  for (int run = 0; run < 200; ++run) {
    FutureUsage future(Pool(500));
    int64_t step = 0;
    for (int i = 0; i < 30; ++i) {
      future.AdvanceTo(step += below(40));
      const FutureUsage::Holder holder = future.MakeHolder(Of(1 + below(300), 1 + below(400), step), {survival, 0, 0});
      if (future.FitsSurely(holder)) {
        ++sure;
        ASSERT_TRUE(future.Fits(holder, 100));
      }
      if (future.Fits(holder, 1)) future.Add(holder);
    }
  }
  EXPECT_GT(sure, 100);
}

TEST(FutureUsageTest, RenewedIsAsRemovedAndAddedAgain) {
  std::mt19937_64 random(4);
  const auto below = [&](int64_t n) { return static_cast<int64_t>(random() % static_cast<uint64_t>(n)); };
  std::vector<float> first(2048);
  std::vector<float> second(2048);
  for (size_t k = 0; k < first.size(); ++k) {
    first[k] = static_cast<float>(std::pow(0.99, static_cast<double>(k)));
    second[k] = static_cast<float>(std::pow(0.995, static_cast<double>(k)));
  }
  FutureUsage renewed(Pool(1000));
  FutureUsage added(Pool(1000));
  std::vector<Growth> growths;
  std::vector<FutureUsage::Holder> holders;
  for (int i = 0; i < 50; ++i) {
    growths.push_back(Of(1 + below(500), 1 + below(1500), 0));
    holders.push_back(renewed.MakeHolder(growths.back(), {first, 0, 0}));
    renewed.Add(holders.back());
  }
  renewed.AdvanceTo(70);
  added.AdvanceTo(70);
  for (size_t i = 0; i < growths.size(); ++i) {
    if (growths[i].last_step < 70) continue;
    const FutureUsage::Holder now = renewed.MakeHolder(growths[i], {second, 0, 70});
    renewed.Renew(holders[i], now);
    added.Add(now);
  }
  for (int64_t s = 70; s < 70 + FutureUsage::kBuckets; ++s) {
    ASSERT_EQ(renewed.MostBytes(s), added.MostBytes(s)) << s;
    ASSERT_NEAR(renewed.MeanBytes(s), added.MeanBytes(s), 100) << s;
  }
}

TEST(FutureUsageTest, NothingFitsBeyondTheMostOvercommit) {
  FutureUsage future(Pool(100));
  std::vector<float> gone(2048, 1e-4F);
  gone[0] = 1;
  int64_t added = 0;
  for (;; ++added) {
    const FutureUsage::Holder holder = future.MakeHolder(Of(1, 1000, 0), {gone, 0, 0});
    if (!future.Fits(holder, 0) || added > 10'000) break;
    future.Add(holder);
  }
  EXPECT_LE(added, 100);  // their first blocks alone
}

}  // namespace
}  // namespace vramgate
