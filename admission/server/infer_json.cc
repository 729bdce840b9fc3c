// KServe's v2 infer as JSON, with the tensors that its binary extension sets behind.
#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "admission/server/body_members.h"
#include "admission/server/infer_body.h"
#include "nlohmann/json.hpp"

namespace vramgate {
namespace {

using enum BodyMember;
using nlohmann::json;

// {"inputs": [{"name": ..., "shape": [...], "data": [...], "parameters": {"binary_data_size": ...}}], ...}
constexpr int kInputDepth = 3;
constexpr BodyField kInputFields[] = {
    {"name", kOther}, {"datatype", kOther}, {"shape", kOther}, {"data", kOther}, {"parameters", kOther}};
constexpr std::string_view kBinarySize = "binary_data_size";

// Hears the tokens of the JSON in order. A handler that returns false ends the parse; refusal() then says why.
class InferReader final : public nlohmann::json_sax<json> {
 public:
  explicit InferReader(std::string_view tensors)
      : tensors_(tensors),
        top_(FieldsOf(Endpoint::kInfer).top),
        params_(FieldsOf(Endpoint::kInfer).params),
        input_(kInputFields) {}

  bool null() override { return Scalar("null"); }
  bool boolean(bool value) override { return Whole(value ? 1 : 0, "a boolean"); }
  bool number_integer(number_integer_t value) override { return Whole(value, "a number"); }
  bool number_unsigned(number_unsigned_t value) override {
    return Whole(static_cast<int64_t>(std::min<uint64_t>(value, std::numeric_limits<int64_t>::max())), "a number");
  }
  bool number_float(number_float_t value, const string_t&) override {
    const bool whole = std::trunc(value) == value && std::abs(value) <= static_cast<double>(kMostCount);
    if (!whole && InParams() && params_.member() != kOther) return Fail("must be a whole number");
    return Whole(whole ? static_cast<int64_t>(value) : -1, "a number");
  }
  bool string(string_t& value) override;
  bool binary(binary_t&) override { return Fail("binary"); }  // not of JSON text
  bool key(string_t& name) override;
  bool start_object(std::size_t) override { return Open("an object"); }
  bool end_object() override;
  bool start_array(std::size_t) override { return Open("a list"); }
  bool end_array() override {
    --depth_;
    return true;
  }
  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception&) override {
    top_.Leave();
    return Fail(absl::StrCat("not well-formed JSON at byte ", position));
  }

  // False: refusal() says why.
  bool Finish(RequestBody* out);
  std::optional<Refusal> refusal() && { return std::move(refusal_); }

 private:
  bool Fail(std::string_view why);
  bool InInputs() const { return depth_ >= 1 && top_.member() == kTensors; }
  bool InInput() const { return InInputs() && depth_ >= kInputDepth; }
  bool InParams() const { return depth_ == 2 && top_.member() == kParams; }
  bool Scalar(std::string_view kind);
  bool Whole(int64_t value, std::string_view kind);
  bool Param(int64_t value);
  bool Open(std::string_view kind);
  bool EndInput();

