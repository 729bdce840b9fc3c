#include "admission/cli/flag_reader.h"

#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "admission/units.h"
#include "admission/utf8.h"

namespace vramgate {
namespace {

std::string_view Std(absl::string_view s) {
  return {s.data(), s.size()};
}

}  // namespace

std::optional<int64_t> FlagReader::Count(const char* flag, const std::string& text, int64_t max, int64_t min) {
  if (text.empty()) return std::nullopt;
  const absl::StatusOr<int64_t> value = ParseCount(text);
  if (!value.ok()) return Fail(flag, Std(value.status().message()));
  if (*value < min || *value > max) return Fail(flag, absl::StrCat(Quoted(text), " must be from ", min, " to ", max));
  return *value;
}

std::optional<int64_t> FlagReader::Size(const char* flag, const std::string& text, int64_t max) {
  if (text.empty()) return std::nullopt;
  const absl::StatusOr<int64_t> value = ParseBytes(text);
  if (!value.ok()) return Fail(flag, Std(value.status().message()));
  if (*value < 1 || *value > max)
    return Fail(flag, absl::StrCat(Quoted(text), " must be from 1B to ", FormatBytes(max)));
  return *value;
}

std::optional<double> FlagReader::Number(const char* flag, const std::string& text, double min, double max) {
  if (text.empty()) return std::nullopt;
  double value = 0;
  if (absl::SimpleAtod(text, &value) && value >= min && value <= max) return value;
  return Fail(flag, absl::StrCat(Quoted(text), " must be a number from ", min, " to ", max));
}

std::optional<DType> FlagReader::Type(const char* flag, const std::string& text) {
  if (text.empty()) return std::nullopt;
  const absl::StatusOr<DType> value = ParseDType(text);
  if (value.ok()) return *value;
  return Fail(flag, Std(value.status().message()));
}

std::nullopt_t FlagReader::Fail(const char* flag, std::string_view message) {
  if (status_.ok()) {
    status_ = absl::InvalidArgumentError(absl::StrCat(flag, ": ", absl::string_view(message.data(), message.size())));
  }
  return std::nullopt;
}

}  // namespace vramgate
