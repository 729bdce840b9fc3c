#include "admission/server/config_schema.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "admission/check.h"
#include "admission/units.h"
#include "admission/utf8.h"
#include "google/protobuf/duration.pb.h"

namespace vramgate {
namespace {

namespace pb = google::protobuf;
using Field = pb::FieldDescriptor;

// Levenshtein distance, for names of a few dozen bytes.
size_t Distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, replaced});
    }
  }
  return row[b.size()];
}

}  // namespace

const v1::FieldRule& RuleOf(const Field& field) {
  return field.options().GetExtension(v1::yaml);
}

bool IsBytes(const Field& field) {
  return field.cpp_type() == Field::CPPTYPE_MESSAGE && field.message_type() == v1::Bytes::descriptor();
}
bool IsDuration(const Field& field) {
  return field.cpp_type() == Field::CPPTYPE_MESSAGE && field.message_type() == pb::Duration::descriptor();
}
bool IsPlainMessage(const Field& field) {
  return field.cpp_type() == Field::CPPTYPE_MESSAGE && !IsBytes(field) && !IsDuration(field);
}

absl::StatusOr<long double> ParseNumber(const Field& field, const std::string& text) {
  if (IsBytes(field)) {
    const absl::StatusOr<int64_t> bytes = ParseBytes(text);
    if (!bytes.ok()) return bytes.status();
    return static_cast<long double>(*bytes);
  }
  if (IsDuration(field)) {
    const absl::StatusOr<absl::Duration> duration = ParseDuration(text);
    if (!duration.ok()) return duration.status();
    return static_cast<long double>(absl::ToDoubleSeconds(*duration));
  }
  if (field.type() == Field::TYPE_SINT32) {
    int32_t whole = 0;
    if (absl::SimpleAtoi(text, &whole)) return static_cast<long double>(whole);
    return absl::InvalidArgumentError(absl::StrCat(Quoted(text), " is not a whole number"));
  }
  double number = 0;
  const bool plain = text.find_first_not_of("0123456789.eE+-") == std::string::npos;
  if (plain && absl::SimpleAtod(text, &number) && std::isfinite(number) && number >= 0) {
    if (field.cpp_type() == Field::CPPTYPE_DOUBLE) return static_cast<long double>(number);
    const absl::StatusOr<int64_t> count = ParseCount(text);
    if (!count.ok()) return count.status();
    return static_cast<long double>(*count);
  }
  return absl::InvalidArgumentError(absl::StrCat(Quoted(text), " is not a number >= 0"));
}

std::string OutOfLimits(const Field& field, long double value, const std::string& text, bool counted) {
  const v1::FieldRule& rule = RuleOf(field);
  const auto limit = [&](const std::string& written) -> long double {
    double count = 0;
    if (counted) {
      CHECK(absl::SimpleAtod(written, &count), "config.proto: a limit on a length is no number");
      return count;
    }
    const absl::StatusOr<long double> number = ParseNumber(field, written);
    CHECK(number.ok(), "config.proto: a limit does not read as a value of its field");
    return *number;
  };
  if (!rule.min().empty() && value < limit(rule.min())) return absl::StrCat(text, " is less than ", rule.min());
  if (!rule.max().empty() && value > limit(rule.max())) return absl::StrCat(text, " is more than ", rule.max());
  return "";
}

std::string UnknownField(const pb::Descriptor& type, std::string_view name) {
  std::vector<std::string> known;
  const std::string* nearest = nullptr;
  size_t nearest_distance = std::max<size_t>(1, std::min<size_t>(name.size(), 64) / 3) + 1;
  for (int i = 0; i < type.field_count(); ++i) {
    known.push_back(type.field(i)->name());
    const size_t distance = Distance(name.substr(0, 64), type.field(i)->name());
    if (distance < nearest_distance) nearest = &type.field(i)->name();
    nearest_distance = std::min(nearest_distance, distance);
  }
  return absl::StrCat("unknown field; ", nearest == nullptr ? "" : absl::StrCat("did you mean ", *nearest, "? "),
                      "Known here: ", absl::StrJoin(known, ", "));
}

std::string EnumNames(const pb::EnumDescriptor& type) {
  std::vector<std::string> names;
  for (int i = 0; i < type.value_count(); ++i) {
    if (type.value(i)->number() != 0) names.push_back(absl::AsciiStrToLower(type.value(i)->name()));
  }
  return absl::StrJoin(names, ", ");
}

}  // namespace vramgate
