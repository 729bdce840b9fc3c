#include "gpu/simulated_device_memory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <thread>
#include <vector>

#include "gpu/capacity.h"

namespace vramgate {
namespace {

using ::testing::HasSubstr;

constexpr int64_t GiB(int64_t n) {
  return n << 30;
}

TEST(SimulatedDeviceMemoryTest, IsAllFreeUntilToldOtherwise) {
  SimulatedDeviceMemory memory({GiB(80), GiB(24)});
  ASSERT_EQ(memory.devices().size(), 2u);
  EXPECT_EQ(memory.description(), "2 simulated devices");
  EXPECT_EQ(memory.devices()[1].total_bytes, GiB(24));
  EXPECT_EQ(FindDevice(memory, "1").value_or(99), 1u);
  EXPECT_EQ(memory.Read(0)->free_bytes, GiB(80));
  EXPECT_EQ(memory.Read(0)->context_bytes, 0);
  EXPECT_EQ(memory.Read(2).status().code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(SimulatedDeviceMemory({}).description(), "no devices: none is simulated");
}

TEST(SimulatedDeviceMemoryTest, ShowsWhatATestSets) {
  SimulatedDeviceMemory memory({GiB(80), GiB(24)});
  memory.SetEngines(0, GiB(55));
  memory.SetForeign(0, GiB(10));
  EXPECT_EQ(memory.Read(0)->free_bytes, GiB(15));
  EXPECT_EQ(memory.Read(1)->free_bytes, GiB(24));
  memory.SetTotal(0, GiB(70));
  EXPECT_EQ(memory.Read(0)->total_bytes, GiB(70));
  EXPECT_EQ(memory.Read(0)->free_bytes, GiB(5));
}

TEST(SimulatedDeviceMemoryTest, AForeignAllocationComesOffTheCapacityAndGoesAgain) {
  SimulatedDeviceMemory memory({GiB(80)});
  const DeviceLedger ledger{.fixed_bytes = GiB(55)};
  EXPECT_EQ(CapacityOf(*memory.Read(0), ledger, GiB(1)).capacity_bytes, GiB(79));
  memory.SetEngines(0, GiB(55));
  EXPECT_EQ(CapacityOf(*memory.Read(0), ledger, GiB(1)).capacity_bytes, GiB(79));
  memory.SetForeign(0, GiB(10));
  EXPECT_EQ(CapacityOf(*memory.Read(0), ledger, GiB(1)).capacity_bytes, GiB(69));
  memory.SetForeign(0, 0);
  EXPECT_EQ(CapacityOf(*memory.Read(0), ledger, GiB(1)).capacity_bytes, GiB(79));
}

TEST(SimulatedDeviceMemoryTest, FailsAndRecovers) {
  SimulatedDeviceMemory memory({GiB(80), GiB(24)});
  memory.Fail(0, "pulled out");
  EXPECT_EQ(memory.Read(0).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(memory.Read(0).status().message()), HasSubstr("pulled out"));
  EXPECT_TRUE(memory.Read(1).ok());
  memory.Recover(0);
  EXPECT_EQ(memory.Read(0)->free_bytes, GiB(80));
}

TEST(SimulatedDeviceMemoryTest, ImpossibleSizesAreBounded) {
  constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
  constexpr int64_t kMin = std::numeric_limits<int64_t>::min();
  SimulatedDeviceMemory memory({kMin, kMax});
  EXPECT_EQ(memory.Read(0)->total_bytes, 0);
  memory.SetEngines(1, kMax);
  memory.SetForeign(1, kMax);
  EXPECT_EQ(memory.Read(1)->free_bytes, 0);
  memory.SetEngines(1, kMin);
  memory.SetForeign(1, kMin);
  EXPECT_EQ(memory.Read(1)->free_bytes, kMax);
  memory.SetForeign(7, 1);  // no such device
  memory.Fail(7, "no such device");
  memory.Recover(7);
}

// For ThreadSanitizer: a test sets while the server polls.
TEST(SimulatedDeviceMemoryTest, IsReadWhileItChanges) {
  SimulatedDeviceMemory memory({GiB(80)});
  std::thread writer([&] {
    for (int i = 0; i < 2000; ++i) {
      memory.SetForeign(0, GiB(i % 80));
      memory.Fail(0, "for a moment");
      memory.Recover(0);
    }
  });
  for (int i = 0; i < 2000; ++i) {
    const absl::StatusOr<MemoryReading> reading = memory.Read(0);
    if (reading.ok()) {
      EXPECT_LE(reading->free_bytes, reading->total_bytes);
      EXPECT_GT(reading->free_bytes, 0);
    }
  }
  writer.join();
}

}  // namespace
}  // namespace vramgate
