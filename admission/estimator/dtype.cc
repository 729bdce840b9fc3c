#include "admission/estimator/dtype.h"

#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "admission/check.h"
#include "admission/utf8.h"

namespace vramgate {
namespace {

// `elements` are stored in `bytes`, and `row_bytes` come once for each row.
struct Storage {
  DType dtype;
  std::string_view name;
  int64_t elements;
  int64_t bytes;
  int64_t row_bytes;
};

// Block sizes: ggml-common.h of llama.cpp; per-token-head scales and nvfp4: vLLM kv_cache_interface.py.
constexpr std::array<Storage, 15> kStorage = {{
    {DType::kFp32, "fp32", 1, 4, 0},
    {DType::kBf16, "bf16", 1, 2, 0},
    {DType::kFp16, "fp16", 1, 2, 0},
    {DType::kFp8, "fp8", 1, 1, 0},
    {DType::kInt8, "int8", 1, 1, 0},
    {DType::kFp8TokenHead, "fp8_per_token_head", 1, 1, 4},
    {DType::kInt8TokenHead, "int8_per_token_head", 1, 1, 4},
    {DType::kInt4TokenHead, "int4_per_token_head", 2, 1, 4},
    {DType::kNvfp4, "nvfp4", 16, 9, 0},
    {DType::kFp8DsMla, "fp8_ds_mla", 1, 1, 0},
    {DType::kQ8_0, "q8_0", 32, 34, 0},
    {DType::kQ5_1, "q5_1", 32, 24, 0},
    {DType::kQ5_0, "q5_0", 32, 22, 0},
    {DType::kQ4_1, "q4_1", 32, 20, 0},
    {DType::kQ4_0, "q4_0", 32, 18, 0},
}};

constexpr std::array<std::pair<std::string_view, DType>, 12> kOtherNames = {{
    {"float32", DType::kFp32},
    {"f32", DType::kFp32},
    {"float", DType::kFp32},
    {"bfloat16", DType::kBf16},
    {"float16", DType::kFp16},
    {"f16", DType::kFp16},
    {"half", DType::kFp16},
    {"fp8_e4m3", DType::kFp8},
    {"fp8_e5m2", DType::kFp8},
    {"float8_e4m3", DType::kFp8},
    {"float8_e4m3fn", DType::kFp8},
    {"float8_e5m2", DType::kFp8},
}};

const Storage& StorageOf(DType dtype) {
  for (const Storage& s : kStorage) {
    if (s.dtype == dtype) return s;
  }
  CHECK(false, "DType: a value outside of the enum");
}

absl::Status Unknown(std::string_view text, std::string_view right) {
  return absl::InvalidArgumentError(absl::StrCat(Quoted(text), " is not a known element type: write ",
                                                 absl::string_view(right.data(), right.size())));
}

constexpr std::string_view kWeights = "fp32, bf16, fp16, fp8 or int8";

}  // namespace

bool IsPlain(DType dtype) {
  return dtype <= DType::kInt8;
}

int64_t DTypeBytes(DType dtype) {
  CHECK(IsPlain(dtype), "DTypeBytes: a type that only caches have");
  return StorageOf(dtype).bytes;
}

Wide CacheRowBytes(DType dtype, Wide elements) {
  const Storage& s = StorageOf(dtype);
  return elements == 0 ? 0 : CeilDivide(elements, s.elements) * s.bytes + s.row_bytes;
}

std::string_view DTypeName(DType dtype) {
  return StorageOf(dtype).name;
}

absl::StatusOr<DType> ParseDType(std::string_view text) {
  std::string_view name = text;
  constexpr std::string_view kTorch = "torch.";
  if (name.substr(0, kTorch.size()) == kTorch) name.remove_prefix(kTorch.size());
  for (const Storage& s : kStorage) {
    if (s.name == name) return s.dtype;
  }
  for (const auto& [known, dtype] : kOtherNames) {
    if (known == name) return dtype;
  }
  return Unknown(text,
                 "fp32, bf16, fp16, fp8 or int8; for KV also fp8_per_token_head, int8_per_token_head, "
                 "int4_per_token_head, nvfp4, fp8_ds_mla, q8_0, q5_1, q5_0, q4_1 or q4_0");
}

absl::StatusOr<DType> ParseWeightsDType(std::string_view text) {
  absl::StatusOr<DType> dtype = ParseDType(text);
  if (!dtype.ok() || !IsPlain(*dtype)) return Unknown(text, kWeights);
  return dtype;
}

}  // namespace vramgate
