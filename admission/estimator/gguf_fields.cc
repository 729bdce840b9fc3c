#include "admission/estimator/gguf_fields.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace vramgate {
namespace {

absl::string_view Absl(std::string_view s) {
  return {s.data(), s.size()};
}

}  // namespace

std::string GgufFields::Full(std::string_view key) const {
  return absl::StrCat(architecture_, ".", Absl(key));
}

int64_t GgufFields::Required(std::string_view key, int64_t max) {
  const std::optional<int64_t> value = Optional(key, max);
  if (!value.has_value()) Fail(key, "missing");
  if (value == 0) Fail(key, "0, where a size is expected");
  return std::max<int64_t>(value.value_or(1), 1);
}

std::optional<int64_t> GgufFields::Optional(std::string_view key, int64_t max) {
  if (!Has(key)) return std::nullopt;
  const std::optional<int64_t> value = file_.Uint(Full(key));
  if (value.has_value() && *value <= max) return value;
  Fail(key, absl::StrCat("a whole number up to ", max, " is expected"));
  return 0;
}

std::vector<int64_t> GgufFields::PerLayer(std::string_view key, int64_t layers, int64_t fallback, int64_t max) {
  const GgufValue* value = file_.Find(Full(key));
  const auto count = static_cast<size_t>(layers);
  if (value == nullptr || !value->is_array) return std::vector<int64_t>(count, Optional(key, max).value_or(fallback));
  std::optional<std::vector<int64_t>> list = file_.UintArray(Full(key));
  if (!list.has_value() || list->size() < count ||
      std::any_of(list->begin(), list->end(), [max](int64_t v) { return v > max; })) {
    Fail(key, absl::StrCat("one whole number up to ", max, " for each of the ", layers, " layers is expected"));
    return std::vector<int64_t>(count, fallback);
  }
  list->resize(count);
  return *std::move(list);
}

void GgufFields::Fail(std::string_view key, std::string_view message) {
  if (!status_.ok()) return;
  status_ = absl::InvalidArgumentError(absl::StrCat(name_, ": ", Full(key), ": ", Absl(message)));
}

}  // namespace vramgate
