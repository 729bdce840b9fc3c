#include "admission/estimator/gguf_file.h"

#include <algorithm>
#include <bit>
#include <iterator>
#include <limits>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "admission/estimator/byte_reader.h"
#include "admission/estimator/gguf_head.h"

namespace vramgate {
namespace {

constexpr char kCountKey[] = "split.count";
constexpr char kNumberKey[] = "split.no";
constexpr char kTensorsKey[] = "split.tensors.count";

bool IsWhole(GgufKind kind) {
  switch (kind) {
    case GgufKind::kUint8:
    case GgufKind::kInt8:
    case GgufKind::kUint16:
    case GgufKind::kInt16:
    case GgufKind::kUint32:
    case GgufKind::kInt32:
    case GgufKind::kUint64:
    case GgufKind::kInt64:
      return true;
    case GgufKind::kFloat32:
    case GgufKind::kFloat64:
    case GgufKind::kBool:
    case GgufKind::kString:
    case GgufKind::kArray:
      return false;
  }
  return false;
}

bool IsOne(const GgufValue* value) {
  return value != nullptr && !value->is_array && value->numbers.size() == 1;
}

// Negative ones of a signed kind are above INT64_MAX as well, being sign-extended.
bool Fits(uint64_t number) {
  return number <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
}

absl::StatusOr<GgufFile> ReadPart(const std::string& path) {
  absl::StatusOr<ByteReader> in = ByteReader::Open(path);
  if (!in.ok()) return in.status();
  return ReadGgufHead(*in, path);
}

// How a part of a split file is named (llama.cpp's `llama_split_path`).
std::string PartSuffix(int64_t number, int64_t count) {
  return absl::StrFormat("-%05d-of-%05d.gguf", number, count);
}

// Moves the part's tensors into the whole. An error, without a path, where they do not belong together.
absl::Status Merge(GgufFile part, int64_t number, int64_t count, GgufFile& whole) {
  if (part.Uint(kCountKey) != count || part.Uint(kNumberKey) != number - 1) {
    return absl::InvalidArgumentError(
        absl::StrCat(kNumberKey, " or ", kCountKey, ": not what its name says, part ", number, " of ", count));
  }
  constexpr int64_t kMaxSum = int64_t{1} << 56;
  if (part.tensor_bytes > kMaxSum - whole.tensor_bytes ||
      part.tensors.size() + whole.tensors.size() > kMaxGgufTensors) {
    return absl::InvalidArgumentError("too many tensors, all parts together");
  }
  whole.tensor_bytes += part.tensor_bytes;
  whole.complete = whole.complete && part.complete;
  std::move(part.tensors.begin(), part.tensors.end(), std::back_inserter(whole.tensors));
  if (number == 1) {
    whole.values = std::move(part.values);
    whole.version = part.version;
  }
  return absl::OkStatus();
}

// Of the whole: no name twice, and as many as the first part says.
absl::Status CheckWhole(GgufFile& whole) {
  auto& tensors = whole.tensors;
  std::sort(tensors.begin(), tensors.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  if (std::adjacent_find(tensors.begin(), tensors.end(),
                         [](const auto& a, const auto& b) { return a.name == b.name; }) != tensors.end()) {
    return absl::InvalidArgumentError("a tensor is in more than one part");
  }
  const std::optional<int64_t> expected = whole.Uint(kTensorsKey);
  if (expected.has_value() && *expected != static_cast<int64_t>(tensors.size())) {
    return absl::InvalidArgumentError(
        absl::StrCat(kTensorsKey, ": ", *expected, " are expected, the parts have ", tensors.size()));
  }
  return absl::OkStatus();
}

absl::Status Named(const std::string& path, const absl::Status& status) {
  return absl::Status(status.code(), absl::StrCat(path, ": ", status.message()));
}

}  // namespace

const GgufValue* GgufFile::Find(std::string_view key) const {
  const auto at = values.find(key);
  return at == values.end() ? nullptr : &at->second;
}

const GgufTensor* GgufFile::FindTensor(std::string_view name) const {
  const auto at = std::lower_bound(tensors.begin(), tensors.end(), name,
                                   [](const GgufTensor& tensor, std::string_view n) { return tensor.name < n; });
  return at == tensors.end() || at->name != name ? nullptr : &*at;
}

std::optional<int64_t> GgufFile::Uint(std::string_view key) const {
  const GgufValue* value = Find(key);
  if (!IsOne(value) || !IsWhole(value->kind) || !Fits(value->numbers.front())) return std::nullopt;
  return static_cast<int64_t>(value->numbers.front());
}

std::optional<std::vector<int64_t>> GgufFile::UintArray(std::string_view key) const {
  const GgufValue* value = Find(key);
  if (value == nullptr || !value->is_array || value->numbers.size() != value->count) return std::nullopt;
  if (!IsWhole(value->kind) && value->kind != GgufKind::kBool) return std::nullopt;
  if (!std::all_of(value->numbers.begin(), value->numbers.end(), Fits)) return std::nullopt;
  return std::vector<int64_t>(value->numbers.begin(), value->numbers.end());
}

std::optional<std::string> GgufFile::String(std::string_view key) const {
  const GgufValue* value = Find(key);
  return value == nullptr ? std::nullopt : value->text;
}

std::optional<double> GgufFile::Float(std::string_view key) const {
  const GgufValue* value = Find(key);
  if (!IsOne(value) || (value->kind != GgufKind::kFloat32 && value->kind != GgufKind::kFloat64)) return std::nullopt;
  return std::bit_cast<double>(value->numbers.front());
}

std::optional<bool> GgufFile::Bool(std::string_view key) const {
  const GgufValue* value = Find(key);
  if (!IsOne(value) || value->kind != GgufKind::kBool) return std::nullopt;
  return value->numbers.front() != 0;
}

absl::StatusOr<GgufFile> ParseGguf(std::string_view head, std::string_view name_for_errors) {
  ByteReader in(head);
  return ReadGgufHead(in, name_for_errors);
}

absl::StatusOr<GgufFile> ReadGgufFile(const std::string& path) {
  absl::StatusOr<GgufFile> given = ReadPart(path);
  if (!given.ok() || given->Uint(kCountKey).value_or(1) <= 1) return given;
  const int64_t count = *given->Uint(kCountKey);
  const int64_t number = given->Uint(kNumberKey).value_or(-1) + 1;
  if (count > static_cast<int64_t>(kMaxGgufParts) || number < 1 || number > count) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": ", kNumberKey, " or ", kCountKey, ": part ", number, " of ",
                                                   count, " cannot be; ", kMaxGgufParts, " at most"));
  }
  const std::string suffix = PartSuffix(number, count);
  if (!path.ends_with(suffix)) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": a part of a split file, so its name must end in ", suffix, " to find the others"));
  }
  const std::string stem = path.substr(0, path.size() - suffix.size());
  GgufFile whole;
  whole.complete = true;
  for (int64_t i = 1; i <= count; ++i) {
    const std::string part_path = stem + PartSuffix(i, count);
    absl::StatusOr<GgufFile> part = ReadPart(part_path);
    if (!part.ok()) return part.status();
    if (const absl::Status s = Merge(*std::move(part), i, count, whole); !s.ok()) return Named(part_path, s);
  }
  if (const absl::Status s = CheckWhole(whole); !s.ok()) return Named(path, s);
  return whole;
}

}  // namespace vramgate
