// Reads Prometheus' text format 0.0.4, strictly and within limits: one sample at a time, in the order of the page.
//
//   absl::Status status = ForEachSample(page, [&](const MetricSample& sample) {
//     if (sample.name == "vllm:kv_cache_usage_perc") used = sample.value;
//   });
//
// prometheus-cpp writes this format and reads none. Pure function, no thread rule; what a sample refers to lives as
// long as the call.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"

namespace vramgate {

inline constexpr size_t kMaxPageBytes = size_t{4} << 20;
inline constexpr size_t kMaxPageLineBytes = size_t{64} << 10;
inline constexpr size_t kMaxSampleLabels = 256;

struct MetricSample {
  std::string_view name;
  std::vector<std::pair<std::string_view, std::string>> labels;  // values with their escapes resolved
  double value = 0;                                              // may be NaN or infinite

  // "" where there is no such label.
  std::string_view label(std::string_view key) const;
};

// INVALID_ARGUMENT names the first line that is not of the format, or over a limit; samples before it were visited.
absl::Status ForEachSample(std::string_view page, absl::FunctionRef<void(const MetricSample&)> visit);

}  // namespace vramgate
