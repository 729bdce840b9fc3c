// FindDevice: how a config names a device.
#include "gpu/device_memory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

namespace vramgate {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class ListedDevices final : public DeviceMemory {
 public:
  explicit ListedDevices(std::vector<DeviceInfo> devices) : devices_(std::move(devices)) {}
  const std::vector<DeviceInfo>& devices() const override { return devices_; }
  std::string_view description() const override { return "no devices: none is listed"; }
  absl::StatusOr<MemoryReading> Read(size_t) override { return absl::UnavailableError("only a list"); }

 private:
  std::vector<DeviceInfo> devices_;
};

ListedDevices Two() {
  return ListedDevices(
      {{0, "NVIDIA H200", "0000:65:00.0", "GPU-5f2a9a1e-0000-1111-2222-333344445555", int64_t{80} << 30},
       {1, "NVIDIA L4", "0001:0a:00.0", "GPU-00000000-0000-0000-0000-000000000001", int64_t{24} << 30}});
}

TEST(FindDeviceTest, AnyOfItsThreeNamesInAnyCaseFindsADevice) {
  const ListedDevices memory = Two();
  for (const char* id : {"0", "00", "0000:65:00.0", "00000000:65:00.0", "GPU-5f2a9a1e-0000-1111-2222-333344445555",
                         "gpu-5F2A9A1E-0000-1111-2222-333344445555", "MIG-5f2a9a1e-0000-1111-2222-333344445555"}) {
    EXPECT_EQ(FindDevice(memory, id).value_or(99), 0u) << id;
  }
  for (const char* id : {"1", "0001:0A:00.0", "0001:0a:00.0", "GPU-00000000-0000-0000-0000-000000000001"}) {
    EXPECT_EQ(FindDevice(memory, id).value_or(99), 1u) << id;
  }
}

TEST(FindDeviceTest, AnUnknownNameListsWhatExists) {
  const ListedDevices memory = Two();
  for (const char* id : {"2", "999999999", "0000:66:00.0", "0001:65:00.0", "0000:65:01.0", "0000:65:00.1",
                         "GPU-5f2a9a1e-0000-1111-2222-333344445556"}) {
    const absl::Status status = FindDevice(memory, id).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kNotFound) << id;
    EXPECT_THAT(std::string(status.message()),
                AllOf(HasSubstr(std::string("\"") + id + "\""), HasSubstr("\"0\" or \"0000:65:00.0\" or \"GPU-5f2a"),
                      HasSubstr("(NVIDIA H200, 80.00GiB); \"1\" or")));
  }
}

TEST(FindDeviceTest, WhatIsNoNameIsRefused) {
  const ListedDevices memory = Two();
  for (const char* id :
       {"", " 0", "0 ", "-1", "+1", "1e0", "0x0", "9999999999", "cuda:0", "65:00.0", "0000:65:00", "0000:65:00.0 ",
        "0000:165:00.0", "000000000:65:00.0", "GPU-", "GPU-5f2a9a1e", "5f2a9a1e-0000-1111-2222-333344445555",
        "GPU-5f2a9a1e-0000-1111-2222-33334444555g", "GPU-5f2a9a1e00000-1111-2222-333344445555"}) {
    EXPECT_EQ(FindDevice(memory, id).status().code(), absl::StatusCode::kInvalidArgument) << "'" << id << "'";
  }
}

TEST(FindDeviceTest, AHostileNameIsCutAndEscapedInTheError) {
  const std::string id = "\n\x1b" + std::string(1'000'000, 'x');
  const std::string message(FindDevice(Two(), id).status().message());
  EXPECT_LT(message.size(), 1000u);
  EXPECT_THAT(message, AllOf(Not(HasSubstr("\n")), Not(HasSubstr("\x1b")), HasSubstr("\"\\n")));
}

TEST(FindDeviceTest, TwoSlicesOfOneDeviceShareABusIdAndAreToldApartByUuid) {
  const ListedDevices memory({{0, "slice", "0000:65:00.0", "GPU-00000000-0000-0000-0000-000000000001", 1},
                              {1, "slice", "0000:65:00.0", "GPU-00000000-0000-0000-0000-000000000002", 1}});
  const absl::Status status = FindDevice(memory, "0000:65:00.0").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("more than one device"));
  EXPECT_EQ(FindDevice(memory, "MIG-00000000-0000-0000-0000-000000000002").value_or(99), 1u);
}

TEST(FindDeviceTest, WithoutDevicesTheErrorSaysWhy) {
  EXPECT_THAT(std::string(FindDevice(ListedDevices({}), "0").status().message()),
              HasSubstr("no devices: none is listed"));
}

TEST(FindDeviceTest, ADeviceWithoutUuidOrBusIdIsNotFoundByThem) {
  const ListedDevices memory({{0, "unknown device", "", "", 0}});
  EXPECT_EQ(FindDevice(memory, "0").value_or(99), 0u);
  EXPECT_EQ(FindDevice(memory, "0000:00:00.0").status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace vramgate
