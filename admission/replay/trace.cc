#include "admission/replay/trace.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <fstream>
#include <tuple>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/time.h"
#include "admission/replay/access_log.h"

namespace vramgate {
namespace {

constexpr double kMaxArrivalSeconds = 1e9;  // thirty years

// Which column of a CSV is what.
struct Columns {
  const char* header;
  size_t count;
  bool tenant;     // the fourth
  bool timestamp;  // arrivals are dates with a time
};
constexpr Columns kKnown[] = {
    {"arrival_s,prompt_tokens,output_tokens,tenant", 4, true, false},
    {"arrival_s,prompt_tokens,output_tokens", 3, false, false},
    {"TIMESTAMP,ContextTokens,GeneratedTokens", 3, false, true},
};

absl::Status Wrong(absl::string_view what, absl::string_view value, absl::string_view right) {
  return absl::InvalidArgumentError(absl::StrCat(what, " \"", value.substr(0, 64), "\" is not ", right));
}

absl::StatusOr<int32_t> ParseTokens(absl::string_view field, const char* what, int64_t least) {
  int64_t tokens = 0;
  if (!absl::SimpleAtoi(field, &tokens) || tokens < least || tokens > Trace::kMaxTokens)
    return Wrong(what, field, absl::StrCat("a number from ", least, " to ", Trace::kMaxTokens));
  return static_cast<int32_t>(tokens);
}

absl::StatusOr<TraceRow> ParseCsvRow(std::string_view line, const Columns& columns, TenantNames& tenants) {
  std::array<absl::string_view, 4> fields;
  size_t count = 0;
  for (absl::string_view field : absl::StrSplit(absl::string_view(line.data(), line.size()), ',')) {
    if (count < fields.size()) fields[count] = field;
    ++count;
  }
  if (count != columns.count)
    return absl::InvalidArgumentError(absl::StrCat("has ", count, " fields, not ", columns.count));
  TraceRow row;
  if (columns.timestamp) {
    const absl::StatusOr<int64_t> time = ParseTimestamp({fields[0].data(), fields[0].size()});
    if (!time.ok()) return time.status();
    row.arrival_ns = *time;
  } else {
    double arrival_s = 0;
    if (!absl::SimpleAtod(fields[0], &arrival_s) || !(arrival_s >= 0) || arrival_s > kMaxArrivalSeconds)
      return Wrong("arrival_s", fields[0], "a number of seconds from 0 to 1e9");
    row.arrival_ns = std::llround(arrival_s * 1e9);
  }
  const absl::StatusOr<int32_t> prompt = ParseTokens(fields[1], "prompt_tokens", 1);
  if (!prompt.ok()) return prompt.status();
  const absl::StatusOr<int32_t> output = ParseTokens(fields[2], "output_tokens", 0);
  if (!output.ok()) return output.status();
  const absl::StatusOr<int32_t> tenant =
      tenants.Index(columns.tenant ? std::string_view(fields[3].data(), fields[3].size()) : "");
  if (!tenant.ok()) return tenant.status();
  row.prompt_tokens = *prompt;
  row.output_tokens = *output;
  row.tenant = *tenant;
  return row;
}

absl::StatusOr<std::optional<TraceRow>> ParseLogRow(std::string_view line, TenantNames& tenants) {
  const absl::StatusOr<std::optional<AccessLogLine>> parsed = ParseAccessLogLine(line);
  if (!parsed.ok()) return parsed.status();
  if (!*parsed) return std::nullopt;
  const AccessLogLine& log = **parsed;
  const absl::StatusOr<int32_t> tenant = tenants.Index(log.tenant);
  if (!tenant.ok()) return tenant.status();
  return TraceRow{log.time_ns, static_cast<int32_t>(log.prompt_tokens), static_cast<int32_t>(log.output_tokens),
                  *tenant};
}

// Reads a line of any bytes but at most kMaxLineBytes. False: the end. *status: why it is none.
bool ReadLine(std::istream& in, std::string& line, absl::Status* status) {
  line.clear();
  for (int c = in.get(); c != std::istream::traits_type::eof(); c = in.get()) {
    if (c == '\n') {
      if (!line.empty() && line.back() == '\r') line.pop_back();
      return true;
    }
    if (line.size() >= Trace::kMaxLineBytes) {
      *status = absl::InvalidArgumentError(absl::StrCat("longer than ", Trace::kMaxLineBytes, " bytes"));
      return true;
    }
    line += static_cast<char>(c);
  }
  if (in.bad()) *status = absl::DataLossError("cannot be read any further");
  return !line.empty() || !status->ok();
}

// Rows begin at 0, by arrival. Those of a log may come in any order; equal arrivals then go by what they ask for, so
// that the order is the same everywhere.
void Order(Trace& trace) {
  const auto earlier = [](const TraceRow& a, const TraceRow& b) { return a.arrival_ns < b.arrival_ns; };
  if (!std::is_sorted(trace.rows.begin(), trace.rows.end(), earlier)) {
    std::sort(trace.rows.begin(), trace.rows.end(), [](const TraceRow& a, const TraceRow& b) {
      return std::tie(a.arrival_ns, a.prompt_tokens, a.output_tokens, a.tenant) <
             std::tie(b.arrival_ns, b.prompt_tokens, b.output_tokens, b.tenant);
    });
  }
  const int64_t start_ns = trace.rows.empty() ? 0 : trace.rows.front().arrival_ns;
  for (TraceRow& row : trace.rows) row.arrival_ns -= start_ns;
}

const Columns* Known(const std::string& header) {
  const auto* it =
      std::find_if(std::begin(kKnown), std::end(kKnown), [&](const Columns& c) { return header == c.header; });
  return it == std::end(kKnown) ? nullptr : it;
}

absl::Status At(int64_t line, const absl::Status& status) {
  return absl::Status(status.code(), absl::StrCat("line ", line, ": ", status.message()));
}

}  // namespace

absl::StatusOr<int32_t> TenantNames::Index(std::string_view name) {
  const auto it = by_name_.find(absl::string_view(name.data(), name.size()));
  if (it != by_name_.end()) return it->second;
  if (name.size() > Trace::kMaxTenantBytes)
    return absl::InvalidArgumentError(absl::StrCat("tenant is longer than ", Trace::kMaxTenantBytes, " bytes"));
  if (std::ssize(trace_.tenants) >= Trace::kMaxTenants)
    return absl::InvalidArgumentError(absl::StrCat("more than ", Trace::kMaxTenants, " tenants"));
  const auto index = static_cast<int32_t>(trace_.tenants.size());
  trace_.tenants.emplace_back(name);
  by_name_.emplace(trace_.tenants.back(), index);
  return index;
}

absl::StatusOr<int64_t> ParseTimestamp(std::string_view text) {
  std::string normal(text.substr(0, 64));
  if (normal.size() > 10 && normal[10] == ' ') normal[10] = 'T';
  absl::Time time;
  std::string error;
  // Without an offset it is UTC: only differences count.
  const bool parsed = absl::ParseTime("%Y-%m-%d%ET%H:%M:%E*S%Ez", normal, &time, &error) ||
                      absl::ParseTime("%Y-%m-%d%ET%H:%M:%E*S", normal, &time, &error);
  if (!parsed || time < absl::UnixEpoch() || time > absl::FromUnixSeconds(9'000'000'000))
    return Wrong("timestamp", {text.data(), text.size()}, "a date and time such as 2023-11-16 18:15:46.68");
  return absl::ToUnixNanos(time);
}

absl::StatusOr<Trace> ReadTrace(std::istream& in, int64_t first) {
  Trace trace;
  TenantNames tenants(trace);
  std::string line;
  absl::Status status;
  if (!ReadLine(in, line, &status)) return absl::InvalidArgumentError("line 1: empty: no header, no JSON");
  if (!status.ok()) return At(1, status);
  const bool log = line.starts_with("{");
  const Columns* columns = Known(line);
  if (!log && columns == nullptr)
    return At(1, Wrong("the header", line, absl::StrCat("\"", kKnown[0].header, "\", and no JSON object either")));
  bool more = log || ReadLine(in, line, &status);
  for (int64_t number = log ? 1 : 2; more && std::ssize(trace.rows) < first; ++number) {
    if (!status.ok()) return At(number, status);
    if (std::ssize(trace.rows) >= Trace::kMaxRows)
      return At(number, absl::InvalidArgumentError(absl::StrCat("more than ", Trace::kMaxRows, " rows")));
    if (log) {
      absl::StatusOr<std::optional<TraceRow>> row = ParseLogRow(line, tenants);
      if (!row.ok()) return At(number, row.status());
      if (*row) {
        trace.rows.push_back(**row);
      } else {
        ++trace.skipped_lines;
      }
    } else {
      absl::StatusOr<TraceRow> row = ParseCsvRow(line, *columns, tenants);
      if (!row.ok()) return At(number, row.status());
      if (!columns->timestamp && !trace.rows.empty() && row->arrival_ns < trace.rows.back().arrival_ns)
        return At(number, absl::InvalidArgumentError("arrives before the row above it"));
      trace.rows.push_back(*row);
    }
    more = ReadLine(in, line, &status);
  }
  if (trace.rows.empty()) return absl::InvalidArgumentError("no rows");
  Order(trace);
  return trace;
}

absl::StatusOr<Trace> ReadTraceFile(const std::string& path, int64_t first) {
  errno = 0;
  std::ifstream in(path, std::ios::binary);
  if (!in) return absl::ErrnoToStatus(errno, path);
  absl::StatusOr<Trace> trace = ReadTrace(in, first);
  if (!trace.ok()) return absl::Status(trace.status().code(), absl::StrCat(path, ": ", trace.status().message()));
  return trace;
}

}  // namespace vramgate
