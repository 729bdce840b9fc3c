// The element types that weights and KV caches are kept in, and their sizes.
//
//   absl::StatusOr<DType> dtype = ParseDType("torch.bfloat16");   // DType::kBf16, 2 bytes an element
//   CacheRowBytes(DType::kQ8_0, 128);                             // 136: 32 elements and an fp16 scale in 34 bytes
//
// Plain values: no thread rule, no lifetime rule.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "admission/estimator/axis.h"

namespace vramgate {

enum class DType : uint8_t {
  kFp32,
  kBf16,
  kFp16,
  kFp8,
  kInt8,
  // Of KV caches only. With a scale for each token and head (vLLM's *_per_token_head): 4 bytes more a row.
  kFp8TokenHead,
  kInt8TokenHead,
  kInt4TokenHead,
  kNvfp4,     // 4 bits, an fp8 scale for each 16
  kFp8DsMla,  // 656 bytes a latent entry: 512 of fp8, 4 fp32 scales, 64 of 16 bits (vLLM, sparse MLA)
  // llama.cpp's blocks of 32.
  kQ8_0,
  kQ5_1,
  kQ5_0,
  kQ4_1,
  kQ4_0,
};

// Bytes of one element of a type that weights may have. REQUIRES: IsPlain(dtype).
int64_t DTypeBytes(DType dtype);

// fp32, bf16, fp16, fp8, int8: whole bytes an element, for weights and caches.
bool IsPlain(DType dtype);

// Bytes that a row of `elements` takes in a cache: one head's key or value of one token. Whole blocks.
Wide CacheRowBytes(DType dtype, Wide elements);

// "fp32", "bf16", "q8_0", ...
std::string_view DTypeName(DType dtype);

// The names above and those of PyTorch and the engines: "bfloat16", "torch.float16", "half", "float8_e4m3fn",
// "fp8_e5m2", ... INVALID_ARGUMENT for anything else, with the names that would be right.
absl::StatusOr<DType> ParseDType(std::string_view text);

// A type that only caches have is refused here.
absl::StatusOr<DType> ParseWeightsDType(std::string_view text);

}  // namespace vramgate
