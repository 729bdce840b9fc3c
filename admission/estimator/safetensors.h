// Reads which tensors a checkpoint in safetensors format has, and how many bytes: the shards' headers, never the
// tensors.
//
// Used to size a model's weights exactly. No thread rule. What the files say is not trusted: headers are bounded as the
// format bounds them, every offset is checked against type and shape, and a shard's name may not leave the directory.
//
//   absl::StatusOr<Safetensors> checkpoint = ReadSafetensors("models/llama-3.1-8b");
//   if (checkpoint.ok()) shape.weights_bytes = checkpoint->tensor_bytes;
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace vramgate {

struct SafetensorsType {
  std::string_view name;  // as the format writes it: "BF16", "F8_E4M3", ...
  int64_t bits;           // of one element
};

struct SafetensorsTensor {
  std::string name;
  const SafetensorsType* type = nullptr;  // lives as long as the program
  std::vector<int64_t> shape;             // none: one element
  int64_t elements = 0;
  int64_t bytes = 0;
};

struct Safetensors {
  const SafetensorsTensor* Find(std::string_view name) const;  // null where absent

  std::vector<SafetensorsTensor> tensors;  // sorted by name, of all shards
  int64_t tensor_bytes = 0;                // their sum
  // True where every shard is as long as its header says. One cut off after its header is read like a whole one.
  bool complete = false;
};

inline constexpr uint64_t kMaxSafetensorsHeader =
    100'000'000;                                           // bytes; the format's own limit, and here the index's too
inline constexpr size_t kMaxSafetensorsTensors = 1 << 20;  // of all shards
inline constexpr size_t kMaxSafetensorsShards = 4096;

// The directory's model.safetensors.index.json and the shards that it names, or else its model.safetensors.
// NOT_FOUND: the directory has neither, and then the message says so, or a shard is missing, which it names.
// INVALID_ARGUMENT: not a directory, or a file that cannot be right. Messages begin with the path.
absl::StatusOr<Safetensors> ReadSafetensors(const std::string& directory);

// One file's first bytes, at least to the end of its header. `file_bytes` is the length of the whole file.
absl::StatusOr<Safetensors> ParseSafetensors(std::string_view head, uint64_t file_bytes,
                                             std::string_view name_for_errors);

}  // namespace vramgate
