#include "examples/trace_driver/trace.h"

#include <cerrno>
#include <cmath>
#include <cstring>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace vramgate {
namespace {

constexpr char kHeader[] = "arrival_s,prompt_tokens,output_tokens,tenant";
constexpr double kMaxArrivalSeconds = 1e8;  // three years
constexpr int64_t kMaxTokens = 1'000'000'000;
constexpr size_t kMaxTenantBytes = 256;

absl::StatusOr<TraceRow> ParseRow(const std::string& line) {
  const std::vector<std::string> fields = absl::StrSplit(line, ',');
  if (fields.size() != 4) return absl::InvalidArgumentError(absl::StrCat("has ", fields.size(), " fields, not 4"));
  double arrival_s = 0;
  if (!absl::SimpleAtod(fields[0], &arrival_s) || !(arrival_s >= 0) || arrival_s > kMaxArrivalSeconds) {
    return absl::InvalidArgumentError(absl::StrCat("arrival_s \"", fields[0], "\" is not a number of seconds >= 0"));
  }
  TraceRow row;
  row.arrival = absl::Seconds(arrival_s);
  for (const auto& [field, tokens] : {std::pair{1, &row.prompt_tokens}, std::pair{2, &row.output_tokens}}) {
    const int64_t least = field == 1 ? 1 : 0;
    if (!absl::SimpleAtoi(fields[field], tokens) || *tokens < least || *tokens > kMaxTokens) {
      return absl::InvalidArgumentError(absl::StrCat(field == 1 ? "prompt_tokens" : "output_tokens", " \"",
                                                     fields[field], "\" is not a number from ", least, " to ",
                                                     kMaxTokens));
    }
  }
  if (fields[3].size() > kMaxTenantBytes) {
    return absl::InvalidArgumentError(absl::StrCat("tenant is longer than ", kMaxTenantBytes, " bytes"));
  }
  row.tenant = fields[3];
  return row;
}

}  // namespace

absl::StatusOr<std::vector<TraceRow>> ReadTrace(const std::string& path) {
  std::ifstream file(path);
  if (!file) return absl::NotFoundError(absl::StrCat(path, ": ", std::strerror(errno)));
  const auto error = [&](int64_t line, std::string_view what) {
    return absl::InvalidArgumentError(absl::StrCat(path, ":", line, ": ", absl::string_view(what.data(), what.size())));
  };
  std::string line;
  if (!std::getline(file, line) || line != kHeader) {
    return error(1, absl::StrCat("the header is \"", line.substr(0, 80), "\", not \"", kHeader, "\""));
  }
  std::vector<TraceRow> rows;
  for (int64_t number = 2; std::getline(file, line); ++number) {
    if (std::ssize(rows) >= kMaxTraceRows) return error(number, absl::StrCat("more than ", kMaxTraceRows, " rows"));
    absl::StatusOr<TraceRow> row = ParseRow(line);
    if (!row.ok()) return error(number, std::string(row.status().message()));
    if (!rows.empty() && row->arrival < rows.back().arrival) return error(number, "arrives before the row above it");
    rows.push_back(*std::move(row));
  }
  if (rows.empty()) return error(2, "no rows");
  return rows;
}

}  // namespace vramgate
