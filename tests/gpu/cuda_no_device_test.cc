// The real CUDA runtime, linked statically, on a machine without a GPU or with all of them hidden: a clean state and no
// crash. Runs everywhere.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include "gpu/cuda_device_memory.h"

namespace vramgate {
namespace {

using ::testing::AnyOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

TEST(CudaNoDeviceTest, IsACleanState) {
  ASSERT_EQ(setenv("CUDA_VISIBLE_DEVICES", "", 1), 0);  // read by the driver, once, when it is first used
  CudaDeviceMemory memory;
  EXPECT_THAT(memory.devices(), IsEmpty());
  const std::string description(memory.description());
  EXPECT_THAT(description, StartsWith("no devices: "));
  EXPECT_THAT(description, AnyOf(HasSubstr("cudaErrorInsufficientDriver"), HasSubstr("cudaErrorNoDevice")));
  EXPECT_EQ(memory.Read(0).status().code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(FindDevice(memory, "0").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(std::string(CudaDeviceMemory().description()), description);  // and again
}

}  // namespace
}  // namespace vramgate
