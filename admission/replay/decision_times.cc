#include <algorithm>
#include <bit>
#include <numeric>

#include "admission/replay/policy.h"

namespace vramgate {

// Sixteen buckets to each doubling.
size_t DecisionTimes::Bucket(int64_t ns) {
  if (ns < 16) return static_cast<size_t>(std::max<int64_t>(ns, 0));
  const int power = std::bit_width(static_cast<uint64_t>(ns)) - 1;
  return static_cast<size_t>(power - 3) * 16 + static_cast<size_t>((ns >> (power - 4)) & 15);
}

double DecisionTimes::Value(size_t bucket) {
  if (bucket < 16) return static_cast<double>(bucket);
  const auto power = static_cast<int>(bucket / 16) + 3;
  return (static_cast<double>(bucket % 16) + 16.5) * static_cast<double>(int64_t{1} << (power - 4));
}

double DecisionTimes::Quantile(double q) const {
  const int64_t total = std::accumulate(counts_.begin(), counts_.end(), int64_t{0});
  if (total == 0) return 0;
  auto left = static_cast<int64_t>(q * static_cast<double>(total - 1));
  for (size_t b = 0; b < counts_.size(); ++b) {
    left -= counts_[b];
    if (left < 0) return Value(b);
  }
  return Value(counts_.size() - 1);
}

}  // namespace vramgate
