// Cards by the names people use, with the memory that a process really sees.
//
//   absl::StatusOr<GpuCard> card = FindGpuCard("H100-80GB");     // 79.19 GiB, not 80
//
// Plain values: no thread rule, no lifetime rule.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace vramgate {

struct GpuCard {
  std::string_view name;
  int64_t bytes = 0;  // cudaMemGetInfo's total, as engines log it
};

// Case and the separators "-", "_" and " " do not matter; a prefix is enough where it names one card. NOT_FOUND lists
// the names.
absl::StatusOr<GpuCard> FindGpuCard(std::string_view name);

// "A10G-24GB, A100-40GB, ...".
std::string GpuCardNames();

}  // namespace vramgate
