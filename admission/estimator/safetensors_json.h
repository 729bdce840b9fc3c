// The two JSON texts of a safetensors checkpoint, a shard's header and the index, read without building a document.
//
// Used by safetensors.cc. Pure; no thread rule. The texts are bounded by the caller.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "admission/estimator/safetensors.h"

namespace vramgate {

// A tensor and where it is in its shard's data: [begin, end).
struct PlacedTensor {
  SafetensorsTensor tensor;
  uint64_t begin = 0;
  uint64_t end = 0;
};

// The header's tensors in its own order, each of the bytes that its type and shape say. INVALID_ARGUMENT, without a
// file's name: not such a text.
absl::StatusOr<std::vector<PlacedTensor>> ParseSafetensorsHeader(std::string_view json);

// Of model.safetensors.index.json, which shard has each tensor: `weight_map`. INVALID_ARGUMENT: not such a text, or a
// shard's name that is no plain file's name.
absl::StatusOr<std::map<std::string, std::string>> ParseSafetensorsIndex(std::string_view json);

}  // namespace vramgate
