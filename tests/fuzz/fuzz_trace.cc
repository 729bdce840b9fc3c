// Traces and access logs. Rows are sorted, of the limits that trace.h states, and of tenants that are named; a refusal
// says which line.
#include <cstddef>
#include <cstdint>
#include <sstream>
#include <string>

#include "admission/check.h"
#include "admission/replay/trace.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using vramgate::Trace;
  constexpr int64_t kFirst = 1000;
  std::istringstream in(std::string(reinterpret_cast<const char*>(data), size));
  const absl::StatusOr<Trace> trace = vramgate::ReadTrace(in, kFirst);
  if (!trace.ok()) {
    CHECK(!trace.status().message().empty(), "a refusal without a word");
    return 0;
  }
  CHECK(std::ssize(trace->rows) <= kFirst, "more rows than were asked for");
  int64_t last_ns = 0;
  for (const vramgate::TraceRow& row : trace->rows) {
    CHECK(row.arrival_ns >= last_ns, "rows out of order");
    last_ns = row.arrival_ns;
    CHECK(row.prompt_tokens >= 0 && row.prompt_tokens <= Trace::kMaxTokens, "a prompt beyond the limit");
    CHECK(row.output_tokens >= 0 && row.output_tokens <= Trace::kMaxTokens, "an output beyond the limit");
    CHECK(row.tenant >= 0 && row.tenant < std::ssize(trace->tenants), "a tenant without a name");
  }
  return 0;
}
