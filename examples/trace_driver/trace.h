// A request trace: when each request arrived, and how long its prompt and its output were.
//
//   absl::StatusOr<std::vector<TraceRow>> trace = ReadTrace("examples/traces/azure2023_conv_4000.csv");
//
// Used by the trace driver. Plain values, no thread rule.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace vramgate {

struct TraceRow {
  absl::Duration arrival;  // since the first row
  int64_t prompt_tokens = 0;
  int64_t output_tokens = 0;  // what the engine generated: the caller does not know it beforehand
  std::string tenant;         // "": unknown
};

inline constexpr int64_t kMaxTraceRows = 1'000'000;

// Reads a CSV file with the header `arrival_s,prompt_tokens,output_tokens,tenant`, sorted by arrival.
// INVALID_ARGUMENT names the file, the line and the value; NOT_FOUND: no such file.
absl::StatusOr<std::vector<TraceRow>> ReadTrace(const std::string& path);

}  // namespace vramgate
