// The element types that weights and KV caches are kept in, and their sizes.
//
//   absl::StatusOr<DType> dtype = ParseDType("torch.bfloat16");   // DType::kBf16, 2 bytes an element
//
// Plain values: no thread rule, no lifetime rule.
#pragma once

#include <cstdint>
#include <string_view>

#include "absl/status/statusor.h"

namespace vramgate {

enum class DType : uint8_t { kFp32, kBf16, kFp16, kFp8, kInt8 };

// Bytes of one element. Scales of an 8-bit format are counted where its formula stands.
int64_t DTypeBytes(DType dtype);

// "fp32", "bf16", "fp16", "fp8", "int8".
std::string_view DTypeName(DType dtype);

// The names above and those of PyTorch and the engines: "bfloat16", "torch.float16", "half", "float8_e4m3fn",
// "fp8_e5m2", ... INVALID_ARGUMENT for anything else, with the names that would be right.
absl::StatusOr<DType> ParseDType(std::string_view text);

}  // namespace vramgate
