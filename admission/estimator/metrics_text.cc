#include "admission/estimator/metrics_text.h"

#include <charconv>
#include <limits>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

namespace vramgate {
namespace {

bool IsNameStart(char c, bool of_metric) {
  return absl::ascii_isalpha(static_cast<unsigned char>(c)) || c == '_' || (of_metric && c == ':');
}

bool EatByte(std::string_view& rest, char c) {
  if (!rest.starts_with(c)) return false;
  rest.remove_prefix(1);
  return true;
}

void EatBlanks(std::string_view& rest) {
  while (!rest.empty() && (rest.front() == ' ' || rest.front() == '\t')) rest.remove_prefix(1);
}

bool ReadName(std::string_view& rest, bool of_metric, std::string_view* name) {
  if (rest.empty() || !IsNameStart(rest.front(), of_metric)) return false;
  size_t end = 1;
  while (end < rest.size() &&
         (IsNameStart(rest[end], of_metric) || absl::ascii_isdigit(static_cast<unsigned char>(rest[end])))) {
    ++end;
  }
  *name = rest.substr(0, end);
  rest.remove_prefix(end);
  return true;
}

bool ReadQuoted(std::string_view& rest, std::string* value) {
  if (!EatByte(rest, '"')) return false;
  while (!rest.empty()) {
    const char c = rest.front();
    rest.remove_prefix(1);
    if (c == '"') return true;
    if (c != '\\') {
      value->push_back(c);
      continue;
    }
    if (rest.empty()) return false;
    const char escaped = rest.front();
    rest.remove_prefix(1);
    if (escaped != '\\' && escaped != '"' && escaped != 'n') return false;
    value->push_back(escaped == 'n' ? '\n' : escaped);
  }
  return false;
}

bool ReadLabels(std::string_view& rest, MetricSample* sample) {
  while (true) {
    EatBlanks(rest);
    if (EatByte(rest, '}')) return true;
    if (sample->labels.size() >= kMaxSampleLabels) return false;
    auto& [name, value] = sample->labels.emplace_back();
    if (!ReadName(rest, false, &name)) return false;
    EatBlanks(rest);
    if (!EatByte(rest, '=')) return false;
    EatBlanks(rest);
    if (!ReadQuoted(rest, &value)) return false;
    EatBlanks(rest);
    if (EatByte(rest, ',')) continue;
    return EatByte(rest, '}');
  }
}

bool ReadValue(std::string_view& rest, double* value) {
  const size_t end = rest.find_first_of(" \t");
  std::string_view text = rest.substr(0, end);
  rest.remove_prefix(text.size());
  const bool negative = text.starts_with('-');
  if (negative || text.starts_with('+')) text.remove_prefix(1);
  if (text == "NaN") {
    *value = std::numeric_limits<double>::quiet_NaN();
    return true;
  }
  if (text == "Inf") {
    *value = negative ? -std::numeric_limits<double>::infinity() : std::numeric_limits<double>::infinity();
    return true;
  }
  // from_chars would take "inf" and "nan" too.
  if (text.empty() || (text.front() != '.' && !absl::ascii_isdigit(static_cast<unsigned char>(text.front())))) {
    return false;
  }
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), *value);
  if (error != std::errc() || stop != text.data() + text.size()) return false;
  if (negative) *value = -*value;
  return true;
}

bool ReadTimestamp(std::string_view& rest) {
  int64_t milliseconds = 0;
  const auto [stop, error] = std::from_chars(rest.data(), rest.data() + rest.size(), milliseconds);
  if (error != std::errc()) return false;
  rest.remove_prefix(static_cast<size_t>(stop - rest.data()));
  return true;
}

bool ReadSample(std::string_view rest, MetricSample* sample) {
  if (!ReadName(rest, true, &sample->name)) return false;
  EatBlanks(rest);
  if (EatByte(rest, '{') && !ReadLabels(rest, sample)) return false;
  EatBlanks(rest);
  if (!ReadValue(rest, &sample->value)) return false;
  EatBlanks(rest);
  if (!rest.empty() && !ReadTimestamp(rest)) return false;
  EatBlanks(rest);
  return rest.empty();
}

}  // namespace

std::string_view MetricSample::label(std::string_view key) const {
  for (const auto& [name, value] : labels) {
    if (name == key) return value;
  }
  return "";
}

absl::Status ForEachSample(std::string_view page, absl::FunctionRef<void(const MetricSample&)> visit) {
  if (page.size() > kMaxPageBytes) {
    return absl::InvalidArgumentError(absl::StrCat("larger than ", kMaxPageBytes, " bytes"));
  }
  for (int64_t number = 1; !page.empty(); ++number) {
    const size_t end = page.find('\n');
    std::string_view line = page.substr(0, end);
    page.remove_prefix(end == std::string_view::npos ? page.size() : end + 1);
    if (line.ends_with('\r')) line.remove_suffix(1);
    EatBlanks(line);
    if (line.empty() || line.front() == '#') continue;
    MetricSample sample;
    if (line.size() > kMaxPageLineBytes || !ReadSample(line, &sample)) {
      return absl::InvalidArgumentError(
          absl::StrCat("line ", number, " is no sample of Prometheus' text format within limits"));
    }
    visit(sample);
  }
  return absl::OkStatus();
}

}  // namespace vramgate
