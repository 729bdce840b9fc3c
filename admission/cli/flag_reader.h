// Typed values out of the flags of a command, with errors that name the flag, the value and what would be right.
//
// Used by the commands, which take every flag as text ("" is absent). The first error sticks and is asked for once. One
// thread.
//
//   FlagReader read;
//   options.layers = read.Count("--layers", flags.layers, kMaxLayers).value_or(0);
//   if (!read.status().ok()) return read.status();   // --layers: "x" is not a count: write a whole number ...
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "admission/estimator/dtype.h"

namespace vramgate {

class FlagReader {
 public:
  // A whole number from `min` to `max`, such as 8192 or 72e9.
  std::optional<int64_t> Count(const char* flag, const std::string& text, int64_t max, int64_t min = 1);
  // Bytes from 1 to `max`, such as 80GiB.
  std::optional<int64_t> Size(const char* flag, const std::string& text, int64_t max);
  std::optional<double> Number(const char* flag, const std::string& text, double min, double max);
  std::optional<DType> Type(const char* flag, const std::string& text);

  // Keeps "flag: message" as the error, unless there is one already.
  std::nullopt_t Fail(const char* flag, std::string_view message);
  const absl::Status& status() const { return status_; }

 private:
  absl::Status status_;
};

}  // namespace vramgate
