#include "admission/estimator/dtype.h"

#include <array>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "admission/check.h"

namespace vramgate {
namespace {

constexpr std::array<std::pair<std::string_view, DType>, 18> kNames = {{
    {"fp32", DType::kFp32},
    {"float32", DType::kFp32},
    {"f32", DType::kFp32},
    {"float", DType::kFp32},
    {"bf16", DType::kBf16},
    {"bfloat16", DType::kBf16},
    {"fp16", DType::kFp16},
    {"float16", DType::kFp16},
    {"f16", DType::kFp16},
    {"half", DType::kFp16},
    {"fp8", DType::kFp8},
    {"fp8_e4m3", DType::kFp8},
    {"fp8_e5m2", DType::kFp8},
    {"float8_e4m3", DType::kFp8},
    {"float8_e4m3fn", DType::kFp8},
    {"float8_e5m2", DType::kFp8},
    {"f8_e4m3", DType::kFp8},
    {"int8", DType::kInt8},
}};

}  // namespace

int64_t DTypeBytes(DType dtype) {
  switch (dtype) {
    case DType::kFp32:
      return 4;
    case DType::kBf16:
    case DType::kFp16:
      return 2;
    case DType::kFp8:
    case DType::kInt8:
      return 1;
  }
  CHECK(false, "DTypeBytes: a value outside of the enum");
}

std::string_view DTypeName(DType dtype) {
  switch (dtype) {
    case DType::kFp32:
      return "fp32";
    case DType::kBf16:
      return "bf16";
    case DType::kFp16:
      return "fp16";
    case DType::kFp8:
      return "fp8";
    case DType::kInt8:
      return "int8";
  }
  CHECK(false, "DTypeName: a value outside of the enum");
}

absl::StatusOr<DType> ParseDType(std::string_view text) {
  std::string_view name = text;
  constexpr std::string_view kTorch = "torch.";
  if (name.substr(0, kTorch.size()) == kTorch) name.remove_prefix(kTorch.size());
  for (const auto& [known, dtype] : kNames) {
    if (known == name) return dtype;
  }
  const absl::string_view shown(text.data(), std::min<size_t>(text.size(), 64));
  return absl::InvalidArgumentError(absl::StrCat(
      "\"", absl::CHexEscape(shown), "\" is not a known element type: write fp32, bf16, fp16, fp8 or int8"));
}

}  // namespace vramgate
