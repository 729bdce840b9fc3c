// CudaDeviceMemory over a fake CUDA runtime: several devices, errors, a device lost, memory that shrinks.
#include "gpu/cuda_device_memory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <vector>

#include "gpu/capacity.h"
#include "tests/gpu/fake_cudart.h"

namespace vramgate {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;

constexpr int64_t MiB(int64_t n) {
  return n << 20;
}
constexpr int64_t GiB(int64_t n) {
  return n << 30;
}

class CudaDeviceMemoryTest : public ::testing::Test {
 protected:
  // One large and one small device.
  void TwoDevices() {
    fake_.Reset({{.name = "NVIDIA H200",
                  .pci_bus_id = "0000:C1:00.0",
                  .uuid_byte = 0xAB,
                  .total_bytes = GiB(80),
                  .context_bytes = MiB(500)},
                 {.name = "NVIDIA L4",
                  .pci_bus_id = "0000:0A:00.0",
                  .uuid_byte = 0x01,
                  .total_bytes = GiB(24),
                  .context_bytes = MiB(200)}});
  }

  FakeCudart& fake_ = FakeCudart::Get();
};

TEST_F(CudaDeviceMemoryTest, NoDriverIsAStateWithAReason) {
  fake_.Reset({}, cudaErrorInsufficientDriver, 0);
  CudaDeviceMemory memory;
  EXPECT_THAT(memory.devices(), IsEmpty());
  EXPECT_THAT(std::string(memory.description()),
              AllOf(StartsWith("no devices: cudaErrorInsufficientDriver"), HasSubstr("no NVIDIA driver is loaded"),
                    HasSubstr("simulated")));
  EXPECT_EQ(memory.Read(0).status().code(), absl::StatusCode::kOutOfRange);
  EXPECT_THAT(std::string(FindDevice(memory, "0").status().message()), HasSubstr("no NVIDIA driver is loaded"));
}

TEST_F(CudaDeviceMemoryTest, AnOldDriverIsToldApartFromNone) {
  fake_.Reset({}, cudaErrorInsufficientDriver, 12040);
  CudaDeviceMemory memory;
  EXPECT_THAT(std::string(memory.description()), AllOf(HasSubstr("for CUDA 12.4"), HasSubstr("CUDA 13.5 runtime")));
}

TEST_F(CudaDeviceMemoryTest, NoDeviceIsAStateWithAReason) {
  fake_.Reset({}, cudaErrorNoDevice);
  EXPECT_THAT(std::string(CudaDeviceMemory().description()),
              AllOf(StartsWith("no devices: cudaErrorNoDevice"), HasSubstr("CUDA_VISIBLE_DEVICES")));
  fake_.Reset({});  // success, and a count of 0
  CudaDeviceMemory memory;
  EXPECT_THAT(memory.devices(), IsEmpty());
  EXPECT_THAT(std::string(memory.description()), StartsWith("no devices: "));
}

TEST_F(CudaDeviceMemoryTest, AnyOtherFailureToListIsAStateToo) {
  fake_.Reset({{.total_bytes = GiB(1)}}, cudaErrorUnknown);
  CudaDeviceMemory memory;
  EXPECT_THAT(memory.devices(), IsEmpty());
  EXPECT_THAT(std::string(memory.description()), HasSubstr("cudaErrorUnknown"));
}

TEST_F(CudaDeviceMemoryTest, ListsDevicesAndOpensNoContext) {
  TwoDevices();
  CudaDeviceMemory memory;
  ASSERT_EQ(memory.devices().size(), 2u);
  EXPECT_EQ(memory.devices()[0].name, "NVIDIA H200");
  EXPECT_EQ(memory.devices()[0].pci_bus_id, "0000:c1:00.0");
  EXPECT_EQ(memory.devices()[0].uuid, "GPU-abababab-abab-abab-abab-abababababab");
  EXPECT_EQ(memory.devices()[0].total_bytes, GiB(80));
  EXPECT_EQ(memory.devices()[1].ordinal, 1);
  EXPECT_EQ(memory.devices()[1].uuid, "GPU-01010101-0101-0101-0101-010101010101");
  EXPECT_EQ(memory.description(), "CUDA runtime 13.5, driver for CUDA 13.0, 2 devices");
  EXPECT_FALSE(fake_.device(0).context_open);
  EXPECT_FALSE(fake_.device(1).context_open);

  ASSERT_TRUE(memory.Read(1).ok());
  EXPECT_FALSE(fake_.device(0).context_open);
  EXPECT_TRUE(fake_.device(1).context_open);
}

TEST_F(CudaDeviceMemoryTest, ADeviceThatCannotBeDescribedKeepsItsOrdinal) {
  TwoDevices();
  fake_.Update(0, [](FakeDevice& d) { d.describe_error = cudaErrorUnknown; });
  CudaDeviceMemory memory;
  ASSERT_EQ(memory.devices().size(), 2u);
  EXPECT_EQ(memory.devices()[0].uuid, "");
  EXPECT_EQ(memory.devices()[1].name, "NVIDIA L4");
  EXPECT_EQ(FindDevice(memory, "0").value(), 0u);
  EXPECT_TRUE(memory.Read(0).ok());  // the failure to describe is not taken for a failure to read
}

TEST_F(CudaDeviceMemoryTest, ReadsEachDeviceByItself) {
  TwoDevices();
  CudaDeviceMemory memory;
  EXPECT_EQ(memory.Read(0)->total_bytes, GiB(80));
  EXPECT_EQ(memory.Read(0)->free_bytes, GiB(80) - MiB(500));
  EXPECT_EQ(memory.Read(1)->total_bytes, GiB(24));
  EXPECT_EQ(memory.Read(1)->free_bytes, GiB(24) - MiB(200));
}

TEST_F(CudaDeviceMemoryTest, OnAnIdleDeviceTheContextIsMeasured) {
  TwoDevices();
  CudaDeviceMemory memory;
  EXPECT_EQ(memory.Read(0)->context_bytes, MiB(500));
  fake_.Update(0, [](FakeDevice& d) { d.engines_bytes = GiB(60); });
  EXPECT_EQ(memory.Read(0)->context_bytes, MiB(500));
  EXPECT_EQ(memory.Read(0)->free_bytes, GiB(20) - MiB(500));
}

TEST_F(CudaDeviceMemoryTest, OnABusyDeviceTheContextIsBoundedUntilItIsSeenIdle) {
  TwoDevices();
  fake_.Update(0, [](FakeDevice& d) { d.engines_bytes = GiB(60); });
  CudaDeviceMemory memory;
  EXPECT_EQ(memory.Read(0)->context_bytes, CudaDeviceMemory::kContextBoundBytes);
  fake_.Update(0, [](FakeDevice& d) { d.engines_bytes = 0; });
  EXPECT_EQ(memory.Read(0)->context_bytes, MiB(500));

  CudaDeviceMemory own_bound(MiB(300));
  EXPECT_EQ(own_bound.Read(0)->context_bytes, MiB(300));
}

TEST_F(CudaDeviceMemoryTest, ALostDeviceFailsAloneAndMayComeBack) {
  TwoDevices();
  CudaDeviceMemory memory;
  ASSERT_TRUE(memory.Read(0).ok());
  fake_.Update(0, [](FakeDevice& d) { d.error = cudaErrorUnknown; });
  for (int i = 0; i < 3; ++i) {
    const absl::Status lost = memory.Read(0).status();
    EXPECT_EQ(lost.code(), absl::StatusCode::kUnavailable);
    EXPECT_THAT(
        std::string(lost.message()),
        AllOf(HasSubstr("device 0 GPU-abab"), HasSubstr("cudaMemGetInfo: cudaErrorUnknown"), HasSubstr("nvidia-smi")));
    EXPECT_EQ(memory.Read(1)->free_bytes, GiB(24) - MiB(200));  // not blamed for device 0
  }
  EXPECT_EQ(memory.devices().size(), 2u);
  fake_.Update(0, [](FakeDevice& d) { d.error = cudaSuccess; });
  EXPECT_TRUE(memory.Read(0).ok());
}

TEST_F(CudaDeviceMemoryTest, ErrorsOfOpeningTheContextSayWhatToDo) {
  TwoDevices();
  CudaDeviceMemory memory;
  fake_.Update(0, [](FakeDevice& d) { d.set_error = cudaErrorMemoryAllocation; });
  fake_.Update(1, [](FakeDevice& d) { d.set_error = cudaErrorDevicesUnavailable; });
  EXPECT_THAT(
      std::string(memory.Read(0).status().message()),
      AllOf(HasSubstr("cudaSetDevice: cudaErrorMemoryAllocation"), HasSubstr("start vramgate before the engines")));
  EXPECT_THAT(std::string(memory.Read(1).status().message()),
              AllOf(HasSubstr("cudaErrorDevicesUnavailable"), HasSubstr("compute mode")));
}

TEST_F(CudaDeviceMemoryTest, AReadingThatCannotBeIsRefused) {
  TwoDevices();
  CudaDeviceMemory memory;
  fake_.Update(0, [](FakeDevice& d) { d.extra_free_bytes = GiB(1); });
  EXPECT_EQ(memory.Read(0).status().code(), absl::StatusCode::kUnavailable);
  fake_.Update(1, [](FakeDevice& d) { d.total_bytes = 0; });
  EXPECT_EQ(memory.Read(1).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(memory.Read(2).status().code(), absl::StatusCode::kOutOfRange);
}

TEST_F(CudaDeviceMemoryTest, ADeviceNameIsShownEscaped) {
  fake_.Reset({{.name = "evil\n\x1b[2J", .total_bytes = GiB(1)}});
  CudaDeviceMemory memory;
  EXPECT_THAT(memory.devices()[0].name, AllOf(StartsWith("evil"), Not(HasSubstr("\n")), Not(HasSubstr("\x1b"))));
}

TEST_F(CudaDeviceMemoryTest, AFullPreallocatedPoolLeavesCapacityUnchanged) {
  TwoDevices();
  CudaDeviceMemory memory;
  const DeviceLedger ledger{.fixed_bytes = GiB(55)};  // 15 GiB weights and overhead, a pool of 40 GiB
  const Capacity before = CapacityOf(*memory.Read(0), ledger, GiB(1));
  fake_.Update(0, [](FakeDevice& d) { d.engines_bytes = GiB(55); });
  const Capacity after = CapacityOf(*memory.Read(0), ledger, GiB(1));
  EXPECT_EQ(before.capacity_bytes, GiB(79) - MiB(500));
  EXPECT_EQ(after.capacity_bytes, before.capacity_bytes);
  EXPECT_EQ(after.foreign_bytes, 0);
}

TEST_F(CudaDeviceMemoryTest, AForeignAllocationTakesItsBytesOff) {
  TwoDevices();
  CudaDeviceMemory memory;
  const DeviceLedger ledger{.fixed_bytes = GiB(55)};
  ASSERT_TRUE(memory.Read(0).ok());
  fake_.Update(0, [](FakeDevice& d) { d.engines_bytes = GiB(55); });
  const Capacity before = CapacityOf(*memory.Read(0), ledger, GiB(1));
  fake_.Update(0, [](FakeDevice& d) { d.foreign_bytes = GiB(10); });
  const Capacity after = CapacityOf(*memory.Read(0), ledger, GiB(1));
  EXPECT_EQ(after.capacity_bytes, before.capacity_bytes - GiB(10));
  EXPECT_EQ(after.foreign_bytes, GiB(10));
}

// For ThreadSanitizer: a thread a device, as the server polls, while the memory in use moves.
TEST_F(CudaDeviceMemoryTest, ThreadsReadTheirOwnDevice) {
  TwoDevices();
  CudaDeviceMemory memory;
  std::vector<std::thread> threads;
  std::vector<int> wrong(4, 0);
  for (size_t t = 0; t < wrong.size(); ++t) {
    threads.emplace_back([&, t] {
      const size_t index = t % 2;
      for (int i = 0; i < 500; ++i) {
        fake_.Update(index, [i](FakeDevice& d) { d.engines_bytes = GiB(i % 8); });
        const absl::StatusOr<MemoryReading> reading = memory.Read(index);
        if (!reading.ok() || reading->total_bytes != (index == 0 ? GiB(80) : GiB(24))) ++wrong[t];
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(wrong, ::testing::Each(0));
  EXPECT_EQ(memory.Read(0)->context_bytes, MiB(500));
}

}  // namespace
}  // namespace vramgate
