#include "admission/server/infer_body.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>

#include "absl/strings/str_cat.h"

namespace vramgate {
namespace {

static_assert(std::endian::native == std::endian::little, "raw tensors are read as they lie");

// Dimensions and sums of them, far from where int64 ends.
constexpr int64_t kMostElements = int64_t{1} << 40;

template <size_t N>
bool IsOneOf(std::string_view name, const std::array<std::string_view, N>& names) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

bool IsPrompt(std::string_view name) {
  return IsOneOf<4>(name, {"text_input", "prompt", "TEXT", "QUERY"});
}
bool IsIds(std::string_view name) {
  return IsOneOf<2>(name, {"input_ids", "INPUT_ID"});
}
bool IsOutputTokens(std::string_view name) {
  return IsOneOf<4>(name, {"max_tokens", "max_new_tokens", "request_output_len", "REQUEST_OUTPUT_LEN"});
}
bool IsSequences(std::string_view name) {
  return IsOneOf<5>(name, {"n", "best_of", "beam_width", "BEAM_WIDTH", "num_return_sequences"});
}

Refusal Invalid(std::string_view name, std::string_view why) {
  return {Outcome::kRejectedInvalidRequest, absl::StrCat("inputs.", std::string(name)), std::string(why)};
}

// Bytes of one element; 0: texts, or not known.
int64_t ElementBytes(std::string_view datatype) {
  if (datatype.ends_with("64")) return 8;
  if (datatype.ends_with("32")) return 4;
  if (datatype.ends_with("16")) return 2;
  if (datatype.ends_with("8") || datatype == "BOOL") return 1;
  return 0;
}

template <typename T>
T At(std::string_view raw, size_t at) {
  T value;
  std::memcpy(&value, raw.data() + at, sizeof(T));
  return value;
}

int64_t WholeAt(std::string_view raw, size_t at, int64_t size, bool is_signed) {
  switch (size) {
    case 8: {
      const auto value = At<int64_t>(raw, at);
      return !is_signed && value < 0 ? std::numeric_limits<int64_t>::max() : value;
    }
    case 4:
      return is_signed ? int64_t{At<int32_t>(raw, at)} : int64_t{At<uint32_t>(raw, at)};
    case 2:
      return is_signed ? int64_t{At<int16_t>(raw, at)} : int64_t{At<uint16_t>(raw, at)};
    default:
      return is_signed ? int64_t{At<int8_t>(raw, at)} : int64_t{At<uint8_t>(raw, at)};
  }
}

}  // namespace

void InferTensor::AddText(std::string_view value) {
  const auto bytes = static_cast<int64_t>(value.size());
  if (elements == 0 && value.size() <= kMostKeptText) text = value;
  elements += 1;
  texts += 1;
  text_bytes += bytes;
  longest_text_bytes = std::max(longest_text_bytes, bytes);
}

void InferTensor::AddNumber(int64_t value) {
  elements += 1;
  largest = std::max(largest, value);
  whole = whole && value >= 0;
}

void InferTensor::AddFractions(int64_t count) {
  elements += count;
  whole = whole && count == 0;
}

void InferTensor::AddDimension(int64_t size) {
  dimensions += 1;
  if (dimensions == 1) rows = std::clamp<int64_t>(size, 1, kMostElements);
}

bool InferTensor::AddRaw(std::string_view raw) {
  if (datatype == "BYTES") {
    while (!raw.empty()) {
      if (raw.size() < 4) return false;
      const auto size = At<uint32_t>(raw, 0);
      raw.remove_prefix(4);
      if (raw.size() < size) return false;
      AddText(raw.substr(0, size));
      raw.remove_prefix(size);
    }
    return true;
  }
  const int64_t size = ElementBytes(datatype);
  if (size == 0 || raw.size() % static_cast<size_t>(size) != 0) return false;
  const bool is_unsigned = datatype.starts_with("UINT") || datatype == "BOOL";
  if (!is_unsigned && !datatype.starts_with("INT")) {
    AddFractions(static_cast<int64_t>(raw.size()) / size);
    return true;
  }
  for (size_t at = 0; at < raw.size(); at += static_cast<size_t>(size)) AddNumber(WholeAt(raw, at, size, !is_unsigned));
  return true;
}

std::optional<Refusal> InferSize::Add(const InferTensor& tensor) {
  unbounded_ = unbounded_ || IsMedia(tensor.name);
  if (tensor.name == "sampling_parameters") {
    if (tensor.texts != 1 || tensor.text_bytes > std::ssize(tensor.text)) {
      return Invalid(tensor.name, absl::StrCat("must be one text of ", InferTensor::kMostKeptText, " bytes at most"));
    }
    has_text_params_ = !tensor.text.empty();
    if (!has_text_params_) return std::nullopt;
    return ReadParams(Endpoint::kInfer, "inputs.sampling_parameters", tensor.text, &in_text_);
  }
  const bool is_tokens = IsOutputTokens(tensor.name);
  if (is_tokens || IsSequences(tensor.name)) {
    const int64_t least = is_tokens ? 0 : 1;
    if (tensor.texts > 0 || tensor.elements == 0 || !tensor.whole)
      return Invalid(tensor.name, "must be a whole number");
    if (tensor.largest < least || tensor.largest > kMostCount) {
      return Invalid(tensor.name, absl::StrCat(tensor.largest, " is not within ", least, " and ", kMostCount));
    }
    OutputLimits limits;
    if (is_tokens) limits.tokens = std::max<int64_t>(1, tensor.largest);
    if (!is_tokens) limits.best_of = tensor.largest;
    limits_.Add(limits);
    return std::nullopt;
  }
  if (IsIds(tensor.name) && tensor.texts == 0) {
    const int64_t rows = tensor.dimensions > 1 ? tensor.rows : 1;
    prompts_ = std::max(prompts_, rows);
    longest_ids_ = std::max(longest_ids_, tensor.elements / rows + (tensor.elements % rows != 0 ? 1 : 0));
  } else if (IsPrompt(tensor.name)) {
    prompts_ = std::max(prompts_, tensor.texts);
    longest_text_bytes_ = std::max(longest_text_bytes_, std::max(tensor.longest_text_bytes, tensor.elements));
    has_text_ = true;
  } else {
    other_bytes_ += tensor.text_bytes + tensor.elements;
  }
  return std::nullopt;
}

void InferSize::Finish(RequestBody* out) const {
  OutputLimits all = limits_;
  all.Add(has_text_params_ ? in_text_ : params_);
  const int64_t bytes = std::min(kMostElements, other_bytes_) + longest_text_bytes_ + longest_ids_;
  out->prompt_bytes = unbounded_ ? kUnboundedPromptBytes : std::max<int64_t>(1, bytes);
  if (longest_ids_ > 0 && !has_text_ && !unbounded_) out->prompt_tokens = longest_ids_;
  out->max_output_tokens = all.tokens;
  out->prompts = Sequences(std::max<int64_t>(1, prompts_), 1);
  out->sequences = Sequences(out->prompts, std::max(all.n, all.best_of));
}

}  // namespace vramgate
