// Reads the head of a GGUF file: its metadata and its table of tensors, never the tensors.
//
// Used to size a model in GGUF: the weights are the sum of the table, and gguf_config.h reads the model's shape from
// the keys. Confined to one thread while it is filled, constant after that. What a file says is not trusted: every
// count, length and offset is bounded before it is used, and at most some megabytes are kept of a file of any size. A
// file that has been cut off after its head is read like a whole one; `complete` tells them apart.
//
//   absl::StatusOr<GgufFile> file = ReadGgufFile("models/Llama-3.1-8B-Q4_K_M.gguf");
//   if (!file.ok()) return file.status();
//   const std::optional<int64_t> layers = file->Uint("llama.block_count");
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "admission/estimator/ggml_type.h"

namespace vramgate {

// The numbers the format gives its value types.
enum class GgufKind : uint32_t {
  kUint8 = 0,
  kInt8 = 1,
  kUint16 = 2,
  kInt16 = 3,
  kUint32 = 4,
  kInt32 = 5,
  kFloat32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kUint64 = 10,
  kInt64 = 11,
  kFloat64 = 12,
};

struct GgufValue {
  GgufKind kind = GgufKind::kUint8;  // of an array: of its elements
  bool is_array = false;
  uint64_t count = 1;  // elements
  // Whole numbers, bools (0 or 1) and floats (their bits as a double). Empty for strings, and for arrays of more than
  // kMaxGgufArray elements, of which only the count is known.
  std::vector<uint64_t> numbers;
  std::optional<std::string> text;  // nullopt where not a string, or of more than kMaxGgufText bytes
};

struct GgufTensor {
  std::string name;
  const GgmlType* type = nullptr;
  std::vector<int64_t> dims;  // the fastest first; none: one element
  int64_t elements = 0;
  int64_t bytes = 0;
  uint64_t offset = 0;  // in its part's data
};

// Limits, far above what files have. Beyond the first five the file is refused; beyond the last two a value is skipped.
inline constexpr uint64_t kMaxGgufKeys = 4096;
inline constexpr uint64_t kMaxGgufTensors = 65'536;
inline constexpr uint64_t kMaxGgufName = 512;  // bytes, of a key or a tensor
inline constexpr uint64_t kMaxGgufParts = 1024;
inline constexpr uint64_t kMaxGgufHead = uint64_t{1} << 28;  // bytes of metadata
inline constexpr uint64_t kMaxGgufArray = 2048;
inline constexpr uint64_t kMaxGgufText = 4096;

class GgufFile {
 public:
  // Each is nullopt where the key is absent, of another type, or does not fit: `Find` tells which.
  std::optional<int64_t> Uint(std::string_view key) const;                    // any type of whole number, not negative
  std::optional<std::vector<int64_t>> UintArray(std::string_view key) const;  // of such, or of bools
  std::optional<std::string> String(std::string_view key) const;
  std::optional<double> Float(std::string_view key) const;
  std::optional<bool> Bool(std::string_view key) const;

  // The value, or null where absent.
  const GgufValue* Find(std::string_view key) const;
  const GgufTensor* FindTensor(std::string_view name) const;

  uint32_t version = 0;
  std::map<std::string, GgufValue, std::less<>> values;  // of a split file: its first part's
  std::vector<GgufTensor> tensors;                       // sorted by name, of all parts
  int64_t tensor_bytes = 0;                              // their sum, without padding
  // True where the file, or each part of a split one, is as long as its table says.
  bool complete = false;
};

// Reads the file, and where it is a part of a split one (`-00001-of-00003.gguf`), the others beside it.
// NOT_FOUND: no such file, or a part is missing. INVALID_ARGUMENT: not GGUF of version 2 or 3, cut off within its head,
// inconsistent, or beyond the limits. Messages begin with the path and name the key or tensor.
absl::StatusOr<GgufFile> ReadGgufFile(const std::string& path);

// The same from the file's first bytes; of a split file, this part alone.
absl::StatusOr<GgufFile> ParseGguf(std::string_view head, std::string_view name_for_errors);

}  // namespace vramgate
