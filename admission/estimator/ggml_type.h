// The element types of GGUF tensors and what a block of each takes.
//
// Used by the GGUF reader. Pure; no thread rule.
//
//   const GgmlType* type = FindGgmlType(12);    // {12, "Q4_K", 256, 144}: 144 bytes hold 256 elements
#pragma once

#include <cstdint>
#include <string_view>

namespace vramgate {

struct GgmlType {
  uint32_t id;
  std::string_view name;
  int64_t block_elements;
  int64_t block_bytes;
};

// The type of that number, or null where there is none (some numbers have been retired). Lives as long as the program.
const GgmlType* FindGgmlType(uint32_t id);

}  // namespace vramgate
