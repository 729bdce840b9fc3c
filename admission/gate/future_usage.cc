#include "admission/gate/future_usage.h"

#include <algorithm>
#include <bit>

#include "admission/check.h"

namespace vramgate {
namespace {

constexpr int64_t kMostUnitsPerBlock = 16;
constexpr int64_t kMostUnits = int64_t{1} << 24;  // of a capacity: where floats still count by ones
constexpr int kMostBucketShift = 15;
constexpr float kLeastSurvival = 1e-5F;  // below it nothing is known: who got so far may go on to the end

int LogUp(int64_t n) {
  return std::bit_width(static_cast<uint64_t>(std::max<int64_t>(n, 1) - 1));
}

// A part of a block that a block is a whole number of, so that growth is not rounded.
int64_t UnitBytes(const FutureUsage::Options& options) {
  const int64_t block_bytes = std::max<int64_t>(1, options.block_bytes);
  int64_t parts = kMostUnitsPerBlock;
  while (block_bytes % parts != 0) --parts;
  return std::max(block_bytes / parts, DivideUp(options.capacity_bytes, kMostUnits));
}

}  // namespace

FutureUsage::FutureUsage(const Options& options)
    : unit_bytes_(UnitBytes(options)),
      block_shift_(LogUp(options.block_tokens)),
      bucket_shift_(std::min(LogUp(options.bucket_steps), kMostBucketShift)),
      rate_(TokensPerStep16(options.tokens_per_step)),
      most_(kBuckets),
      mean_(kBuckets),
      variance_(kBuckets) {
  SetCapacity(options.capacity_bytes);
}

void FutureUsage::SetCapacity(int64_t bytes) {
  capacity_ = std::clamp<int64_t>(bytes / unit_bytes_, 0, kMostUnits);
}

int32_t FutureUsage::UnitsAbove(int64_t bytes) const {
  return static_cast<int32_t>(std::min(DivideUp(std::max<int64_t>(bytes, 0), unit_bytes_), 2 * kMostUnits));
}

FutureUsage::Holder FutureUsage::MakeHolder(const Growth& growth, const Chance& chance) const {
  CHECK(growth.since <= step_, "FutureUsage: a holder that is not there yet");
  Holder holder;
  holder.full = UnitsAbove(growth.full_bytes);
  holder.start = std::min(UnitsAbove(growth.start_bytes), holder.full);
  holder.block = UnitsAbove(growth.block_bytes);
  if (holder.block > 0) holder.most_blocks = (holder.full - holder.start) / holder.block + 1;
  holder.phase = ((growth.fill_tokens - 1) << kTokenShift) + (bucket_steps() - 1 - growth.since) * rate_;
  holder.first = BucketOf(step_);
  holder.last = BucketOf(std::max(growth.last_step, step_));
  const int64_t reached = std::max<int64_t>(0, chance.emitted_now) >> bucket_shift_;
  if (reached >= std::ssize(chance.survival)) return holder;
  const float survived = chance.survival[static_cast<size_t>(reached)];
  if (survived < kLeastSurvival) return holder;
  holder.survival = chance.survival;
  holder.certain = -((chance.emitted_at_since - growth.since) >> bucket_shift_);
  holder.scale = 1 / survived;
  return holder;
}

// As it certainly is, from the bucket `from` on.
UsageRamp FutureUsage::RampOf(const Holder& holder, int64_t from) const {
  UsageRamp ramp{.start = holder.start, .full = holder.full, .block = holder.block, .most_blocks = holder.most_blocks};
  ramp.phase_step = static_cast<int32_t>(bucket_steps() * rate_);
  ramp.phase = static_cast<int32_t>(holder.phase + from * ramp.phase_step);
  ramp.shift = block_shift_ + kTokenShift;
  return ramp;
}

template <typename Pass>
bool FutureUsage::ForEachPart(const Holder& holder, int64_t from, int64_t to, Pass pass) const {
  const int64_t known = holder.certain + std::ssize(holder.survival);
  while (from < to) {
    int64_t end = std::min(to, (from / kBuckets + 1) * kBuckets);
    UsageRamp ramp = RampOf(holder, from);
    if (!holder.survival.empty() && from < known) {
      if (from < holder.certain) {
        end = std::min(end, holder.certain);
      } else {
        end = std::min(end, known);
        ramp.survival = holder.survival.data() + (from - holder.certain);
        ramp.scale = holder.scale;
      }
    }
    if (!pass(ramp, static_cast<int32_t>(end - from), static_cast<size_t>(from % kBuckets))) return false;
    from = end;
  }
  return true;
}

template <int kSign>
void FutureUsage::Apply(const Holder& holder) {
  const int64_t now = BucketOf(step_);
  const int64_t array_end = holder.first + kBuckets;  // when it was made
  const auto apply = [&](const UsageRamp& ramp, int32_t n, size_t index) {
    kSign > 0 ? AddRamp(ramp, n, At(index)) : SubtractRamp(ramp, n, At(index));
    return true;
  };
  ForEachPart(holder, std::max(holder.first, now), std::min(holder.last + 1, array_end), apply);
  full_sum_ += kSign * int64_t{holder.full};
  if (holder.last < array_end) return;
  // In every bucket that has come since, it counts with its full size.
  Holder full = holder;
  full.start = full.full;
  full.block = 0;
  full.survival = {};
  ForEachPart(full, std::max(array_end, now), now + kBuckets, apply);
  beyond_most_ += kSign * int64_t{holder.full};
}

void FutureUsage::Add(const Holder& holder) {
  Apply<1>(holder);
}

void FutureUsage::Remove(const Holder& holder) {
  Apply<-1>(holder);
}

void FutureUsage::Renew(const Holder& before, const Holder& after) {
  const bool in_array = before.last < before.first + kBuckets;
  if (!in_array || before.survival.empty() || after.survival.empty() || before.certain != after.certain) {
    Remove(before);
    Add(after);
    return;
  }
  ForEachPart(before, BucketOf(step_), before.last + 1, [&](const UsageRamp& ramp, int32_t n, size_t index) {
    if (ramp.survival == nullptr) return true;
    const ptrdiff_t from = ramp.survival - before.survival.data();
    RenewRamp(ramp, after.survival.data() + from, after.scale, n, At(index));
    return true;
  });
}

// What the mean must be taken times for it to say now what is used now.
float FutureUsage::MeanScale() const {
  const auto present = static_cast<size_t>(BucketOf(step_) % kBuckets);
  return mean_[present] > 0 ? std::max(1.0F, static_cast<float>(most_[present]) / mean_[present]) : 1;
}

template <bool kByMean>
bool FutureUsage::FitsAll(const Holder& candidate, double z, bool* sure) const {
  bool most_fits = true;
  if (candidate.full > capacity_ || full_sum_ + candidate.full > kMostOvercommit * std::max<int64_t>(capacity_, 1)) {
    return false;
  }
  const int64_t now = BucketOf(step_);
  const float scale = MeanScale();
  const auto capacity = static_cast<int32_t>(capacity_);
  const auto fits = [&](const UsageRamp& ramp, int32_t n, size_t index) {
    if (!kByMean) return FitsMost(ramp, n, &most_[index], capacity);
    const UsageSpan usage{const_cast<int32_t*>(&most_[index]), const_cast<float*>(&mean_[index]),
                          const_cast<float*>(&variance_[index])};
    return FitsMean(ramp, n, usage, capacity, static_cast<float>(z), scale, &most_fits);
  };
  if (!ForEachPart(candidate, now, std::min(candidate.last + 1, now + kBuckets), fits)) return false;
  // Beyond the array only what is sure is known.
  const bool fits_beyond = candidate.last < now + kBuckets || beyond_most_ + candidate.full <= capacity_;
  if (sure != nullptr) *sure = most_fits && fits_beyond;
  return kByMean || fits_beyond;
}

bool FutureUsage::LeavesRoom(const Holder& candidate, const Later& later, int64_t step) const {
  const int64_t now = BucketOf(step_);
  const int64_t first = std::max(BucketOf(step), now);
  const int64_t end = std::min(candidate.last, first + later.buckets) + 1;
  int64_t from = first;
  const auto fits = [&](const UsageRamp& ramp, int32_t n, size_t index) {
    UsageRamp second = later.ramp;
    second.phase += static_cast<int32_t>((from - first) * second.phase_step);
    from += n;
    return FitsMostWith(ramp, second, n, &most_[index], static_cast<int32_t>(capacity_));
  };
  if (!ForEachPart(candidate, first, std::min(end, now + kBuckets), fits)) return false;
  return end <= now + kBuckets || beyond_most_ + candidate.full + later.ramp.full <= capacity_;
}

template bool FutureUsage::FitsAll<false>(const Holder& candidate, double z, bool* sure) const;
template bool FutureUsage::FitsAll<true>(const Holder& candidate, double z, bool* sure) const;

void FutureUsage::AdvanceTo(int64_t step) {
  CHECK(step >= step_, "FutureUsage: time went back");
  const int64_t before = BucketOf(step_);
  step_ = step;
  const int64_t passed = std::min(BucketOf(step) - before, kBuckets);
  for (int64_t b = BucketOf(step) - passed; b < BucketOf(step); ++b) {
    const auto index = static_cast<size_t>(b % kBuckets);
    most_[index] = static_cast<int32_t>(beyond_most_);
    mean_[index] = static_cast<float>(beyond_most_);
    variance_[index] = 0;
  }
}

int64_t FutureUsage::MostBytes(int64_t step) const {
  CHECK(step >= step_, "FutureUsage: asked for the past");
  const int64_t bucket = BucketOf(step);
  if (bucket >= BucketOf(step_) + kBuckets) return beyond_most_ * unit_bytes_;
  return int64_t{most_[static_cast<size_t>(bucket % kBuckets)]} * unit_bytes_;
}

double FutureUsage::MeanBytes(int64_t step) const {
  CHECK(step >= step_, "FutureUsage: asked for the past");
  const int64_t bucket = BucketOf(step);
  if (bucket >= BucketOf(step_) + kBuckets) return static_cast<double>(beyond_most_ * unit_bytes_);
  return static_cast<double>(mean_[static_cast<size_t>(bucket % kBuckets)]) * static_cast<double>(unit_bytes_);
}

}  // namespace vramgate
