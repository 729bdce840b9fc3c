// Devices and the threads that read them, over a fake CUDA runtime.
#include "admission/server/devices.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "absl/time/clock.h"
#include "admission/server/background.h"
#include "admission/server/model_table.h"
#include "tests/admission/server/parts.h"
#include "tests/gpu/fake_cudart.h"

namespace vramgate {
namespace {

using ::testing::HasSubstr;

std::string Yaml(std::string_view devices) {
  return absl::StrCat("devices:\n", std::string(devices), R"(models:
  - name: m
    shape: {parameters: 1000000, layers: 1, heads: 1, hidden: 64}
    kv_bytes_per_token: 1MiB
    max_model_len: 100000
    instances:
      - {name: a, devices: ["0"], pool: dynamic}
)");
}
std::string OpenError(const std::string& yaml) {
  return std::string(Devices::Open(Loaded(yaml)).status().message());
}

class DevicesTest : public testing::Test {
 protected:
  DevicesTest() {
    FakeCudart::Get().Reset({{.name = "NVIDIA H200",
                              .pci_bus_id = "0000:C1:00.0",
                              .uuid_byte = 0xab,
                              .total_bytes = 80 * kGiB,
                              .context_bytes = 500 * kMiB},
                             {.pci_bus_id = "0000:0A:00.0", .uuid_byte = 0x01, .total_bytes = 24 * kGiB}});
  }
};

TEST_F(DevicesTest, ABudgetIsWhatIsLeftOfHeadroomAndContext) {
  const auto devices = Devices::Open(Loaded(Yaml("  - {id: \"0\", headroom: 2GiB}\n  - {id: \"1\"}\n")));
  ASSERT_TRUE(devices.ok()) << devices.status();
  EXPECT_EQ((*devices)->budgets(), (std::vector<int64_t>{78 * kGiB - 500 * kMiB, 23 * kGiB}));
  EXPECT_THAT((*devices)->Describe(0), AllOf(HasSubstr("NVIDIA H200"), HasSubstr("80GiB"), HasSubstr("500MiB")));
}

TEST_F(DevicesTest, ASimulatedDeviceSaysSoAndOpensNoContext) {
  const auto devices = Devices::Open(Loaded(Yaml("  - {id: \"0\", simulated: {total: 80GiB}}\n")));
  ASSERT_TRUE(devices.ok()) << devices.status();
  EXPECT_EQ((*devices)->budgets(), std::vector<int64_t>{79 * kGiB});
  EXPECT_THAT((*devices)->Describe(0), HasSubstr("SIMULATED"));
  EXPECT_FALSE(FakeCudart::Get().device(0).context_open);
}

TEST_F(DevicesTest, AnUnknownDeviceIsAnErrorWithItsPlace) {
  EXPECT_THAT(OpenError(Yaml("  - {id: \"0\"}\n  - {id: \"7\"}\n")),
              AllOf(HasSubstr("test.yaml:3: devices[1].id: \"7\""), HasSubstr("simulated: {total: 80GiB}")));
  FakeCudart::Get().Reset({}, cudaErrorInsufficientDriver, 0);
  EXPECT_THAT(OpenError(Yaml("  - {id: \"0\"}\n")), HasSubstr("no NVIDIA driver is loaded"));
}

// Two accounts of one device would give it out twice.
TEST_F(DevicesTest, ADeviceUnderTwoNamesIsAnError) {
  EXPECT_THAT(OpenError(Yaml("  - {id: \"0\"}\n  - {id: \"0000:C1:00.0\"}\n")),
              HasSubstr("test.yaml:3: devices[1].id: \"0000:C1:00.0\": is the same device as \"0\": list it once"));
  EXPECT_TRUE(Devices::Open(Loaded(Yaml("  - {id: \"0\"}\n  - {id: \"0000:0A:00.0\"}\n"))).ok());
}

TEST_F(DevicesTest, AReadingTakesForeignUseOff) {
  const auto devices = Devices::Open(Loaded(Yaml("  - {id: \"0\"}\n")));
  ASSERT_TRUE(devices.ok());
  const DeviceLedger ledger{.fixed_bytes = 20 * kGiB};
  FakeCudart::Get().Update(0, [](FakeDevice& d) { d.engines_bytes = 20 * kGiB; });
  const auto before = (*devices)->Read(0, ledger, Instant{5});
  ASSERT_TRUE(before.ok());
  EXPECT_EQ(before->foreign_bytes, 0);
  EXPECT_EQ(before->context_bytes, 500 * kMiB);
  EXPECT_EQ(before->read_at, Instant{5});
  FakeCudart::Get().Update(0, [](FakeDevice& d) { d.foreign_bytes = 10 * kGiB; });
  const auto after = (*devices)->Read(0, ledger, Instant{6});
  ASSERT_TRUE(after.ok());
  EXPECT_EQ(after->foreign_bytes, 10 * kGiB);
  EXPECT_EQ(after->capacity_bytes, before->capacity_bytes - 10 * kGiB);
  EXPECT_EQ(after->ceiling_bytes, before->ceiling_bytes) << "what may become free again";
  FakeCudart::Get().Update(0, [](FakeDevice& d) { d.error = cudaErrorUnknown; });
  EXPECT_FALSE((*devices)->Read(0, ledger, Instant{7}).ok());
}

// In real time: a device that cannot be read goes stale, and comes back with its next reading.
TEST_F(DevicesTest, ADeviceThatCannotBeReadGetsNoGrantsUntilItCan) {
  const LoadedConfig loaded = Loaded(Yaml("  - {id: \"0\", poll_interval: 10ms, stale_after: 50ms}\n"));
  const auto devices = Devices::Open(loaded);
  ASSERT_TRUE(devices.ok());
  const auto models = ModelTable::Load(loaded);
  ASSERT_TRUE(models.ok());
  const BootClock clock;
  Controller controller(MakeGateConfig(loaded.config, *models, (*devices)->budgets()), clock, nullptr);
  Mutex mutex;
  std::vector<std::string> said;
  Background background(controller, **devices, [&](bool, std::string_view line) {
    MutexLock lock(mutex);
    said.emplace_back(line);
  });
  const auto becomes = [&](bool stale) {
    const absl::Time until = absl::Now() + absl::Seconds(60);
    while (controller.GetAccount(AccountId{0}).stale != stale) {
      if (absl::Now() > until) return false;
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    return true;
  };
  const auto admit = [&] {
    Request request{.max_wait = absl::ZeroDuration()};
    request.costs[0].kv_bytes = kGiB;
    const Controller::Answer answer = controller.Admit(request, nullptr);
    if (answer.decision.outcome == Outcome::kGranted) controller.End(answer.lease, Gate::EndKind::kCompleted);
    return answer.decision.outcome;
  };
  EXPECT_EQ(admit(), Outcome::kGranted);
  FakeCudart::Get().Update(0, [](FakeDevice& d) { d.error = cudaErrorUnknown; });
  EXPECT_TRUE(becomes(true));
  EXPECT_EQ(admit(), Outcome::kRejectedTelemetryStale);
  FakeCudart::Get().Update(0, [](FakeDevice& d) { d.error = cudaSuccess; });
  EXPECT_TRUE(becomes(false));
  EXPECT_EQ(admit(), Outcome::kGranted);
  background.Stop();
  EXPECT_EQ(said.size(), 3u) << "it fails, it is stale, it is read again: each said once";
}

}  // namespace
}  // namespace vramgate
