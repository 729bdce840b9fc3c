// KServe's v2 ModelInferRequest as gRPC sends it, read in place: field numbers are those of its grpc_predict_v2.proto.
// A field of another wire type than the schema's is skipped, as Protobuf skips it.
#define protozero_assert(x) static_cast<void>(0)

#include <limits>
#include <protozero/exception.hpp>
#include <protozero/pbf_reader.hpp>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "admission/server/body_members.h"
#include "admission/server/infer_body.h"

namespace vramgate {
namespace {

using protozero::pbf_reader;

constexpr size_t kFrameBytes = 5;
constexpr size_t kMostInputs = 1024;

constexpr uint32_t Bytes(uint32_t field) {
  return protozero::tag_and_type(field, protozero::pbf_wire_type::length_delimited);
}
constexpr uint32_t Varint(uint32_t field) {
  return protozero::tag_and_type(field, protozero::pbf_wire_type::varint);
}

namespace request {
constexpr uint32_t kModel = Bytes(1), kParameters = Bytes(4), kInputs = Bytes(5), kRawContents = Bytes(7);
}
namespace input {
constexpr uint32_t kName = Bytes(1), kDatatype = Bytes(2), kShape = Bytes(3), kOneDimension = Varint(3),
                   kContents = Bytes(5);
}
// Numbers come packed, or each by itself.
namespace contents {
constexpr uint32_t kBools = 1, kInts = 2, kInt64s = 3, kUints = 4, kUint64s = 5, kTexts = Bytes(8);
constexpr uint32_t kFloats = Bytes(6), kDoubles = Bytes(7);
constexpr uint32_t kFloat = protozero::tag_and_type(6, protozero::pbf_wire_type::fixed32);
constexpr uint32_t kDouble = protozero::tag_and_type(7, protozero::pbf_wire_type::fixed64);
}  // namespace contents
namespace parameter {
constexpr uint32_t kInt64 = Varint(2), kText = Bytes(3), kUint64 = Varint(5);
}

std::string_view View(const protozero::data_view& data) {
  return {data.data(), data.size()};
}

Refusal Invalid(std::string_view field, std::string why) {
  return {Outcome::kRejectedInvalidRequest, std::string(field), std::move(why)};
}

int64_t Clamped(uint64_t value) {
  return static_cast<int64_t>(std::min<uint64_t>(value, std::numeric_limits<int64_t>::max()));
}

template <typename Range>
void AddNumbers(const Range& range, InferTensor* tensor) {
  for (const auto value : range) {
    if constexpr (std::is_same_v<std::decay_t<decltype(value)>, uint64_t>) {
      tensor->AddNumber(Clamped(value));
    } else {
      tensor->AddNumber(int64_t{value});
    }
  }
}

void ReadContents(pbf_reader message, InferTensor* tensor) {
  while (message.next()) {
    switch (message.tag_and_type()) {
      case Bytes(contents::kBools):
        AddNumbers(message.get_packed_bool(), tensor);
        break;
      case Bytes(contents::kInts):
        AddNumbers(message.get_packed_int32(), tensor);
        break;
      case Bytes(contents::kInt64s):
        AddNumbers(message.get_packed_int64(), tensor);
        break;
      case Bytes(contents::kUints):
        AddNumbers(message.get_packed_uint32(), tensor);
        break;
      case Bytes(contents::kUint64s):
        AddNumbers(message.get_packed_uint64(), tensor);
        break;
      case Varint(contents::kBools):
      case Varint(contents::kInts):
      case Varint(contents::kInt64s):
        tensor->AddNumber(message.get_int64());
        break;
      case Varint(contents::kUints):
      case Varint(contents::kUint64s):
        tensor->AddNumber(Clamped(message.get_uint64()));
        break;
      case contents::kFloats:
        tensor->AddFractions(std::ssize(View(message.get_view())) / 4);
        break;
      case contents::kDoubles:
        tensor->AddFractions(std::ssize(View(message.get_view())) / 8);
        break;
      case contents::kFloat:
      case contents::kDouble:
        message.skip();
        tensor->AddFractions(1);
        break;
      case contents::kTexts:
        tensor->AddText(View(message.get_view()));
        break;
      default:
        message.skip();
    }
  }
}

void ReadInput(pbf_reader message, InferTensor* tensor) {
  while (message.next()) {
    switch (message.tag_and_type()) {
      case input::kName:
        tensor->name = View(message.get_view()).substr(0, kMostModelBytes);
        break;
      case input::kDatatype:
        tensor->datatype = View(message.get_view()).substr(0, kMostModelBytes);
        break;
      case input::kShape:
        for (const int64_t size : message.get_packed_int64()) tensor->AddDimension(size);
        break;
      case input::kOneDimension:
        tensor->AddDimension(message.get_int64());
        break;
      case input::kContents:
        ReadContents(message.get_message(), tensor);
        break;
      default:
        message.skip();
    }
  }
}

// A parameter's value as a count; -1: it is none.
int64_t CountOf(pbf_reader message) {
  int64_t count = -1;
  while (message.next()) {
    switch (message.tag_and_type()) {
      case parameter::kInt64:
        count = message.get_int64();
        break;
      case parameter::kUint64:
        count = Clamped(message.get_uint64());
        break;
      case parameter::kText:
        if (!absl::SimpleAtoi(std::string(View(message.get_view())), &count)) count = -1;
        break;
      default:
        message.skip();
        count = -1;
    }
  }
  return count;
}

std::optional<Refusal> ReadParameter(pbf_reader entry, BodyLevel* level, InferSize* size) {
  std::string_view name;
  int64_t count = -1;
  while (entry.next()) {
    switch (entry.tag_and_type()) {
      case Bytes(1):
        name = View(entry.get_view());
        break;
      case Bytes(2):
        count = CountOf(entry.get_message());
        break;
      default:
        entry.skip();
    }
  }
  size->AddTextBytes(std::ssize(name) + 1);
  if (!level->Key(name)) return Invalid(absl::StrCat("parameters.", std::string(name)), "given twice");
  const bool is_tokens = level->member() == BodyMember::kOutputTokens;
  if (level->member() == BodyMember::kOther) return std::nullopt;
  if (count < (is_tokens ? 0 : 1) || count > kMostCount) {
    return Invalid(absl::StrCat("parameters.", std::string(name)),
                   absl::StrCat("must be a whole number within ", is_tokens ? 0 : 1, " and ", kMostCount));
  }
  OutputLimits limits;
  if (is_tokens) limits.tokens = std::max<int64_t>(1, count);
  if (!is_tokens) limits.best_of = count;
  size->AddParams(limits);
  return std::nullopt;
}

struct Parts {
  std::vector<InferTensor> tensors;
  std::vector<std::string_view> raw;
};

// Raw contents belong to the inputs in their order.
std::optional<Refusal> AddTensors(Parts parts, InferSize* size) {
  if (!parts.raw.empty() && parts.raw.size() != parts.tensors.size()) {
    return Invalid("raw_input_contents",
                   absl::StrCat(parts.raw.size(), " for ", parts.tensors.size(), " inputs: one for each, or none"));
  }
  for (size_t i = 0; i < parts.tensors.size(); ++i) {
    InferTensor& tensor = parts.tensors[i];
    if (!parts.raw.empty() && !tensor.AddRaw(parts.raw[i])) {
      return Invalid(absl::StrCat("inputs.", tensor.name), "its raw contents are not as its datatype says");
    }
    if (auto refusal = size->Add(tensor)) return refusal;
  }
  return std::nullopt;
}

std::optional<Refusal> ReadMessage(pbf_reader message, RequestBody* out) {
  InferSize size;
  Parts parts;
  BodyLevel level(FieldsOf(Endpoint::kInferGrpc).params);
  while (message.next()) {
    switch (message.tag_and_type()) {
      case request::kModel: {
        const std::string_view model = View(message.get_view());
        if (model.size() > kMostModelBytes) {
          return Invalid("model_name", absl::StrCat(model.size(), " bytes are too long for a name"));
        }
        out->model = model;
        break;
      }
      case request::kParameters:
        if (auto refusal = ReadParameter(message.get_message(), &level, &size)) return refusal;
        break;
      case request::kInputs:
        if (parts.tensors.size() == kMostInputs) return Invalid("inputs", absl::StrCat("more than ", kMostInputs));
        ReadInput(message.get_message(), &parts.tensors.emplace_back());
        break;
      case request::kRawContents:
        if (parts.raw.size() == kMostInputs) {
          return Invalid("raw_input_contents", absl::StrCat("more than ", kMostInputs));
        }
        parts.raw.push_back(View(message.get_view()));
        break;
      default:
        message.skip();
    }
  }
  if (auto refusal = AddTensors(std::move(parts), &size)) return refusal;
  size.Finish(out);
  return std::nullopt;
}

}  // namespace

std::optional<Refusal> ReadInferMessage(std::string_view framed, RequestBody* out) {
  if (framed.size() < kFrameBytes) return Invalid("body", "shorter than a gRPC message's frame");
  if (framed[0] == 1) return Invalid("body", "compressed: the gate cannot read it; send it without grpc-encoding");
  if (framed[0] != 0) return Invalid("body", "not framed as gRPC frames a message");
  uint32_t size = 0;
  for (size_t i = 1; i < kFrameBytes; ++i) size = size << 8 | static_cast<uint8_t>(framed[i]);
  framed.remove_prefix(kFrameBytes);
  if (framed.size() != size) {
    return Invalid("body", absl::StrCat("a message of ", size, " bytes is said to come, and ", framed.size(), " do"));
  }
  try {
    return ReadMessage(pbf_reader(framed.data(), framed.size()), out);
  } catch (const protozero::exception&) {  // the library's way to say that a message is cut off or ill-formed
    return Invalid("body", "not a well-formed ModelInferRequest");
  }
}

}  // namespace vramgate