  std::string_view tensors_;  // those not taken yet
  BodyLevel top_;
  BodyLevel params_;
  BodyLevel input_;
  std::optional<Refusal> refusal_;
  int depth_ = 0;
  InferTensor tensor_;
  std::optional<int64_t> binary_bytes_;  // of the input
  bool binary_next_ = false;             // the next value is its binary_data_size
  InferSize size_;
};

bool InferReader::Fail(std::string_view why) {
  std::string field(depth_ >= 1 ? top_.name() : "");
  if (InParams()) absl::StrAppend(&field, ".", std::string(params_.name()));
  const std::string_view of_input = tensor_.name.empty() ? input_.name() : tensor_.name;
  if (InInput() && !of_input.empty()) absl::StrAppend(&field, ".", std::string(of_input));
  refusal_ = {Outcome::kRejectedInvalidRequest, std::move(field), std::string(why)};
  return false;
}

bool InferReader::Scalar(std::string_view kind) {
  if (depth_ == 0) return Fail(absl::StrCat("the body is ", std::string(kind), ", not an object"));
  if (std::exchange(binary_next_, false)) return Fail("binary_data_size must be a whole number");
  size_.AddTextBytes(1);
  return true;
}

bool InferReader::Whole(int64_t value, std::string_view kind) {
  if (depth_ == kInputDepth + 1 && std::exchange(binary_next_, false)) {
    if (value < 0) return Fail("binary_data_size must not be below 0");
    binary_bytes_ = value;
    return true;
  }
  if (InParams() && params_.member() != kOther) return Param(value);
  if (InInput() && depth_ > kInputDepth && input_.name() == "shape") {
    tensor_.AddDimension(value);
  } else if (InInput() && depth_ > kInputDepth && input_.name() == "data") {
    tensor_.AddNumber(value);
    return true;  // counted with its tensor
  }
  return Scalar(kind);
}

bool InferReader::Param(int64_t value) {
  const bool is_tokens = params_.member() == kOutputTokens;
  const int64_t least = is_tokens ? 0 : 1;
  if (value < least || value > kMostCount) {
    return Fail(absl::StrCat(value, " is not within ", least, " and ", kMostCount));
  }
  OutputLimits limits;
  if (is_tokens) limits.tokens = std::max<int64_t>(1, value);
  if (!is_tokens) limits.best_of = value;
  size_.AddParams(limits);
  return true;
}

bool InferReader::string(string_t& value) {
  if (InParams() && params_.member() != kOther) {
    int64_t count = 0;
    return absl::SimpleAtoi(value, &count) ? Param(count) : Fail("must be a whole number");
  }
  if (!Scalar("a string")) return false;
  if (InInput() && depth_ == kInputDepth && input_.name() == "name") {
    if (value.size() > kMostModelBytes) return Fail(absl::StrCat(value.size(), " bytes are too long for a name"));
    tensor_.name = value;
  } else if (InInput() && depth_ == kInputDepth && input_.name() == "datatype") {
    if (value.size() > kMostModelBytes) return Fail("no datatype is so long");
    tensor_.datatype = value;
  } else if (InInput() && depth_ > kInputDepth && input_.name() == "data") {
    tensor_.AddText(value);
  } else {
    size_.AddTextBytes(static_cast<int64_t>(value.size()));
  }
  return true;
}

bool InferReader::key(string_t& name) {
  size_.AddTextBytes(static_cast<int64_t>(name.size()));
  if (depth_ == 1) return top_.Key(name) || Fail("given twice");
  if (InParams()) return params_.Key(name) || Fail("given twice");
  if (InInputs() && depth_ == kInputDepth) return input_.Key(name) || Fail("given twice");
  binary_next_ = InInput() && depth_ == kInputDepth + 1 && input_.name() == "parameters" && name == kBinarySize;
  if (binary_next_ && binary_bytes_) return Fail("binary_data_size is given twice");
  return true;
}

bool InferReader::Open(std::string_view kind) {
  const bool object = kind == "an object";
  if (depth_ == 0 ? !object : std::exchange(binary_next_, false)) return Scalar(kind);
  if (InParams() && params_.member() != kOther) return Fail("must be a whole number");
  if (depth_ == 1 && (top_.member() == kTensors ? object : top_.member() == kParams && !object)) {
    return Fail(object ? "must be a list of inputs" : "must be an object");
  }
  if (++depth_ > kMostBodyDepth) return Fail(absl::StrCat("nested deeper than ", kMostBodyDepth));
  if (InInputs() && depth_ == kInputDepth) {
    if (!object) return Fail("each of them must be an object");
    input_.Begin();
    tensor_ = {};
    binary_bytes_.reset();
  }
  size_.AddTextBytes(1);
  return true;
}

bool InferReader::end_object() {
  const bool ends_input = InInputs() && depth_ == kInputDepth;
  if (ends_input && !EndInput()) return false;
  --depth_;
  return true;
}

bool InferReader::EndInput() {
  if (binary_bytes_) {
    if (*binary_bytes_ > std::ssize(tensors_)) {
      return Fail(absl::StrCat("binary_data_size ", *binary_bytes_, ": only ", tensors_.size(), " bytes are left"));
    }
    const auto size = static_cast<size_t>(*binary_bytes_);
    if (!tensor_.AddRaw(tensors_.substr(0, size))) return Fail("its bytes are not as its datatype says");
    tensors_.remove_prefix(size);
  }
  refusal_ = size_.Add(tensor_);
  return !refusal_;
}

bool InferReader::Finish(RequestBody* out) {
  size_.AddTextBytes(std::ssize(tensors_));  // no input's
  size_.Finish(out);
  return true;
}

}  // namespace

std::optional<Refusal> ReadInferJson(std::string_view text, std::string_view tensors, RequestBody* out) {
  InferReader reader(tensors);
  if (!json::sax_parse(text.begin(), text.end(), &reader) || !reader.Finish(out)) return std::move(reader).refusal();
  return std::nullopt;
}

}  // namespace vramgate
