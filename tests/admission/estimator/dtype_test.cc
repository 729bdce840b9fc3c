#include "admission/estimator/dtype.h"

#include <gtest/gtest.h>

#include <string>

namespace vramgate {
namespace {

TEST(DTypeTest, NamesOfEnginesAndPyTorch) {
  EXPECT_EQ(*ParseDType("bfloat16"), DType::kBf16);
  EXPECT_EQ(*ParseDType("torch.bfloat16"), DType::kBf16);
  EXPECT_EQ(*ParseDType("half"), DType::kFp16);
  EXPECT_EQ(*ParseDType("float32"), DType::kFp32);
  EXPECT_EQ(*ParseDType("fp8_e5m2"), DType::kFp8);
  for (const DType dtype : {DType::kFp32, DType::kBf16, DType::kFp16, DType::kFp8, DType::kInt8}) {
    EXPECT_EQ(*ParseDType(DTypeName(dtype)), dtype);
    EXPECT_GE(DTypeBytes(dtype), 1);
  }
}

TEST(DTypeTest, AnythingElseIsRefusedAndShownSafely) {
  for (const std::string text : {"", "bf17", "torch.", "BF16", "torch.torch.bf16", "int4", "auto"}) {
    EXPECT_EQ(ParseDType(text).status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
  const std::string message(ParseDType(std::string(1000, '\x01')).status().message());
  EXPECT_LT(message.size(), 500u);
  EXPECT_EQ(message.find('\x01'), std::string::npos);
}

}  // namespace
}  // namespace vramgate
