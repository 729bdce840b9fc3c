#include "admission/estimator/safetensors_json.h"
#include "admission/utf8.h"

#include <algorithm>
#include <array>
#include <utility>

#include <nlohmann/json.hpp>
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace vramgate {
namespace {

constexpr size_t kMaxName = 512;
constexpr size_t kMaxDims = 16;
constexpr int64_t kMaxElements = int64_t{1} << 48;

// `Dtype` of the safetensors library. The sub-byte types are packed; a tensor of them is whole bytes.
constexpr std::array<SafetensorsType, 20> kTypes = {{
    {"BOOL", 8},    {"F4", 4},      {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"U8", 8},   {"I8", 8},    {"F8_E5M2", 8},
    {"F8_E4M3", 8}, {"F8_E8M0", 8}, {"I16", 16},    {"U16", 16},    {"F16", 16}, {"BF16", 16}, {"I32", 32},
    {"U32", 32},    {"F32", 32},    {"C64", 64},    {"F64", 64},    {"I64", 64}, {"U64", 64},
}};

// What both texts share: where in the document the parser is, and the first error. nlohmann's SAX interface: every
// function returns false to stop.
class Handler {
 public:
  using number_integer_t = nlohmann::json::number_integer_t;
  using number_unsigned_t = nlohmann::json::number_unsigned_t;
  using number_float_t = nlohmann::json::number_float_t;
  using string_t = nlohmann::json::string_t;
  using binary_t = nlohmann::json::binary_t;

  virtual ~Handler() = default;

  virtual bool null() { return Unexpected("null"); }
  virtual bool boolean(bool) { return Unexpected("a bool"); }
  virtual bool number_integer(number_integer_t) { return Unexpected("a negative number"); }
  virtual bool number_unsigned(number_unsigned_t) { return Unexpected("a number"); }
  virtual bool number_float(number_float_t, const string_t&) { return Unexpected("a number that is not whole"); }
  virtual bool string(string_t&) { return Unexpected("a string"); }
  virtual bool start_array(size_t) { return Unexpected("a list"); }
  virtual bool end_array() = 0;
  virtual bool start_object(size_t) = 0;
  virtual bool end_object() = 0;
  virtual bool key(string_t& text) = 0;
  bool binary(binary_t&) { return Unexpected("binary"); }
  bool parse_error(size_t position, const std::string&, const nlohmann::json::exception&) {
    return Fail(absl::StrCat("not JSON at byte ", position));
  }

  const absl::Status& status() const { return status_; }

 protected:
  bool Fail(std::string_view message) {
    if (status_.ok()) status_ = absl::InvalidArgumentError(absl::string_view(message.data(), message.size()));
    return false;
  }
  bool Unexpected(std::string_view what) {
    return Fail(absl::StrCat(Where(), ": ", absl::string_view(what.data(), what.size()), " is not expected"));
  }
  virtual std::string Where() const = 0;

 private:
  absl::Status status_;
};

// {"NAME": {"dtype": "BF16", "shape": [2, 3], "data_offsets": [0, 12]}, ..., "__metadata__": {"KEY": "TEXT", ...}}
class HeaderHandler : public Handler {
 public:
  bool number_unsigned(number_unsigned_t value) override;
  bool string(string_t& text) override;
  bool start_array(size_t count) override;
  bool end_array() override;
  bool start_object(size_t count) override;
  bool end_object() override;
  bool key(string_t& text) override;

  std::vector<PlacedTensor> tensors;

 private:
  enum class At { kStart, kTop, kMetadata, kTensor, kType, kShape, kOffsets, kShapeList, kOffsetsList, kEnd };

  std::string Where() const override {
    return at_ == At::kStart || at_ == At::kTop || at_ == At::kEnd ? "header" : Quoted(name_);
  }
  bool Finish();

  At at_ = At::kStart;
  std::string name_;
  bool has_metadata_ = false;
  bool has_shape_ = false;
  std::vector<uint64_t> offsets_;
  bool has_offsets_ = false;
  SafetensorsTensor tensor_;
};

bool HeaderHandler::number_unsigned(number_unsigned_t value) {
  if (at_ == At::kShapeList) {
    if (tensor_.shape.size() == kMaxDims) return Fail(absl::StrCat(Where(), ": more than ", kMaxDims, " dimensions"));
    if (value > static_cast<uint64_t>(kMaxElements)) return Fail(absl::StrCat(Where(), ": a dimension of ", value));
    tensor_.shape.push_back(static_cast<int64_t>(value));
    return true;
  }
  if (at_ == At::kOffsetsList && offsets_.size() < 2) {
    offsets_.push_back(value);
    return true;
  }
  return Unexpected("a number");
}

bool HeaderHandler::string(string_t& text) {
  if (at_ == At::kMetadata) return true;
  if (at_ != At::kType) return Unexpected("a string");
  const auto type = std::find_if(kTypes.begin(), kTypes.end(), [&](const auto& t) { return t.name == text; });
  if (type == kTypes.end())
    return Fail(absl::StrCat(Where(), ": dtype ", Quoted(text), " is not known, so neither is its size"));
  tensor_.type = &*type;
  at_ = At::kTensor;
  return true;
}

bool HeaderHandler::start_array(size_t) {
  if (at_ != At::kShape && at_ != At::kOffsets) return Unexpected("a list");
  at_ = at_ == At::kShape ? At::kShapeList : At::kOffsetsList;
  return true;
}

bool HeaderHandler::end_array() {
  at_ = At::kTensor;
  return true;
}

bool HeaderHandler::start_object(size_t) {
  if (at_ == At::kStart) {
    at_ = At::kTop;
    return true;
  }
  if (at_ != At::kTop) return Unexpected("an object");
  if (name_ == "__metadata__") {
    if (std::exchange(has_metadata_, true)) return Fail("__metadata__: more than once");
    at_ = At::kMetadata;
    return true;
  }
  tensor_ = {};
  tensor_.name = name_;
  offsets_.clear();
  has_shape_ = has_offsets_ = false;
  at_ = At::kTensor;
  return true;
}

bool HeaderHandler::end_object() {
  if (at_ == At::kTensor && !Finish()) return false;
  at_ = at_ == At::kTop ? At::kEnd : At::kTop;
  return true;
}

bool HeaderHandler::key(string_t& text) {
  if (at_ == At::kMetadata) return true;
  if (at_ == At::kTop) {
    name_ = std::move(text);
    return (!name_.empty() && name_.size() <= kMaxName) || Fail(absl::StrCat(Where(), ": a name of that length"));
  }
  if (text == "dtype" && tensor_.type == nullptr) {
    at_ = At::kType;
  } else if (text == "shape" && !std::exchange(has_shape_, true)) {
    at_ = At::kShape;
  } else if (text == "data_offsets" && !std::exchange(has_offsets_, true)) {
    at_ = At::kOffsets;
  } else {
    return Fail(absl::StrCat(Where(), ": ", Quoted(text), " is not expected, or more than once"));
  }
  return true;
}

// The tensor is all there: its bytes are those of its type and shape, and its offsets say the same.
bool HeaderHandler::Finish() {
  if (tensor_.type == nullptr || !has_shape_ || offsets_.size() != 2) {
    return Fail(absl::StrCat(Where(), ": dtype, shape or data_offsets is missing"));
  }
  tensor_.elements = 1;
  for (const int64_t dim : tensor_.shape) {
    if (dim != 0 && tensor_.elements > kMaxElements / dim) return Fail(absl::StrCat(Where(), ": too many elements"));
    tensor_.elements *= dim;
  }
  const int64_t bits = tensor_.elements * tensor_.type->bits;
  if (bits % 8 != 0) return Fail(absl::StrCat(Where(), ": not whole bytes"));
  tensor_.bytes = bits / 8;
  const uint64_t begin = offsets_[0];
  const uint64_t end = offsets_[1];
  if (begin > end || end - begin != static_cast<uint64_t>(tensor_.bytes)) {
    return Fail(absl::StrCat(Where(), ": data_offsets [", begin, ", ", end, "] are not the ", tensor_.bytes,
                             " bytes of its type and shape"));
  }
  if (tensors.size() == kMaxSafetensorsTensors) return Fail("too many tensors");
  tensors.push_back({std::move(tensor_), begin, end});
  return true;
}

// {"metadata": {...}, "weight_map": {"NAME": "SHARD", ...}}; only the map counts.
class IndexHandler : public Handler {
 public:
  bool null() override { return Value("null"); }
  bool boolean(bool) override { return Value("a bool"); }
  bool number_integer(number_integer_t) override { return Value("a number"); }
  bool number_unsigned(number_unsigned_t) override { return Value("a number"); }
  bool number_float(number_float_t, const string_t&) override { return Value("a number"); }
  bool string(string_t& text) override;
  bool start_array(size_t) override { return Value("a list") && ++depth_ > 0; }
  bool end_array() override { return --depth_ >= 0; }
  bool start_object(size_t) override;
  bool end_object() override;
  bool key(string_t& text) override;

  std::map<std::string, std::string> shard_of;
  bool has_map = false;

 private:
  std::string Where() const override { return depth_ < 2 ? "index" : Quoted(name_); }
  // A value that is no string, and no shard's name therefore.
  bool Value(std::string_view what) { return (depth_ > 0 && !in_map_ && !map_is_next_) || Unexpected(what); }

  int64_t depth_ = 0;
  bool map_is_next_ = false;
  bool in_map_ = false;
  std::string name_;
  absl::flat_hash_set<std::string> shards_;
};

bool IndexHandler::string(string_t& text) {
  if (!in_map_) return Value("a string");
  const bool plain = !text.empty() && text.size() <= kMaxName && text != "." && text != ".." &&
                     text.find_first_of(std::string_view("/\\\0", 3)) == std::string::npos;
  if (!plain)
    return Fail(absl::StrCat(Where(), ": shard ", Quoted(text), " is not the name of a file beside the index"));
  if (shard_of.size() == kMaxSafetensorsTensors) return Fail("too many tensors");
  shards_.insert(text);
  if (shards_.size() > kMaxSafetensorsShards) return Fail("too many shards");
  return shard_of.emplace(name_, std::move(text)).second || Fail(absl::StrCat(Where(), ": more than once"));
}

bool IndexHandler::start_object(size_t) {
  if (in_map_) return Unexpected("an object");
  in_map_ = std::exchange(map_is_next_, false);
  return ++depth_ > 0;
}

bool IndexHandler::end_object() {
  in_map_ = false;
  return --depth_ >= 0;
}

bool IndexHandler::key(string_t& text) {
  if (depth_ == 1 && text == "weight_map") {
    map_is_next_ = true;
    return !std::exchange(has_map, true) || Fail("weight_map: more than once");
  }
  name_ = std::move(text);
  return !in_map_ || (!name_.empty() && name_.size() <= kMaxName) || Fail("a tensor's name of that length");
}

}  // namespace

absl::StatusOr<std::vector<PlacedTensor>> ParseSafetensorsHeader(std::string_view json) {
  HeaderHandler handler;
  if (!nlohmann::json::sax_parse(json.begin(), json.end(), &handler)) return handler.status();
  return std::move(handler.tensors);
}

absl::StatusOr<std::map<std::string, std::string>> ParseSafetensorsIndex(std::string_view json) {
  IndexHandler handler;
  if (!nlohmann::json::sax_parse(json.begin(), json.end(), &handler)) return handler.status();
  if (!handler.has_map) return absl::InvalidArgumentError("no weight_map");
  return std::move(handler.shard_of);
}

}  // namespace vramgate
