#include "admission/estimator/gguf_head.h"
#include "admission/utf8.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace vramgate {
namespace {

constexpr uint32_t kMagic = 0x46554747;  // "GGUF", little-endian
constexpr uint64_t kMaxElements = uint64_t{1} << 48;
constexpr uint64_t kMaxOffset = uint64_t{1} << 56;
constexpr uint64_t kMaxAlignment = uint64_t{1} << 24;
constexpr uint64_t kMaxDims = 4;

// Bytes of one value of a fixed size; 0 for a string or an array, nullopt for what is no type.
std::optional<uint64_t> KindBytes(uint32_t kind) {
  switch (kind) {
    case 0:  // the numbers are GgufKind's, before they are known to be one
    case 1:
    case 7:
      return 1;
    case 2:
    case 3:
      return 2;
    case 4:
    case 5:
    case 6:
      return 4;
    case 10:
    case 11:
    case 12:
      return 8;
    case 8:
    case 9:
      return 0;
    default:
      return std::nullopt;
  }
}

bool IsSigned(GgufKind kind) {
  return kind == GgufKind::kInt8 || kind == GgufKind::kInt16 || kind == GgufKind::kInt32 || kind == GgufKind::kInt64;
}

class HeadReader {
 public:
  HeadReader(ByteReader& in, std::string_view name) : in_(in), name_(name) {}

  absl::StatusOr<GgufFile> Read() {
    if (!ReadAll()) return status_;
    return std::move(file_);
  }

 private:
  bool ReadAll();
  bool ReadValue(std::string_view key, GgufValue& value);
  bool ReadArray(std::string_view key, GgufValue& value);
  bool ReadText(std::string_view key, GgufValue& value);
  bool ReadNumber(std::string_view key, GgufValue& value);
  bool ReadTensor();
  bool SetSize(GgufTensor& tensor);
  bool CheckAlignment();
  bool CheckPlaces(uint64_t data_at);

  // False, with the status set: for the caller to return at once.
  bool Fail(std::string_view message) {
    status_ = absl::InvalidArgumentError(absl::StrCat(absl::string_view(name_.data(), name_.size()), ": ",
                                                      absl::string_view(message.data(), message.size())));
    return false;
  }
  bool Cut(std::string_view where) {
    return Fail(
        absl::StrCat("cut off at byte ", in_.size(), ", within ", absl::string_view(where.data(), where.size())));
  }

  template <typename T>
  bool Get(T& value, std::string_view where) {
    const std::optional<uint64_t> read = in_.Number(sizeof(T));
    if (!read.has_value()) return Cut(where);
    value = static_cast<T>(*read);
    return true;
  }
  // A name of 1 to kMaxGgufName bytes.
  bool GetName(std::string& name, std::string_view what) {
    uint64_t length = 0;
    if (!Get(length, what)) return false;
    if (length == 0 || length > kMaxGgufName) {
      return Fail(absl::StrCat(absl::string_view(what.data(), what.size()), ": a length of ", length, " bytes, ",
                               kMaxGgufName, " at most"));
    }
    std::optional<std::string> read = in_.Bytes(length);
    if (!read.has_value()) return Cut(what);
    name = *std::move(read);
    return true;
  }

