// Loading and unloading instances: fixed bytes as an admission.
#include <gtest/gtest.h>

#include <numeric>
#include <string>
#include <vector>

#include "tests/admission/gate/gate_fixture.h"

namespace vramgate {
namespace {

constexpr InstanceId kFirst{0};
constexpr InstanceId kSecond{1};

// Two models on a device of 100 bytes: "m" takes 60 and has the rest dynamic, "n" takes 30 and a pool of 20. Only "m"
// is loaded.
GateConfig TwoModels() {
  GateConfig config = OneDevice(100);
  config.models[0].instances[0].fixed_bytes = 60;
  config.models.push_back({"n", {{.name = "a", .devices = {0}, .fixed_bytes = 30, .pool_bytes = 20, .loaded = false}}});
  return config;
}

class GateLoadsTest : public testing::Test {
 protected:
  void SetUp() override { gate_.Start(At(0), effects_); }
  Gate::LoadAnswer Load(InstanceId id) {
    const Gate::LoadAnswer answer = gate_.Load(id, At(1), effects_);
    gate_.CheckInvariants();
    return answer;
  }
  int64_t Unload(InstanceId id) {
    const int64_t leases = gate_.Unload(id, At(1), effects_);
    gate_.CheckInvariants();
    return leases;
  }
  LeaseRef Admit(std::string_view id, int64_t bytes, int model) {
    return gate_.Admit(Ask(id, bytes, model), At(1), effects_).lease;
  }
  Outcome last() const { return effects_.decisions.back().outcome; }
  const Account& device() const { return gate_.budget().account(AccountId{0}); }

  Gate gate_{TwoModels()};
  Effects effects_;
};

TEST_F(GateLoadsTest, WhatDoesNotFitIsNotLoadedAndChargesNothing) {
  const Gate::LoadAnswer answer = Load(kSecond);
  EXPECT_FALSE(answer.loaded);
  EXPECT_TRUE(answer.ever);
  EXPECT_EQ(answer.lacking, AccountId{0});
  EXPECT_EQ(answer.missing_bytes, 10);
  EXPECT_EQ(device().fixed_bytes, 60);
  (void)Admit("r", 10, 1);
  EXPECT_EQ(last(), Outcome::kRejectedModelNotLoaded);
  EXPECT_EQ(gate_.leases(), 0);
}

TEST_F(GateLoadsTest, AnUnloadFreesNothingBeforeItsLastLeaseHasEnded) {
  const LeaseRef held = Admit("held", 30, 0);
  const LeaseRef waits = Admit("waits", 30, 0);
  EXPECT_EQ(Unload(kFirst), 1);
  EXPECT_EQ(last(), Outcome::kRejectedModelNotLoaded) << "who waits for it waits in vain";
  EXPECT_EQ(gate_.Find(waits.id), nullptr);
  EXPECT_EQ(device().fixed_bytes, 60);
  EXPECT_FALSE(Load(kSecond).loaded);
  (void)Admit("late", 10, 0);
  EXPECT_EQ(last(), Outcome::kRejectedModelNotLoaded);
  gate_.End(held, Gate::EndKind::kCompleted, At(2), effects_);
  gate_.CheckInvariants();
  EXPECT_EQ(device().fixed_bytes, 0);
  EXPECT_EQ(gate_.Load(kSecond, At(2), effects_).fixed_bytes, 50);
  EXPECT_EQ(device().fixed_bytes, 50);
  gate_.Admit(Ask("r", 20, 1), At(2), effects_);
  EXPECT_EQ(last(), Outcome::kGranted);
}

TEST_F(GateLoadsTest, BothAreIdempotentAndAnUnloadCanBeTakenBack) {
  EXPECT_TRUE(Load(kFirst).loaded);
  EXPECT_EQ(device().fixed_bytes, 60);
  const LeaseRef held = Admit("held", 30, 0);
  EXPECT_EQ(Unload(kFirst), 1);
  EXPECT_EQ(Unload(kFirst), 1);
  EXPECT_TRUE(Load(kFirst).loaded);
  gate_.End(held, Gate::EndKind::kCompleted, At(2), effects_);
  EXPECT_EQ(device().fixed_bytes, 60) << "it is loaded again";
  EXPECT_EQ(gate_.Unload(kFirst, At(2), effects_), 0);
  EXPECT_EQ(gate_.Unload(kFirst, At(2), effects_), 0);
  EXPECT_EQ(device().fixed_bytes, 0);
}

// The rows of the ledger add up to what the device says.
TEST_F(GateLoadsTest, EveryChangeOfFixedBytesHasItsRow) {
  Unload(kFirst);
  ASSERT_TRUE(Load(kSecond).loaded);
  Unload(kSecond);
  ASSERT_TRUE(Load(kFirst).loaded);
  int64_t sum = 0;
  int rows = 0;
  for (const LedgerRow& row : effects_.rows) {
    if (row.account != AccountId{0}) continue;
    sum += row.delta_bytes;
    EXPECT_EQ(row.used_bytes, sum);
    rows += row.event == LedgerEvent::kFixed;
  }
  EXPECT_EQ(rows, 5);
  EXPECT_EQ(sum, 60);
}

// Where one of two instances is loaded, a wait is as long as that one makes it.
TEST(GateUnloadedTest, AnInstanceThatIsNotLoadedShortensNoEstimate) {
  constexpr int64_t kBlock = 1000;
  GateConfig config = OneDevice(100 * kBlock);
  ModelSpec& model = config.models[0];
  model.instances[0].pool_bytes = 30 * kBlock;
  model.instances.push_back({.name = "b", .devices = {0}, .pool_bytes = 30 * kBlock, .loaded = false});
  model.assurance.level = Assurance::kLockstep;
  model.assurance.typical_output_tokens = 400;
  model.assurance.steps_per_s = 50;
  model.assurance.block_bytes.assign(kMaxPriceClasses, kBlock);
  Gate gate(config);
  Effects out;
  gate.Start(At(0), out);
  const auto admit = [&](std::string_view id) {
    Request request = Ask(id, 26 * kBlock);
    request.start_costs.fill({.kv_bytes = kBlock});
    request.prompt_tokens = 16;
    request.max_output_tokens = 400;
    return gate.Admit(request, At(0), out);
  };
  EXPECT_FALSE(admit("holds").waiting);
  const Gate::Admission waits = admit("waits");
  ASSERT_TRUE(waits.waiting);
  const std::optional<absl::Duration> told = gate.Position(waits.lease, At(0)).estimated_wait;
  ASSERT_TRUE(told.has_value());
  EXPECT_GT(*told, absl::Seconds(3)) << "until the holder's end at the latest: 400 steps";
}

TEST_F(GateLoadsTest, WhatNoCardHoldsIsSaidSo) {
  GateConfig config = TwoModels();
  config.models[1].instances[0].fixed_bytes = 90;
  Gate gate(config);
  Effects out;
  gate.Start(At(0), out);
  gate.Unload(kFirst, At(1), out);
  EXPECT_FALSE(gate.Load(kSecond, At(1), out).ever);
}

}  // namespace
}  // namespace vramgate
