// The inner loops of FutureUsage, over contiguous buckets, compiled for the widest registers that the processor has.
#pragma once

#include <cstdint>

namespace vramgate {

// A holder over consecutive buckets: in bucket k it uses min(full, start + block x min(most_blocks, (phase + k x
// phase_step) >> shift)) units, and is there with probability min(1, survival[k] x scale).
struct UsageRamp {
  int32_t start = 0;
  int32_t full = 0;
  int32_t block = 0;
  int32_t most_blocks = 0;
  int32_t phase = 0;
  int32_t phase_step = 0;
  int32_t shift = 0;
  const float* survival = nullptr;
  float scale = 1;

  int32_t used(int32_t k) const {
    const int32_t blocks = (phase + k * phase_step) >> shift;
    const int32_t grown = start + block * (blocks < most_blocks ? blocks : most_blocks);
    return grown < full ? grown : full;
  }
};

// The arrays, from a bucket on.
struct UsageSpan {
  int32_t* most = nullptr;
  float* mean = nullptr;
  float* variance = nullptr;
};

void AddRamp(const UsageRamp& ramp, int32_t n, UsageSpan to);
// Takes out to the bit what AddRamp put into `most`, and to a rounding error what it put into the others.
void SubtractRamp(const UsageRamp& ramp, int32_t n, UsageSpan from);
// Where a ramp was added with the chances of `ramp`, gives it those of `survival` and `scale` (of the same bucket on).
void RenewRamp(const UsageRamp& ramp, const float* survival, float scale, int32_t n, UsageSpan in);
// Whether most + ramp <= capacity in all n buckets.
bool FitsMost(const UsageRamp& ramp, int32_t n, const int32_t* most, int32_t capacity);
// With a second ramp beside it.
bool FitsMostWith(const UsageRamp& ramp, const UsageRamp& second, int32_t n, const int32_t* most, int32_t capacity);
// Whether in all n buckets most + ramp <= capacity, or mean + z sqrt(variance) <= capacity, with both of these times
// `scale` and the ramp's own added; *sure: whether it is the former in all of them (left alone where it does not fit).
bool FitsMean(const UsageRamp& ramp, int32_t n, const UsageSpan& usage, int32_t capacity, float z, float scale,
              bool* sure);

}  // namespace vramgate
