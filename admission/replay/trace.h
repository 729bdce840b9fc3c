// A request trace: when each request arrived, and how long its prompt and its output were.
//
//   absl::StatusOr<Trace> trace = ReadTraceFile("examples/traces/azure2023_conv_4000.csv", /*first=*/6000);
//   trace->rows[0].prompt_tokens;  trace->tenants[trace->rows[0].tenant];
//
// Read from a CSV with the header `arrival_s,prompt_tokens,output_tokens[,tenant]` (sorted), from the Azure LLM
// inference traces as published (`TIMESTAMP,ContextTokens,GeneratedTokens`), or from an access log: a JSON object a
// line, with OpenAI's `usage` (access_log.h). Used by `vramgate replay` and its tests. Input may be anything: lines,
// rows, tokens and tenants are bounded. Plain values: no thread rule, no lifetime rule.
#pragma once

#include <cstdint>
#include <istream>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"

namespace vramgate {

struct TraceRow {
  int64_t arrival_ns = 0;  // since the first row
  int32_t prompt_tokens = 0;
  int32_t output_tokens = 0;  // what the engine generated: nobody knows it beforehand
  int32_t tenant = 0;         // index into Trace::tenants
};

struct Trace {
  static constexpr int64_t kMaxRows = 5'000'000;
  static constexpr int64_t kMaxTokens = 10'000'000;  // of a prompt, or an output
  static constexpr int64_t kMaxTenants = 100'000;
  static constexpr size_t kMaxTenantBytes = 256;
  static constexpr size_t kMaxLineBytes = 1 << 20;

  std::vector<TraceRow> rows;        // by arrival
  std::vector<std::string> tenants;  // in order of appearance; "" is a tenant like any other
  int64_t skipped_lines = 0;         // of an access log: no generation
};

// Gives each tenant its index.
class TenantNames {
 public:
  explicit TenantNames(Trace& trace) : trace_(trace) {}
  // INVALID_ARGUMENT: too long, or one too many.
  absl::StatusOr<int32_t> Index(std::string_view name);

 private:
  Trace& trace_;
  absl::flat_hash_map<std::string, int32_t> by_name_;
};

// Up to `first` rows; what is behind them is not read. INVALID_ARGUMENT says "line N: " and what is wrong.
absl::StatusOr<Trace> ReadTrace(std::istream& in, int64_t first);

// The same for a file; errors name it. NOT_FOUND, PERMISSION_DENIED, ...: cannot be opened.
absl::StatusOr<Trace> ReadTraceFile(const std::string& path, int64_t first);

// Nanoseconds of "2023-11-16 18:15:46.6805900", also with `T`, `Z` or an offset; INVALID_ARGUMENT where it is none.
absl::StatusOr<int64_t> ParseTimestamp(std::string_view text);

}  // namespace vramgate
