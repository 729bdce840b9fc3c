// The simulation's own random numbers (SplitMix64), so that a seed means the same on every machine and library.
#pragma once

#include <cstdint>

#include "absl/time/time.h"

namespace vramgate::sim {

class Rng {
 public:
  explicit Rng(uint64_t seed) : state_(seed) {}

  uint64_t Next() {
    uint64_t z = state_ += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }
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

 private:
  uint64_t state_;
};

}  // namespace vramgate::sim
