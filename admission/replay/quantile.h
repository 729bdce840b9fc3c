// A quantile of a list of measurements: waits, errors. Used by the meter and the policies. Pure.
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

namespace vramgate {

// 0 of none; q from 0 to 1. Puts `values` into another order.
inline double QuantileOf(std::vector<double>& values, double q) {
  if (values.empty()) return 0;
  const auto at = values.begin() + static_cast<ptrdiff_t>(q * static_cast<double>(values.size() - 1));
  std::nth_element(values.begin(), at, values.end());
  return *at;
}

}  // namespace vramgate
