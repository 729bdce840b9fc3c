// One line of an access log: a JSON object with OpenAI's `usage`, as vLLM, SGLang and others answer with.
//
// `usage` (`prompt_tokens`, `completion_tokens`) stands in the object itself, in its `response` or in
// `response.body`, as in OpenAI's batch files; the time of arrival in `arrival_s`, `timestamp`, `time`, `ts` or
// `created` of the same objects, outermost first: seconds of Unix time, or ISO 8601; the tenant in `tenant` or
// `user`. A line without usage is another kind of request and is passed over.
//
// Used by the trace reader only.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace vramgate {

struct AccessLogLine {
  int64_t time_ns = 0;
  int64_t prompt_tokens = 0;
  int64_t output_tokens = 0;
  std::string tenant;
};

// nullopt: no generation. INVALID_ARGUMENT: not JSON, or a field that cannot be.
absl::StatusOr<std::optional<AccessLogLine>> ParseAccessLogLine(std::string_view line);

}  // namespace vramgate
