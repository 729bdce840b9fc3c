#include "admission/gate/usage_kernels.h"

#include <algorithm>

// The processor's own version is taken when the program starts: not under a sanitizer, whose runtime is not up by then.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__) && \
    !defined(__SANITIZE_THREAD__)
#define VRAMGATE_WIDE __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define VRAMGATE_WIDE
#endif

namespace vramgate {
namespace {

constexpr int32_t kChunk = 128;  // buckets between two looks at whether it is lost already

inline __attribute__((always_inline)) int32_t Used(const UsageRamp& ramp, int32_t k) {
  return ramp.used(k);
}

inline __attribute__((always_inline)) float AtMostOne(float chance) {
  return chance < 1.0F ? chance : 1.0F;
}

template <int32_t kSign>
inline __attribute__((always_inline)) void Apply(const UsageRamp& in, int32_t n, const UsageSpan& to) {
  const UsageRamp ramp = in;
  int32_t* __restrict most = to.most;
  float* __restrict mean = to.mean;
  float* __restrict variance = to.variance;
  const float* __restrict survival = ramp.survival;
  if (survival == nullptr) {
    for (int32_t k = 0; k < n; ++k) {
      const int32_t used = Used(ramp, k);
      most[k] += kSign * used;
      mean[k] += static_cast<float>(kSign) * static_cast<float>(used);
    }
    return;
  }
  for (int32_t k = 0; k < n; ++k) {
    const int32_t used = Used(ramp, k);
    const auto u = static_cast<float>(used);
    const float q = AtMostOne(survival[k] * ramp.scale);
    const float uq = u * q;
    most[k] += kSign * used;
    mean[k] += static_cast<float>(kSign) * uq;
    variance[k] += static_cast<float>(kSign) * (uq * (u - uq));
  }
}

}  // namespace

VRAMGATE_WIDE void AddRamp(const UsageRamp& ramp, int32_t n, UsageSpan to) {
  Apply<1>(ramp, n, to);
}

VRAMGATE_WIDE void SubtractRamp(const UsageRamp& ramp, int32_t n, UsageSpan from) {
  Apply<-1>(ramp, n, from);
}

VRAMGATE_WIDE void RenewRamp(const UsageRamp& in, const float* survival, float scale, int32_t n, UsageSpan to) {
  const UsageRamp ramp = in;
  float* __restrict mean = to.mean;
  float* __restrict variance = to.variance;
  const float* __restrict before = ramp.survival;
  const float* __restrict after = survival;
  for (int32_t k = 0; k < n; ++k) {
    const auto u = static_cast<float>(Used(ramp, k));
    const float uq_before = u * AtMostOne(before[k] * ramp.scale);
    const float uq_after = u * AtMostOne(after[k] * scale);
    mean[k] += uq_after - uq_before;
    variance[k] += uq_after * (u - uq_after) - uq_before * (u - uq_before);
  }
}

VRAMGATE_WIDE bool FitsMost(const UsageRamp& in, int32_t n, const int32_t* most, int32_t capacity) {
  const UsageRamp ramp = in;
  for (int32_t from = 0; from < n; from += kChunk) {
    const int32_t to = std::min(n, from + kChunk);
    int32_t over = 0;
    for (int32_t k = from; k < to; ++k) over |= static_cast<int32_t>(most[k] + Used(ramp, k) > capacity);
    if (over != 0) return false;
  }
  return true;
}

VRAMGATE_WIDE bool FitsMostWith(const UsageRamp& in, const UsageRamp& second_in, int32_t n, const int32_t* most,
                                int32_t capacity) {
  const UsageRamp ramp = in;
  const UsageRamp second = second_in;
  for (int32_t from = 0; from < n; from += kChunk) {
    const int32_t to = std::min(n, from + kChunk);
    int32_t over = 0;
    for (int32_t k = from; k < to; ++k)
      over |= static_cast<int32_t>(most[k] + Used(ramp, k) + Used(second, k) > capacity);
    if (over != 0) return false;
  }
  return true;
}

VRAMGATE_WIDE bool FitsMean(const UsageRamp& in, int32_t n, const UsageSpan& usage, int32_t capacity, float z,
                            float scale, bool* sure) {
  const UsageRamp ramp = in;
  const float* __restrict survival = ramp.survival;
  const auto limit = static_cast<float>(capacity);
  const float z2 = z * z;
  int32_t ever_over_most = 0;
  for (int32_t from = 0; from < n; from += kChunk) {
    const int32_t to = std::min(n, from + kChunk);
    int32_t over = 0;
    for (int32_t k = from; k < to; ++k) {
      const int32_t used = Used(ramp, k);
      const auto u = static_cast<float>(used);
      const float q = survival == nullptr ? 1.0F : AtMostOne(survival[k] * ramp.scale);
      const float uq = u * q;
      // mean + z sqrt(variance) <= limit, without the root.
      const float slack = limit - (usage.mean[k] * scale + uq);
      const float variance = usage.variance[k] * scale + uq * (u - uq);
      const auto likely_over = static_cast<int32_t>(slack < 0) | static_cast<int32_t>(z2 * variance > slack * slack);
      const auto over_most = static_cast<int32_t>(usage.most[k] + used > capacity);
      over |= likely_over & over_most;
      ever_over_most |= over_most;
    }
    if (over != 0) return false;
  }
  *sure = *sure && ever_over_most == 0;
  return true;
}

}  // namespace vramgate
