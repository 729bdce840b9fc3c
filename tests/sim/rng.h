// What a simulation draws: numbers in a range, durations, one of several.
#pragma once

#include <cstdint>

#include "absl/time/time.h"
#include "admission/rng.h"

namespace vramgate::sim {

class Rng : public vramgate::Rng {
 public:
  using vramgate::Rng::Rng;

  // Between the two, both included. REQUIRES: low <= high.
  int64_t Between(int64_t low, int64_t high) {
    return low + static_cast<int64_t>(Next() % static_cast<uint64_t>(high - low + 1));
  }
  bool OneIn(int64_t n) { return Between(1, n) == 1; }
  // One of the arguments.
  template <typename T, typename... Rest>
  T Pick(T first, Rest... rest) {
    const T all[] = {first, static_cast<T>(rest)...};
    return all[Between(0, static_cast<int64_t>(sizeof...(rest)))];
  }
  absl::Duration Between(absl::Duration low, absl::Duration high) {
    return absl::Nanoseconds(Between(absl::ToInt64Nanoseconds(low), absl::ToInt64Nanoseconds(high)));
  }
};

}  // namespace vramgate::sim