  ByteReader& in_;
  std::string_view name_;
  GgufFile file_;
  uint64_t alignment_ = 32;
  absl::Status status_;
};

bool HeadReader::ReadAll() {
  uint32_t magic = 0;
  uint64_t tensor_count = 0;
  uint64_t key_count = 0;
  if (!Get(magic, "the magic")) return false;
  if (magic != kMagic) return Fail("not a GGUF file: it does not begin with \"GGUF\"");
  if (!Get(file_.version, "the version")) return false;
  if (file_.version != 2 && file_.version != 3) {
    const bool big = (file_.version & 0xFFFF) == 0;
    return Fail(absl::StrCat("GGUF version ", file_.version, big ? " (big-endian?)" : "", ": 2 and 3 are read"));
  }
  if (!Get(tensor_count, "the header") || !Get(key_count, "the header")) return false;
  if (tensor_count > kMaxGgufTensors)
    return Fail(absl::StrCat(tensor_count, " tensors, ", kMaxGgufTensors, " at most"));
  if (key_count > kMaxGgufKeys) return Fail(absl::StrCat(key_count, " keys, ", kMaxGgufKeys, " at most"));
  for (uint64_t i = 0; i < key_count; ++i) {
    std::string key;
    GgufValue value;
    if (!GetName(key, "a key's name") || !ReadValue(key, value)) return false;
    const auto [at, is_new] = file_.values.emplace(std::move(key), std::move(value));
    if (!is_new) return Fail(absl::StrCat("key ", Quoted(at->first), ": more than once"));
  }
  if (!CheckAlignment()) return false;
  for (uint64_t i = 0; i < tensor_count; ++i) {
    if (!ReadTensor()) return false;
  }
  const uint64_t data_at = (in_.position() + alignment_ - 1) / alignment_ * alignment_;
  return CheckPlaces(data_at);
}

bool HeadReader::ReadValue(std::string_view key, GgufValue& value) {
  uint32_t kind = 0;
  if (!Get(kind, Quoted(key))) return false;
  if (!KindBytes(kind).has_value()) {
    return Fail(absl::StrCat("key ", Quoted(key), ": a value of type ", kind, ", which the format does not have"));
  }
  value.kind = static_cast<GgufKind>(kind);
  if (in_.position() > kMaxGgufHead) return Fail(absl::StrCat("more than ", kMaxGgufHead, " bytes of metadata"));
  if (value.kind == GgufKind::kArray) return ReadArray(key, value);
  if (value.kind == GgufKind::kString) return ReadText(key, value);
  return ReadNumber(key, value);
}

bool HeadReader::ReadArray(std::string_view key, GgufValue& value) {
  uint32_t kind = 0;
  value.is_array = true;
  if (!Get(kind, Quoted(key)) || !Get(value.count, Quoted(key))) return false;
  const std::optional<uint64_t> bytes = KindBytes(kind);
  if (!bytes.has_value() || kind == static_cast<uint32_t>(GgufKind::kArray)) {
    return Fail(absl::StrCat("key ", Quoted(key), ": an array of type ", kind, ", which is not read"));
  }
  value.kind = static_cast<GgufKind>(kind);
  const bool is_text = value.kind == GgufKind::kString;
  // Every element takes at least so much of the file, a string the 8 bytes of its length.
  if (value.count > in_.remaining() / (is_text ? 8 : *bytes)) return Cut(Quoted(key));
  if (is_text) {
    for (uint64_t i = 0; i < value.count; ++i) {
      uint64_t length = 0;
      if (!Get(length, Quoted(key))) return false;
      if (!in_.Skip(length)) return Cut(Quoted(key));
      if (in_.position() > kMaxGgufHead) return Fail(absl::StrCat("more than ", kMaxGgufHead, " bytes of metadata"));
    }
    return true;
  }
  if (value.count > kMaxGgufArray) return in_.Skip(value.count * *bytes) || Cut(Quoted(key));
  value.numbers.reserve(value.count);
  for (uint64_t i = 0; i < value.count; ++i) {
    if (!ReadNumber(key, value)) return false;
  }
  return true;
}

bool HeadReader::ReadText(std::string_view key, GgufValue& value) {
  uint64_t length = 0;
  if (!Get(length, Quoted(key))) return false;
  if (length > kMaxGgufText) return in_.Skip(length) || Cut(Quoted(key));
  value.text = in_.Bytes(length);
  return value.text.has_value() || Cut(Quoted(key));
}

// Appends one number of the value's kind: signed ones sign-extended, floats as a double's bits.
bool HeadReader::ReadNumber(std::string_view key, GgufValue& value) {
  const uint64_t bytes = KindBytes(static_cast<uint32_t>(value.kind)).value_or(0);
  const std::optional<uint64_t> read = in_.Number(bytes);
  if (!read.has_value()) return Cut(Quoted(key));
  uint64_t number = *read;
  if (value.kind == GgufKind::kBool && number > 1) return Fail(absl::StrCat("key ", Quoted(key), ": no bool"));
  if (IsSigned(value.kind)) {
    const uint64_t unused_bits = 64 - 8 * bytes;
    number = static_cast<uint64_t>(static_cast<int64_t>(number << unused_bits) >> unused_bits);
  } else if (value.kind == GgufKind::kFloat32) {
    number = std::bit_cast<uint64_t>(static_cast<double>(std::bit_cast<float>(static_cast<uint32_t>(number))));
  }
  value.numbers.push_back(number);
  return true;
}

bool HeadReader::CheckAlignment() {
  constexpr char kKey[] = "general.alignment";
  if (file_.Find(kKey) == nullptr) return true;
  const std::optional<int64_t> alignment = file_.Uint(kKey);
  if (!alignment.has_value() || !std::has_single_bit(static_cast<uint64_t>(*alignment)) ||
      static_cast<uint64_t>(*alignment) > kMaxAlignment) {
    return Fail(absl::StrCat(kKey, ": must be a power of two, ", kMaxAlignment, " at most"));
  }
  alignment_ = static_cast<uint64_t>(*alignment);
  return true;
}

bool HeadReader::ReadTensor() {
  GgufTensor tensor;
  uint32_t dims = 0;
  uint32_t type = 0;
  if (!GetName(tensor.name, "a tensor's name")) return false;
  const std::string quoted = absl::StrCat("tensor ", Quoted(tensor.name));
  if (!Get(dims, quoted)) return false;
  if (dims > kMaxDims) return Fail(absl::StrCat(quoted, ": ", dims, " dimensions, ", kMaxDims, " at most"));
  tensor.elements = 1;
  for (uint32_t i = 0; i < dims; ++i) {
    uint64_t dim = 0;
    if (!Get(dim, quoted)) return false;
    if (dim == 0 || dim > kMaxElements / static_cast<uint64_t>(tensor.elements)) {
      return Fail(absl::StrCat(quoted, ": a dimension of ", dim, ": none, or too many elements"));
    }
    tensor.dims.push_back(static_cast<int64_t>(dim));
    tensor.elements *= static_cast<int64_t>(dim);
  }
  if (!Get(type, quoted) || !Get(tensor.offset, quoted)) return false;
  tensor.type = FindGgmlType(type);
  if (tensor.type == nullptr)
    return Fail(absl::StrCat(quoted, ": type ", type, " is not known, so neither is its size"));
  if (tensor.offset % alignment_ != 0 || tensor.offset > kMaxOffset) {
    return Fail(absl::StrCat(quoted, ": offset ", tensor.offset, ": not on the file's alignment of ", alignment_,
                             ", or too large"));
  }
  if (!SetSize(tensor)) return false;
  file_.tensors.push_back(std::move(tensor));
  return true;
}

// Rows are whole blocks. At most 2^48 elements of at most 8 bytes: no overflow.
bool HeadReader::SetSize(GgufTensor& tensor) {
  const int64_t row = tensor.dims.empty() ? 1 : tensor.dims.front();
  if (row % tensor.type->block_elements != 0) {
    return Fail(absl::StrCat("tensor ", Quoted(tensor.name), ": rows of ", row, " elements are not whole blocks of ",
                             tensor.type->name.data(), ", ", tensor.type->block_elements, " each"));
  }
  tensor.bytes = tensor.elements / tensor.type->block_elements * tensor.type->block_bytes;
  constexpr int64_t kMaxSum = int64_t{1} << 56;
  if (tensor.bytes > kMaxSum - file_.tensor_bytes) return Fail("the tensors have more bytes than can be counted");
  file_.tensor_bytes += tensor.bytes;
  return true;
}

// No two tensors share bytes or a name. Leaves them sorted by name.
bool HeadReader::CheckPlaces(uint64_t data_at) {
  auto& tensors = file_.tensors;
  std::sort(tensors.begin(), tensors.end(), [](const auto& a, const auto& b) { return a.offset < b.offset; });
  uint64_t end = 0;
  for (const GgufTensor& tensor : tensors) {
    if (tensor.offset < end) {
      return Fail(absl::StrCat("tensor ", Quoted(tensor.name), ": begins at ", tensor.offset,
                               ", within the one before it, which ends at ", end));
    }
    end = tensor.offset + static_cast<uint64_t>(tensor.bytes);
  }
  file_.complete = in_.size() >= (end == 0 ? 0 : data_at + end);
  std::sort(tensors.begin(), tensors.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  const auto twice =
      std::adjacent_find(tensors.begin(), tensors.end(), [](const auto& a, const auto& b) { return a.name == b.name; });
  if (twice != tensors.end()) return Fail(absl::StrCat("tensor ", Quoted(twice->name), ": more than once"));
  return true;
}

}  // namespace

absl::StatusOr<GgufFile> ReadGgufHead(ByteReader& in, std::string_view name) {
  return HeadReader(in, name).Read();
}

}  // namespace vramgate
