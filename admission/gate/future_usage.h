// What the holders of a pool may come to use at each future step of its engine, as three flat arrays over time: the
// most, if each grows to its cap and then leaves, and the mean and variance, if outputs are as long as they have been.
//
//   FutureUsage future({.capacity_bytes = pool, .block_bytes = 2097152, .block_tokens = 16});
//   FutureUsage::Holder h = future.MakeHolder(growth, chance);
//   if (future.Fits(h, /*z=*/1.2)) future.Add(h);   // h is kept: Remove takes out what Add put in, to the bit
//   future.AdvanceTo(step);                         // steps that have passed are forgotten
//   future.Remove(h);
//
// Time is cut into kBuckets buckets of a power of two of steps. A holder adds to each bucket what it holds in the
// bucket's *last* step, as long as it may be there in its *first* one: so a bucket is never less than any step in it,
// and never more than all holders' full sizes. Growth is counted in whole blocks. Beyond the last bucket a holder
// counts with its full size. Sums are integers, in units of a fraction of a block, rounded up.
//
// Mean and variance: a holder that uses u while it lasts, and lasts with probability q, adds u q and u^2 q (1 - q).
// (q is S(d + steps) / S(d): output_lengths.h.) Lengths are taken as independent; they are not, and what that leaves
// out is RiskControl's to make good.
//
// Each call is one pass over at most kBuckets numbers, whatever the number of holders. Used by the Outlook. Thread
// rule: the Gate's thread. Nothing allocates after construction.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "admission/gate/usage_kernels.h"

namespace vramgate {

// Growth is counted in sixteenths of a token, so that a rate may be a fraction: here and in the Outlook.
inline constexpr int kTokenShift = 4;
inline int64_t TokensPerStep16(double tokens_per_step) {
  return static_cast<int64_t>(std::ceil(tokens_per_step * (1 << kTokenShift)));
}
// REQUIRES: a >= 0, b > 0.
inline int64_t DivideUp(int64_t a, int64_t b) {
  return a / b + (a % b != 0 ? 1 : 0);
}

class FutureUsage {
 public:
  static constexpr int64_t kBuckets = 512;
  // Most that Full sizes may sum up to, in capacities: beyond it nothing fits. Keeps sums far inside of 32 bits.
  static constexpr int64_t kMostOvercommit = 64;

  struct Options {
    int64_t capacity_bytes = 0;
    int64_t block_bytes = 1;
    int64_t block_tokens = 1;    // rounded up to a power of two
    int64_t bucket_steps = 1;    // rounded up to a power of two
    double tokens_per_step = 1;  // the most that a sequence emits in a step: above 1 with speculation
  };
  explicit FutureUsage(const Options& options);

  // From step `since`, now or earlier, on it holds start_bytes, and block_bytes more with each block that fills;
  // last_step is the last one in which it may be there.
  struct Growth {
    int64_t start_bytes = 0;
    int64_t full_bytes = 0;   // never more
    int64_t block_bytes = 0;  // 0: it does not grow
    int64_t fill_tokens = 1;  // in its last block, from 1 to block_tokens
    int64_t since = 0;
    int64_t last_step = 0;
  };
  // Its chance to be there still: survival[k] = S(k x bucket_steps), what it had emitted by `since` (below 0: its
  // prompt had yet to be computed, for so many steps) and has emitted by now.
  struct Chance {
    std::span<const float> survival;  // empty: it certainly is
    int64_t emitted_at_since = 0;
    int64_t emitted_now = 0;
  };

  // What a holder adds, in units. Made once; a lease keeps it.
  struct Holder {
    int32_t start = 0;
    int32_t full = 0;
    int32_t block = 0;
    int32_t most_blocks = 0;          // after which it is full
    int64_t phase = 0;                // sixteenths of a token in its last block, at the end of bucket 0
    int64_t first = 0;                // buckets: from the one that was present when it was made
    int64_t last = -1;                // to the last that it may be there in
    std::span<const float> survival;  // empty: certainly there
    int64_t certain = 0;              // the bucket that survival[0] belongs to
    float scale = 1;                  // 1 / survival so far
  };
  Holder MakeHolder(const Growth& growth, const Chance& chance) const;

  void Add(const Holder& holder);
  // REQUIRES: it was added, and not removed since.
  void Remove(const Holder& holder);
  // Remove and Add of the same growth with a chance of today: in one pass where it may be.
  void Renew(const Holder& before, const Holder& after);

  // Whether at every step in which `candidate` may be there the capacity holds all of them: by the most (Surely), or by
  // the less of that and mean + z deviations. The mean is scaled so that it says now what is used now: chances are as
  // old as their holders, and all that are there have survived since.
  // *sure (may be null): whether it is the former everywhere.
  bool FitsSurely(const Holder& candidate) const { return FitsAll<false>(candidate, 0, nullptr); }
  bool Fits(const Holder& candidate, double z, bool* sure = nullptr) const { return FitsAll<true>(candidate, z, sure); }

  // A holder that is yet to start, with a bucket: earliest_fit.cc.
  struct Later {
    UsageRamp ramp;  // from its first bucket on
    int64_t buckets = 0;
  };
  Later MakeLater(const Growth& growth) const;
  // The first bucket to come from which on `later`, started with it, and `beside_bytes` more fit for as long as it may
  // be there: by the most, or, with z, by the less of that and mean + z deviations. As a step; nullopt: in none.
  std::optional<int64_t> EarliestFit(const Later& later, int64_t beside_bytes, std::optional<double> z) const;
  // Whether beside `candidate` there surely is room for `later` from the bucket of `step` on, if there is without it.
  bool LeavesRoom(const Holder& candidate, const Later& later, int64_t step) const;

  // Steps before `step` are over. Never goes back.
  void AdvanceTo(int64_t step);
  int64_t step() const { return step_; }
  // More than sums can hold counts as what they can.
  void SetCapacity(int64_t bytes);

  // At `step`, not before now: for tests and reports [B].
  int64_t MostBytes(int64_t step) const;
  double MeanBytes(int64_t step) const;
  int64_t bucket_steps() const { return int64_t{1} << bucket_shift_; }

 private:
  // Calls pass(ramp, n, index) for the holder's part of [from, to), cut where the ring turns over and where its chance
  // begins and ends; until `pass` returns false.
  template <typename Pass>
  bool ForEachPart(const Holder& holder, int64_t from, int64_t to, Pass pass) const;
  template <int kSign>
  void Apply(const Holder& holder);
  UsageSpan At(size_t index) { return {&most_[index], &mean_[index], &variance_[index]}; }
  template <bool kByMean>
  bool FitsAll(const Holder& candidate, double z, bool* sure) const;
  UsageRamp RampOf(const Holder& holder, int64_t from) const;
  float MeanScale() const;
  int32_t UnitsAbove(int64_t bytes) const;
  int64_t BucketOf(int64_t step) const { return step >> bucket_shift_; }

  int64_t unit_bytes_ = 1;
  int block_shift_ = 0;
  int bucket_shift_ = 0;
  int64_t rate_ = 16;  // tokens of a sequence a step, in sixteenths
  int64_t capacity_ = 0;
  int64_t step_ = 0;
  int64_t full_sum_ = 0;  // of all holders
  // By bucket modulo kBuckets: from the one of step_ on.
  std::vector<int32_t> most_;
  std::vector<float> mean_;
  std::vector<float> variance_;
  // Of the holders that were longer than the array when they were made: what a bucket begins with.
  int64_t beyond_most_ = 0;
  double beyond_mean_ = 0;
  double beyond_variance_ = 0;
};

}  // namespace vramgate
