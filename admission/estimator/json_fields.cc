#include "admission/estimator/json_fields.h"

#include <algorithm>
#include <array>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace vramgate {
namespace {

using nlohmann::json;

constexpr size_t kMaxList = 65536;  // elements of a list

absl::string_view Absl(std::string_view s) {
  return {s.data(), s.size()};
}

absl::Status Error(std::string_view name, std::string_view message) {
  return absl::InvalidArgumentError(absl::StrCat(Absl(name), ": ", Absl(message)));
}

// Deepest nesting of brackets outside of strings. Looked at before parsing, so that no depth is ever built. On the way,
// what Python's json writes but JSON does not have (NaN, Infinity) becomes null in `clean`: such a value is as good as
// absent.
int ScanAndClean(std::string_view text, std::string& clean) {
  constexpr std::array<std::string_view, 3> kPythonOnly = {"NaN", "Infinity", "-Infinity"};
  int depth = 0;
  int deepest = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (!in_string) {
      const auto word = std::find_if(kPythonOnly.begin(), kPythonOnly.end(),
                                     [&](std::string_view w) { return text.compare(i, w.size(), w) == 0; });
      if (word != kPythonOnly.end()) {
        clean += "null";
        i += word->size() - 1;
        continue;
      }
      if (c == '{' || c == '[') deepest = std::max(deepest, ++depth);
      if (c == '}' || c == ']') --depth;
    }
    clean += c;
    if (c == '"') in_string = !in_string;
    if (in_string && c == '\\' && i + 1 < text.size()) clean += text[++i];  // an escaped quote ends nothing
  }
  return deepest;
}

// The value as it may be shown in an error: printable and short.
std::string Shown(const json& value) {
  std::string text =
      value.is_structured() ? value.type_name() : value.dump(-1, ' ', true, json::error_handler_t::replace);
  if (text.size() > 64) text = text.substr(0, 61) + "...";
  return absl::CHexEscape(text);
}

}  // namespace

absl::StatusOr<json> ParseJsonObject(std::string_view text, std::string_view name) {
  if (text.size() > kMaxConfigBytes) return Error(name, absl::StrCat("larger than ", kMaxConfigBytes, " bytes"));
  std::string clean;
  clean.reserve(text.size());
  if (ScanAndClean(text, clean) > kMaxConfigDepth)
    return Error(name, absl::StrCat("nested deeper than ", kMaxConfigDepth));
  json document = json::parse(clean, nullptr, /*allow_exceptions=*/false);
  if (document.is_discarded()) return Error(name, "not valid JSON");
  if (!document.is_object())
    return Error(name, absl::StrCat("a JSON object is expected, this is ", document.type_name()));
  return document;
}

const json* JsonFields::Find(const char* key) const {
  const auto it = object_->find(key);
  return it == object_->end() || it->is_null() ? nullptr : &*it;
}

void JsonFields::Fail(const char* key, std::string_view message) {
  if (status_.ok()) status_ = Error(name_, absl::StrCat(key, ": ", Absl(message)));
}

std::optional<int64_t> JsonFields::Optional(std::initializer_list<const char*> keys, int64_t min) {
  for (const char* key : keys) {
    const json* value = Find(key);
    if (value == nullptr) continue;
    const bool whole = value->is_number_integer() &&
                       (!value->is_number_unsigned() || value->get<uint64_t>() <= static_cast<uint64_t>(kMaxCount));
    if (whole && value->get<int64_t>() >= min && value->get<int64_t>() <= kMaxCount) return value->get<int64_t>();
    Fail(key, absl::StrCat(Shown(*value), " must be a whole number from ", min, " to ", kMaxCount));
    return std::nullopt;
  }
  return std::nullopt;
}

int64_t JsonFields::Required(std::initializer_list<const char*> keys) {
  const std::optional<int64_t> value = Optional(keys);
  if (!value.has_value()) Fail(*keys.begin(), "missing; without it the model cannot be priced");
  return value.value_or(0);
}

double JsonFields::Number(const char* key, double fallback, double min, double max) {
  const json* value = Find(key);
  if (value == nullptr) return fallback;
  if (value->is_number() && value->get<double>() >= min && value->get<double>() <= max) return value->get<double>();
  Fail(key, absl::StrCat(Shown(*value), " must be a number from ", min, " to ", max));
  return fallback;
}

std::vector<int64_t> JsonFields::Counts(const char* key, bool nulls) {
  std::vector<int64_t> counts;
  const json* value = Find(key);
  if (value == nullptr) return counts;
  if (!value->is_array() || value->size() > kMaxList) {
    Fail(key, "a list of whole numbers is expected");
    return counts;
  }
  for (const json& element : *value) {
    const bool whole = element.is_number_unsigned() && element.get<uint64_t>() <= static_cast<uint64_t>(kMaxCount);
    if (!whole && !(nulls && element.is_null())) {
      Fail(key, absl::StrCat(Shown(element), " must be a whole number from 0 to ", kMaxCount));
      return {};
    }
    counts.push_back(whole ? element.get<int64_t>() : 0);
  }
  return counts;
}

std::vector<std::string> JsonFields::Strings(const char* key) {
  std::vector<std::string> strings;
  const json* value = Find(key);
  if (value == nullptr) return strings;
  if (!value->is_array() || value->size() > kMaxList) {
    Fail(key, "a list of strings is expected");
    return strings;
  }
  for (const json& element : *value) {
    if (!element.is_string()) {
      Fail(key, absl::StrCat(Shown(element), " must be a string"));
      return {};
    }
    strings.push_back(element.get<std::string>());
  }
  return strings;
}

const json* JsonFields::Object(const char* key) {
  const json* value = Find(key);
  if (value == nullptr || value->is_object()) return value;
  Fail(key, "an object is expected");
  return nullptr;
}

bool JsonFields::Bool(const char* key, bool fallback) {
  const json* value = Find(key);
  if (value == nullptr) return fallback;
  if (value->is_boolean()) return value->get<bool>();
  Fail(key, absl::StrCat(Shown(*value), " must be true or false"));
  return fallback;
}

std::string JsonFields::String(const char* key, std::string_view fallback) {
  const json* value = Find(key);
  if (value == nullptr) return std::string(fallback);
  if (value->is_string()) return value->get<std::string>();
  Fail(key, absl::StrCat(Shown(*value), " must be a string"));
  return std::string(fallback);
}

}  // namespace vramgate
