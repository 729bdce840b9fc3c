// The real CUDA runtime on a real card. Skips, with the reason, where there is none.
#include <cuda_runtime_api.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <string>

#include "gpu/capacity.h"
#include "gpu/cuda_device_memory.h"

namespace vramgate {
namespace {

constexpr int64_t MiB(int64_t n) {
  return n << 20;
}

class CudaRealDeviceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (memory_.devices().empty()) GTEST_SKIP() << memory_.description();
  }

  CudaDeviceMemory memory_;
};

TEST_F(CudaRealDeviceTest, EveryDeviceIsFoundByAllItsNames) {
  for (size_t i = 0; i < memory_.devices().size(); ++i) {
    const DeviceInfo& device = memory_.devices()[i];
    EXPECT_EQ(FindDevice(memory_, std::to_string(device.ordinal)).value_or(99), i);
    EXPECT_EQ(FindDevice(memory_, device.uuid).value_or(99), i) << device.uuid;
    EXPECT_EQ(FindDevice(memory_, device.pci_bus_id).value_or(99), i) << device.pci_bus_id;
    EXPECT_GT(device.total_bytes, MiB(256));
  }
}

TEST_F(CudaRealDeviceTest, AReadingIsPossible) {
  for (size_t i = 0; i < memory_.devices().size(); ++i) {
    const absl::StatusOr<MemoryReading> reading = memory_.Read(i);
    ASSERT_TRUE(reading.ok()) << reading.status();
    EXPECT_GT(reading->total_bytes, MiB(256));
    EXPECT_GT(reading->free_bytes, 0);
    EXPECT_LE(reading->free_bytes, reading->total_bytes);
    EXPECT_GT(reading->context_bytes, 0);
    EXPECT_LE(reading->context_bytes, CudaDeviceMemory::kContextBoundBytes);
    std::printf("device %zu (%s): total %ld MiB, free %ld MiB, context at most %ld MiB\n", i,
                memory_.devices()[i].name.c_str(), static_cast<long>(reading->total_bytes >> 20),
                static_cast<long>(reading->free_bytes >> 20), static_cast<long>(reading->context_bytes >> 20));
  }
}

// The ledger does not know this test's allocation: it is foreign use. Another process that frees memory meanwhile would
// hide it.
TEST_F(CudaRealDeviceTest, AnAllocationTakesItsBytesOffTheCapacity) {
  ASSERT_TRUE(memory_.Read(0).ok());
  const Capacity before = CapacityOf(*memory_.Read(0), {}, 0);
  if (before.capacity_bytes < MiB(512)) GTEST_SKIP() << "device 0 has less than 512 MiB left";
  void* pointer = nullptr;
  ASSERT_EQ(cudaMalloc(&pointer, static_cast<size_t>(MiB(256))), cudaSuccess);
  const absl::StatusOr<MemoryReading> reading = memory_.Read(0);
  EXPECT_EQ(cudaFree(pointer), cudaSuccess);
  ASSERT_TRUE(reading.ok()) << reading.status();
  const Capacity after = CapacityOf(*reading, {}, 0);
  EXPECT_GE(before.capacity_bytes - after.capacity_bytes, MiB(256));
  EXPECT_GE(after.foreign_bytes, MiB(256));
}

}  // namespace
}  // namespace vramgate
