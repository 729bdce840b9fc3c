// Sizes that cannot overflow: 128 bits on the way, narrowed once, or saturated where a price must never fail.
//
//   absl::StatusOr<int64_t> bytes = Narrow(Wide{layers} * width * 2, "weights");
//
// Pure functions: no thread rule.
#pragma once

#include <cstdint>
#include <limits>

#include "absl/status/statusor.h"
#include "admission/estimator/axis.h"

namespace vramgate {

inline constexpr int64_t kMaxBytes = std::numeric_limits<int64_t>::max();

// `value` as int64, or OUT_OF_RANGE naming `what`. REQUIRES: value >= 0.
absl::StatusOr<int64_t> Narrow(Wide value, const char* what);

// a * b and a + b, at most kMaxBytes. REQUIRES: both >= 0.
inline int64_t SaturatingMultiply(int64_t a, int64_t b) {
  int64_t product = 0;
  return __builtin_mul_overflow(a, b, &product) ? kMaxBytes : product;
}
inline int64_t SaturatingAdd(int64_t a, int64_t b) {
  int64_t sum = 0;
  return __builtin_add_overflow(a, b, &sum) ? kMaxBytes : sum;
}

// The largest n from 1 to `limit` with ok(n); 0 where there is none. REQUIRES: ok, once false, stays
// false.
template <typename Ok>
int64_t LargestThat(int64_t limit, Ok ok) {
  int64_t good = 0;
  for (int64_t left = limit; left > 0;) {
    const int64_t step = left - left / 2;
    if (ok(good + step)) {
      good += step;
      left -= step;
    } else {
      left = step - 1;
    }
  }
  return good;
}

}  // namespace vramgate
