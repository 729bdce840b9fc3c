#include "gpu/capacity.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <random>

namespace vramgate {
namespace {

constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
constexpr int64_t kMin = std::numeric_limits<int64_t>::min();

constexpr int64_t MiB(int64_t n) {
  return n << 20;
}
constexpr int64_t GiB(int64_t n) {
  return n << 30;
}

// A device of 80 GiB with a context of 500 MiB, and `used_bytes` beside it.
MemoryReading Reading(int64_t used_bytes) {
  return {.total_bytes = GiB(80), .free_bytes = GiB(80) - MiB(500) - used_bytes, .context_bytes = MiB(500)};
}

TEST(CapacityTest, HeadroomAndContextAreNeverGivenOut) {
  const Capacity c = CapacityOf(Reading(0), {}, GiB(2));
  EXPECT_EQ(c.capacity_bytes, GiB(78) - MiB(500));
  EXPECT_EQ(c.total_bytes, GiB(80));
  EXPECT_EQ(c.used_bytes, MiB(500));
  EXPECT_EQ(c.context_bytes, MiB(500));
  EXPECT_EQ(c.foreign_bytes, 0);
}

TEST(CapacityTest, AFullPreallocatedPoolIsNoForeignUse) {
  const DeviceLedger ledger{.fixed_bytes = GiB(55)};
  const Capacity loaded = CapacityOf(Reading(GiB(55)), ledger, GiB(1));
  EXPECT_EQ(loaded.foreign_bytes, 0);
  EXPECT_EQ(loaded.capacity_bytes, CapacityOf(Reading(0), ledger, GiB(1)).capacity_bytes);
}

TEST(CapacityTest, AForeignAllocationBesideAPreallocatedPoolIsSeenWhole) {
  const DeviceLedger ledger{.fixed_bytes = GiB(55)};
  const int64_t before = CapacityOf(Reading(GiB(55)), ledger, GiB(1)).capacity_bytes;
  const Capacity after = CapacityOf(Reading(GiB(65)), ledger, GiB(1));
  EXPECT_EQ(after.foreign_bytes, GiB(10));
  EXPECT_EQ(after.capacity_bytes, before - GiB(10));
}

TEST(CapacityTest, AForeignAllocationBesideAnIdleDynamicPoolIsSeenWhole) {
  // The engine had 20 GiB at its peak, has returned all requests, and its allocator keeps what it had.
  const DeviceLedger ledger{.fixed_bytes = GiB(15), .dynamic_reserved_bytes = 0, .dynamic_high_water_bytes = GiB(20)};
  EXPECT_EQ(CapacityOf(Reading(GiB(35)), ledger, 0).foreign_bytes, 0);
  EXPECT_EQ(CapacityOf(Reading(GiB(45)), ledger, 0).foreign_bytes, GiB(10));
  // Never used at all.
  EXPECT_EQ(CapacityOf(Reading(GiB(25)), {.fixed_bytes = GiB(15)}, 0).foreign_bytes, GiB(10));
}

TEST(CapacityTest, BesideABusyDynamicPoolOnlyTheExcessIsSeen) {
  // 30 GiB are reserved, 12 GiB of them in use so far.
  const DeviceLedger ledger{
      .fixed_bytes = GiB(15), .dynamic_reserved_bytes = GiB(30), .dynamic_high_water_bytes = GiB(25)};
  EXPECT_EQ(CapacityOf(Reading(GiB(27)), ledger, 0).foreign_bytes, 0);
  EXPECT_EQ(CapacityOf(Reading(GiB(27) + GiB(10)), ledger, 0).foreign_bytes, 0);  // hidden by what may still be used
  EXPECT_EQ(CapacityOf(Reading(GiB(27) + GiB(28)), ledger, 0).foreign_bytes, GiB(10));
}

TEST(CapacityTest, AGrantDoesNotChangeCapacity) {
  // Were reservations counted as foreign use, each grant would lower the budget of the next.
  for (int64_t reserved = 0; reserved <= GiB(30); reserved += GiB(1)) {
    const DeviceLedger ledger{
        .fixed_bytes = GiB(15), .dynamic_reserved_bytes = reserved, .dynamic_high_water_bytes = GiB(30)};
    EXPECT_EQ(CapacityOf(Reading(GiB(15) + reserved), ledger, GiB(1)).capacity_bytes, GiB(79) - MiB(500));
  }
}

TEST(CapacityTest, AnUnusedSimulatedDeviceHasAllButItsHeadroom) {
  const MemoryReading idle{.total_bytes = GiB(80), .free_bytes = GiB(80)};
  const DeviceLedger ledger{.fixed_bytes = GiB(55), .dynamic_reserved_bytes = GiB(5)};
  EXPECT_EQ(CapacityOf(idle, ledger, GiB(1)).capacity_bytes, GiB(79));
}

TEST(CapacityTest, MoreHeadroomThanMemoryLeavesNothing) {
  EXPECT_EQ(CapacityOf(Reading(0), {}, GiB(81)).capacity_bytes, 0);
  EXPECT_EQ(CapacityOf(Reading(0), {}, kMax).capacity_bytes, 0);
  EXPECT_EQ(CapacityOf({}, {}, 0).capacity_bytes, 0);
}

// Whatever comes in, what goes out is bounded. VRAMGATE_TEST_SEED replays a run.
TEST(CapacityTest, IsBoundedForAnyInput) {
  const char* given = std::getenv("VRAMGATE_TEST_SEED");
  const uint64_t seed = given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device()();
  SCOPED_TRACE(testing::Message() << "VRAMGATE_TEST_SEED=" << seed);
  std::printf("VRAMGATE_TEST_SEED=%llu\n", static_cast<unsigned long long>(seed));
  std::mt19937_64 random(seed);
  const auto any = [&]() -> int64_t {
    switch (random() % 6) {
      case 0:
        return kMin;
      case 1:
        return kMax;
      case 2:
        return -static_cast<int64_t>(random() % 1000);
      case 3:
        return static_cast<int64_t>(random());
      case 4:
        return 0;
      default:
        return static_cast<int64_t>(random() % static_cast<uint64_t>(GiB(160)));
    }
  };
  for (int i = 0; i < 200'000 && !HasFailure(); ++i) {
    const MemoryReading reading{.total_bytes = any(), .free_bytes = any(), .context_bytes = any()};
    const DeviceLedger ledger{.fixed_bytes = any(), .dynamic_reserved_bytes = any(), .dynamic_high_water_bytes = any()};
    const int64_t headroom_bytes = any();
    const Capacity c = CapacityOf(reading, ledger, headroom_bytes);
    ASSERT_GE(c.capacity_bytes, 0) << i;
    ASSERT_LE(c.capacity_bytes, c.total_bytes) << i;
    ASSERT_GE(c.foreign_bytes, 0) << i;
    ASSERT_LE(c.foreign_bytes, c.used_bytes) << i;
    ASSERT_LE(c.used_bytes, c.total_bytes) << i;
    // What the ledger explains can only raise capacity, more in use can only lower it.
    DeviceLedger more = ledger;
    more.fixed_bytes = kMax;
    ASSERT_GE(CapacityOf(reading, more, headroom_bytes).capacity_bytes, c.capacity_bytes) << i;
    MemoryReading full = reading;
    full.free_bytes = 0;
    ASSERT_LE(CapacityOf(full, ledger, headroom_bytes).capacity_bytes, c.capacity_bytes) << i;
  }
}

TEST(ReadingAgeTest, GrowsStaleAfterItsLimit) {
  const ReadingAge fresh = AgeOf(1'000, 11'000, 10'000);
  EXPECT_EQ(fresh.age_ns, 10'000);
  EXPECT_FALSE(fresh.stale);
  EXPECT_TRUE(AgeOf(1'000, 11'001, 10'000).stale);
}

TEST(ReadingAgeTest, NeverReadIsStaleAndHasNoAge) {
  const ReadingAge never = AgeOf(std::nullopt, 5, kMax);
  EXPECT_TRUE(never.stale);
  EXPECT_EQ(never.age_ns, std::nullopt);
}

TEST(ReadingAgeTest, IsBoundedForAnyTime) {
  EXPECT_EQ(AgeOf(10, 5, 0).age_ns, 0);
  EXPECT_FALSE(AgeOf(10, 5, -1).stale);
  EXPECT_EQ(AgeOf(kMin, kMax, 0).age_ns, kMax);
  EXPECT_TRUE(AgeOf(kMin, kMax, kMax - 1).stale);
  EXPECT_EQ(AgeOf(kMax, kMin, 0).age_ns, 0);
}

}  // namespace
}  // namespace vramgate
