// The FutureUsage's second part: when one that does not fit now will.
#include <algorithm>
#include <cmath>

#include "admission/gate/future_usage.h"

namespace vramgate {

FutureUsage::Later FutureUsage::MakeLater(const Growth& growth) const {
  Growth from_zero = growth;
  from_zero.since = 0;
  from_zero.last_step = step_;
  // Wherever in its first bucket it starts, it holds no more at any time than from the bucket's first step on.
  Later later{.ramp = RampOf(MakeHolder(from_zero, {}), 0)};
  later.buckets = BucketOf(bucket_steps() - 1 + growth.last_step - growth.since);
  return later;
}

// One pass: a bucket without room for what `later` would use in it moves the start on, to where it is young enough by
// then. It never moves back, so no bucket before need be looked at again; where it would have ended before a bucket, it
// has before all that follow.
std::optional<int64_t> FutureUsage::EarliestFit(const Later& later, int64_t beside_bytes,
                                                std::optional<double> z) const {
  const int64_t now = BucketOf(step_);
  const float scale = z ? MeanScale() : 1;
  const int64_t capacity = capacity_ - UnitsAbove(beside_bytes);
  const UsageRamp& ramp = later.ramp;
  if (ramp.full > capacity) return std::nullopt;
  int64_t start = now + 1;
  for (int64_t bucket = start; bucket < now + kBuckets && bucket <= start + later.buckets; ++bucket) {
    const auto index = static_cast<size_t>(bucket % kBuckets);
    int64_t used = most_[index];
    if (z) {
      const double mean = static_cast<double>(mean_[index]) * scale;
      const double deviation = *z > 0 ? std::sqrt(std::max(0.0, static_cast<double>(variance_[index]) * scale)) : 0;
      used = std::min(used, static_cast<int64_t>(std::ceil(mean + *z * deviation)));
    }
    const int64_t room = capacity - used;
    if (ramp.used(static_cast<int32_t>(bucket - start)) <= room) continue;
    if (ramp.start > room) {
      start = bucket + 1;
      continue;
    }
    // The oldest that still has room: as many whole blocks as there are.
    const int64_t blocks = ramp.block > 0 ? (room - ramp.start) / ramp.block : 0;
    const int64_t age = (((blocks + 1) << ramp.shift) - 1 - ramp.phase) / ramp.phase_step;
    start = ((blocks + 1) << ramp.shift) - 1 < ramp.phase ? bucket + 1 : std::max(start, bucket - age);
  }
  if (start >= now + kBuckets) return std::nullopt;
  if (start + later.buckets >= now + kBuckets && beyond_most_ + ramp.full > capacity) return std::nullopt;
  return start << bucket_shift_;
}

}  // namespace vramgate
