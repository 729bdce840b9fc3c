#include "plugin/triton/demand.h"

#include <strings.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>

namespace vramgate {
namespace {

using nlohmann::json;

constexpr int64_t kMostSequences = std::numeric_limits<int32_t>::max();
constexpr size_t kLengthBytes = 4;  // before each text of a BYTES tensor

Error Invalid(std::string_view name, std::string_view what) {
  return MakeError(TRITONSERVER_ERROR_INVALID_ARG, "vramgate: " + std::string(name) + ": " + std::string(what));
}

const Tensor* FindInput(const RequestCopy& copy, std::string_view name) {
  for (const Tensor& tensor : copy.inputs) {
    if (tensor.name == name) return &tensor;
  }
  return nullptr;
}

// Without regard to case: HTTP keeps a forwarded header's, gRPC has lower case.
const Parameter* FindParameter(const RequestCopy& copy, const std::string& name) {
  for (const Parameter& parameter : copy.parameters) {
    if (strcasecmp(parameter.key.c_str(), name.c_str()) == 0) return &parameter;
  }
  return nullptr;
}

// The texts of a BYTES tensor. Triton has checked the lengths of what came over HTTP, not of everything.
Error SplitTexts(const Tensor& tensor, std::vector<std::string_view>* texts) {
  std::string_view rest = tensor.bytes;
  while (!rest.empty()) {
    uint32_t size = 0;
    if (rest.size() < kLengthBytes) return Invalid(tensor.name, "a text's length is cut off");
    std::memcpy(&size, rest.data(), kLengthBytes);  // little-endian, as the machines that Triton runs on
    rest.remove_prefix(kLengthBytes);
    if (rest.size() < size) return Invalid(tensor.name, "a text is shorter than its length says");
    texts->push_back(rest.substr(0, size));
    rest.remove_prefix(size);
  }
  return nullptr;
}

template <typename Integer>
int64_t LargestOf(const std::string& bytes) {
  int64_t largest = std::numeric_limits<int64_t>::min();
  for (size_t at = 0; at + sizeof(Integer) <= bytes.size(); at += sizeof(Integer)) {
    Integer value;
    std::memcpy(&value, bytes.data() + at, sizeof value);
    if (std::cmp_greater(value, std::numeric_limits<int64_t>::max())) return std::numeric_limits<int64_t>::max();
    largest = std::max(largest, static_cast<int64_t>(value));
  }
  return largest;
}

std::optional<int64_t> LargestInteger(const Tensor& tensor) {
  switch (static_cast<int>(tensor.type)) {  // TRITONSERVER_DataType, of which triton_api.h names no other
    case 2:
      return LargestOf<uint8_t>(tensor.bytes);
    case 3:
      return LargestOf<uint16_t>(tensor.bytes);
    case 4:
      return LargestOf<uint32_t>(tensor.bytes);
    case 5:
      return LargestOf<uint64_t>(tensor.bytes);
    case 6:
      return LargestOf<int8_t>(tensor.bytes);
    case 7:
      return LargestOf<int16_t>(tensor.bytes);
    case 8:
      return LargestOf<int32_t>(tensor.bytes);
    case 9:
      return LargestOf<int64_t>(tensor.bytes);
    default:
      return std::nullopt;
  }
}

std::optional<int64_t> IntegerOfText(std::string_view text) {
  int64_t value = 0;
  const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (status != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<int64_t> IntegerOfDouble(double value) {
  if (!(std::abs(value) < 1e15) || value != std::floor(value)) return std::nullopt;
  return static_cast<int64_t>(value);
}

std::optional<int64_t> IntegerOf(const Parameter& parameter) {
  if (const auto* integer = std::get_if<int64_t>(&parameter.value)) return *integer;
  if (const auto* text = std::get_if<std::string>(&parameter.value)) return IntegerOfText(*text);
  if (const auto* real = std::get_if<double>(&parameter.value)) return IntegerOfDouble(*real);
  return std::nullopt;  // a bool
}

// A key of a JSON text. No such key: nullopt, and no error.
Error IntegerOfJson(std::string_view name, std::string_view text, const std::string& key, std::optional<int64_t>* out) {
  if (text.empty()) return nullptr;
  const json object = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!object.is_object()) return Invalid(name, "is no JSON object, though its key " + key + " counts");
  const auto found = object.find(key);
  if (found == object.end() || found->is_null()) return nullptr;
  std::optional<int64_t> value;
  if (found->is_number_integer()) {
    value = found->is_number_unsigned() && found->get<uint64_t>() > std::numeric_limits<int64_t>::max()
                ? std::numeric_limits<int64_t>::max()
                : found->get<int64_t>();
  } else if (found->is_number_float()) {
    value = IntegerOfDouble(found->get<double>());
  } else if (found->is_string()) {
    value = IntegerOfText(found->get<std::string>());
  }
  if (!value.has_value()) return Invalid(name, "key " + key + " is no whole number");
  *out = std::max(out->value_or(*value), *value);
  return nullptr;
}

// One name of a list, as `NAME` or `NAME.KEY`: an input or a parameter of that name, or a key of the JSON text in it.
Error ReadInteger(const RequestCopy& copy, const std::string& name, std::optional<int64_t>* out) {
  if (const Parameter* parameter = FindParameter(copy, name)) {
    *out = IntegerOf(*parameter);
    if (!out->has_value()) return Invalid(name, "the parameter is no whole number");
    return nullptr;
  }
  if (const Tensor* tensor = FindInput(copy, name)) {
    *out = LargestInteger(*tensor);
    if (!out->has_value()) return Invalid(name, "the input is of no integer type");
    if (tensor->bytes.empty()) out->reset();
    return nullptr;
  }
  const size_t dot = name.find('.');
  if (dot == std::string::npos) return nullptr;
  const std::string head = name.substr(0, dot);
  const std::string key = name.substr(dot + 1);
  if (const Parameter* parameter = FindParameter(copy, head)) {
    const auto* text = std::get_if<std::string>(&parameter->value);
    return text == nullptr ? nullptr : IntegerOfJson(head, *text, key, out);
  }
  const Tensor* tensor = FindInput(copy, head);
  if (tensor == nullptr || tensor->type != TRITONSERVER_TYPE_BYTES) return nullptr;
  std::vector<std::string_view> texts;
  if (Error error = SplitTexts(*tensor, &texts)) return error;
  for (const std::string_view text : texts) {
    if (Error error = IntegerOfJson(head, text, key, out)) return error;
  }
  return nullptr;
}

// The first name that the request has; `out` as it is where it has none.
Error ReadFirst(const RequestCopy& copy, const std::vector<std::string>& names, int64_t least, int64_t* out) {
  for (const std::string& name : names) {
    std::optional<int64_t> value;
    if (Error error = ReadInteger(copy, name, &value)) return error;
    if (!value.has_value()) continue;
    if (*value < least) {
      return Invalid(name, std::to_string(*value) + " is below " + std::to_string(least));
    }
    *out = *value;
    return nullptr;
  }
  return nullptr;
}

int64_t RowsOf(const RequestCopy& copy, const GateSettings& settings) {
  if (!settings.batched || copy.inputs.empty() || copy.inputs.front().shape.empty()) return 1;
  return std::clamp<int64_t>(copy.inputs.front().shape.front(), 1, kMostSequences);
}

// Bytes of text of the longest row.
Error LongestRowBytes(const Tensor& tensor, int64_t rows, int64_t* bytes) {
  if (tensor.type != TRITONSERVER_TYPE_BYTES) {
    *bytes = static_cast<int64_t>(tensor.bytes.size()) / rows;
    return nullptr;
  }
  std::vector<std::string_view> texts;
  if (Error error = SplitTexts(tensor, &texts)) return error;
  const size_t per_row = std::max<size_t>(1, (texts.size() + rows - 1) / rows);
  *bytes = 0;
  for (size_t begin = 0; begin < texts.size(); begin += per_row) {
    int64_t row = 0;
    for (size_t at = begin; at < std::min(begin + per_row, texts.size()); ++at) {
      row += static_cast<int64_t>(texts[at].size());
    }
    *bytes = std::max(*bytes, row);
  }
  return nullptr;
}

Error ReadPrompt(const RequestCopy& copy, const GateSettings& settings, int64_t rows, Demand* demand) {
  for (const std::string& name : settings.prompt_tokens) {
    const Tensor* tensor = FindInput(copy, name);
    if (tensor == nullptr) continue;
    int64_t elements = 1;
    for (const int64_t size : tensor->shape) {
      if (__builtin_mul_overflow(elements, std::max<int64_t>(size, 0), &elements)) {
        return Invalid(name, "its shape overflows");
      }
    }
    demand->prompt_tokens = elements / rows;
    return nullptr;
  }
  for (const std::string& name : settings.prompt_text) {
    if (const Tensor* tensor = FindInput(copy, name)) return LongestRowBytes(*tensor, rows, &demand->prompt_bytes);
  }
  // None of them: all that came in is a bound of what the prompt can be.
  demand->prompt_bytes = copy.held_bytes;
  return nullptr;
}

}  // namespace

Error ReadDemand(const RequestCopy& copy, const GateSettings& settings, Demand* demand) {
  const int64_t rows = RowsOf(copy, settings);
  if (Error error = ReadPrompt(copy, settings, rows, demand)) return error;
  if (Error error = ReadFirst(copy, settings.max_tokens, 1, &demand->max_output_tokens)) return error;
  if (Error error = ReadFirst(copy, settings.sequences, 1, &demand->sequences)) return error;
  if (Error error = ReadFirst(copy, settings.priority, std::numeric_limits<int64_t>::min(), &demand->priority)) {
    return error;
  }
  if (demand->sequences > kMostSequences / rows) return Invalid("sequences", "more than 2147483647 with the batch");
  demand->sequences *= rows;
  constexpr int64_t kMostPriority = std::numeric_limits<int32_t>::max();
  demand->priority = std::clamp(demand->priority, -kMostPriority, kMostPriority);
  for (const std::string& name : settings.tenant) {
    const Parameter* parameter = FindParameter(copy, name);
    if (parameter == nullptr) continue;
    const auto* text = std::get_if<std::string>(&parameter->value);
    if (text == nullptr) return Invalid(name, "the tenant's parameter is no text");
    demand->tenant = *text;
    return nullptr;
  }
  return nullptr;
}

}  // namespace vramgate
