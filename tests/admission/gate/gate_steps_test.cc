// Grants before use: the gate at the levels above worst_case.
#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "tests/admission/gate/gate_fixture.h"

namespace vramgate {
namespace {

constexpr int64_t kBlock = 1000;

int64_t Blocks(int64_t tokens) {
  return (tokens + 15) / 16 * kBlock;
}

// One instance with a pool of so many blocks.
GateConfig Pool(Assurance level, int64_t blocks) {
  GateConfig config = OneDevice(blocks * kBlock);
  config.models[0].instances[0].pool_bytes = blocks * kBlock;
  config.models[0].assurance.level = level;
  config.models[0].assurance.block_bytes = {kBlock, kBlock, kBlock, kBlock};
  return config;
}

Request Generate(std::string_view id, int64_t prompt, int64_t most) {
  Request request = Ask(id, Blocks(prompt + most));
  request.start_costs.fill({.kv_bytes = Blocks(prompt)});
  request.prompt_tokens = prompt;
  request.max_output_tokens = most;
  request.revocable = true;
  return request;
}

class GateStepsTest : public testing::Test {
 protected:
  void Make(const GateConfig& config) {
    gate_.emplace(config);
    Effects out;
    gate_->Start(Now(), out);
  }
  LeaseRef Admit(const Request& request) {
    const Gate::Admission admission = gate_->Admit(request, Now(), effects_);
    return admission.lease;
  }
  void Step(std::vector<Gate::StepReport::Ended> ended = {}, std::vector<Gate::StepReport::Emitted> emitted = {}) {
    now_s_ += 0.02;
    gate_->Step(InstanceId{0}, {.steps = 1, .ended = ended, .emitted = emitted}, Now(), effects_);
    gate_->CheckInvariants();
    for (const LedgerRow& row : effects_.rows)
      ASSERT_TRUE(row.delta_bytes <= 0 || row.used_bytes <= row.capacity_bytes);
  }
  int Count(LedgerEvent event) const {
    return static_cast<int>(std::count_if(effects_.rows.begin(), effects_.rows.end(),
                                          [event](const LedgerRow& row) { return row.event == event; }));
  }
  std::vector<Decision> Of(Decision::Kind kind) const {
    std::vector<Decision> out;
    for (const Decision& decision : effects_.decisions) {
      if (decision.kind == kind) out.push_back(decision);
    }
    return out;
  }
  int64_t held(LeaseRef lease) const {
    const Lease* found = gate_->Find(lease.id);
    return found == nullptr ? 0 : found->reservation.charges().bytes(AccountId{1});
  }
  Instant Now() const { return At(now_s_); }

  double now_s_ = 0;
  std::optional<Gate> gate_;
  Effects effects_;
};

TEST_F(GateStepsTest, AReservationGrowsBlockByBlockAndEndsWithTheLease) {
  Make(Pool(Assurance::kLockstep, 100));
  const LeaseRef lease = Admit(Generate("a", 30, 100));
  EXPECT_EQ(held(lease), 2 * kBlock);
  Step({}, {{lease.id, 1}});
  EXPECT_EQ(held(lease), 2 * kBlock) << "31 tokens";
  Step();
  EXPECT_EQ(held(lease), 2 * kBlock);
  Step();
  EXPECT_EQ(held(lease), 3 * kBlock) << "33 tokens";
  for (int i = 0; i < 60; ++i) Step();
  EXPECT_EQ(held(lease), 6 * kBlock) << "93 tokens";
  EXPECT_EQ(Count(LedgerEvent::kExtend), 4);
  Step({{lease, 64}});
  EXPECT_EQ(gate_->budget().account(AccountId{1}).reserved_bytes, 0);
  EXPECT_EQ(gate_->leases(), 0);
}

TEST_F(GateStepsTest, ActivationBeyondTheDeviceIsAnOveruseHereToo) {
  GateConfig config = Pool(Assurance::kLockstep, 100);
  config.devices[0].capacity_bytes = config.devices[0].ceiling_bytes = 100 * kBlock + 15;
  Make(config);
  Request request = Generate("a", 30, 100);
  for (RankCost& cost : request.costs) cost.activation_bytes = 10;
  const LeaseRef lease = Admit(request);
  Costs used{};
  used.fill({.activation_bytes = 20});
  gate_->Progress(lease.id, used, Now(), effects_);
  gate_->CheckInvariants();
  EXPECT_EQ(Count(LedgerEvent::kOveruse), 2) << "a row for each of its accounts";
  EXPECT_EQ(gate_->counts(ModelId{0}).overuses, 1);
  gate_->Progress(lease.id, used, Now(), effects_);
  EXPECT_EQ(gate_->counts(ModelId{0}).overuses, 1) << "said once";
  gate_->End(lease, Gate::EndKind::kCompleted, Now(), effects_);
  gate_->CheckInvariants();
}

TEST_F(GateStepsTest, WhereTheFutureDoesNotFitItWaits) {
  Make(Pool(Assurance::kLockstep, 21));
  const LeaseRef first = Admit(Generate("first", 160, 80));   // 10 blocks now, 15 in the end
  const LeaseRef second = Admit(Generate("second", 80, 40));  // 5 now, 8 in the end: 21 then
  const LeaseRef third = Admit(Generate("third", 32, 30));
  EXPECT_EQ(gate_->Find(first.id)->state, LeaseState::kHeld);
  EXPECT_EQ(gate_->Find(second.id)->state, LeaseState::kHeld) << "though 15 + 8 are more than 21";
  EXPECT_EQ(gate_->Find(third.id)->state, LeaseState::kWaiting);
  Step({{second, 1}}, {{first.id, 1}});
  EXPECT_EQ(gate_->Find(third.id)->state, LeaseState::kHeld);
}

// Outputs have been short, so more are let in than may fit; then all of them go on.
class GiveWayTest : public GateStepsTest {
 protected:
  void FillUp(bool revocable) {
    GateConfig config = Pool(Assurance::kStatistical, 100);
    config.models[0].assurance.risk = 0.1;
    Make(config);
    for (int i = 0; i < 300; ++i) {
      const std::string id = "short" + std::to_string(i);
      const LeaseRef lease = Admit(Generate(id, 16, 400));
      ASSERT_EQ(gate_->Find(lease.id)->state, LeaseState::kHeld);
      Step({{lease, 2}});
    }
    for (int i = 0; i < 40; ++i) {
      const std::string id = "long" + std::to_string(i);
      Request request = Generate(id, 16, 400);
      request.revocable = revocable;
      const LeaseRef lease = Admit(request);
      if (gate_->Find(lease.id)->state == LeaseState::kHeld) leases_.push_back(lease);
    }
    effects_.Clear();
    ASSERT_GT(leases_.size(), 10u);
    std::vector<Gate::StepReport::Emitted> first;
    for (const LeaseRef& lease : leases_) first.push_back({lease.id, 1});
    Step({}, first);
    for (int i = 0; i < 100 && Of(Decision::Kind::kStop).empty() && Count(LedgerEvent::kOveruse) == 0; ++i) Step();
  }
  std::vector<LeaseRef> leases_;
};

TEST_F(GiveWayTest, AHolderIsAskedToStopAndItsBytesGoOnlyOnceItHas) {
  FillUp(true);
  const std::vector<Decision> stops = Of(Decision::Kind::kStop);
  ASSERT_FALSE(stops.empty());
  EXPECT_EQ(stops[0].outcome, Outcome::kRevoked);
  EXPECT_EQ(Count(LedgerEvent::kOveruse), 0);
  const int64_t reserved = gate_->budget().account(AccountId{1}).reserved_bytes;
  EXPECT_EQ(gate_->outlook(InstanceId{0})->control().errors(), 0) << "its window is not over";
  effects_.Clear();
  Step();
  EXPECT_TRUE(Of(Decision::Kind::kStop).empty()) << "one is enough, and was asked";
  EXPECT_EQ(gate_->budget().account(AccountId{1}).reserved_bytes, reserved);
  gate_->RevokeAck(stops[0].lease.id, Now(), effects_);
  gate_->CheckInvariants();
  EXPECT_GT(Count(LedgerEvent::kExtend), 0) << "the others go on";
  for (int i = 0; i < 10; ++i) Step();
  EXPECT_GE(gate_->outlook(InstanceId{0})->control().errors(), 1);
}

TEST_F(GiveWayTest, WhoGaveWayHasItsPlaceKeptAndIsNotAskedAFourthTime) {
  FillUp(true);
  const Decision stop = Of(Decision::Kind::kStop).at(0);
  const std::string id(stop.request_id.view());
  gate_->RevokeAck(stop.lease.id, Now(), effects_);
  EXPECT_EQ(gate_->Find(stop.lease.id)->state, LeaseState::kPlaceKept);
  EXPECT_EQ(gate_->Find(stop.lease.id)->holder.revocations, 1);
  const Instant arrived = gate_->Find(stop.lease.id)->arrived;
  const LeaseRef again = Admit(Generate(id, 16, 400));
  EXPECT_EQ(again.id, stop.lease.id) << "the same place in the queue";
  EXPECT_EQ(gate_->Find(again.id)->arrived, arrived);
}

TEST_F(GiveWayTest, WhereNobodyCanBeToldItIsAnOveruseAndNeverOverBudget) {
  FillUp(false);
  EXPECT_TRUE(Of(Decision::Kind::kStop).empty());
  EXPECT_GT(Count(LedgerEvent::kOveruse), 0);
  const Account& pool = gate_->budget().account(AccountId{1});
  EXPECT_LE(pool.reserved_bytes, pool.capacity_bytes);
  EXPECT_GT(pool.overusers, 0) << "nobody is let in";
}

TEST_F(GateStepsTest, WithoutReportsStepsAreCountedByTheClock) {
  GateConfig config = Pool(Assurance::kLockstep, 100);
  config.models[0].assurance.steps_per_s = 50;
  config.models[0].assurance.lookahead_tokens = 16;
  Make(config);
  const LeaseRef lease = Admit(Generate("a", 30, 100));
  EXPECT_EQ(held(lease), 3 * kBlock) << "a block ahead";
  const Instant next = gate_->NextTimer();
  EXPECT_LE(next, At(0.5));
  now_s_ = 1;
  gate_->Advance(Now(), effects_);
  EXPECT_EQ(held(lease), 6 * kBlock) << "30 + 50 + 16";
  now_s_ = 10;
  gate_->Advance(Now(), effects_);
  EXPECT_EQ(held(lease), 9 * kBlock) << "all it may have";
  EXPECT_EQ(gate_->outlook(InstanceId{0})->late(), 1) << "it should be done by now";
  EXPECT_EQ(Of(Decision::Kind::kLate).size(), 1u);
  gate_->End(lease, Gate::EndKind::kCompleted, Now(), effects_);
  EXPECT_EQ(gate_->outlook(InstanceId{0})->late(), 0);
}

// An engine that should report its steps, and does so within two seconds or is silent.
GateConfig Reporting(int64_t blocks) {
  GateConfig config = Pool(Assurance::kLockstep, blocks);
  config.models[0].assurance.report_within = absl::Seconds(2);
  return config;
}

TEST_F(GateStepsTest, UntilTheFirstReportAllIsHeldAsAtWorstCase) {
  Make(Reporting(21));
  const LeaseRef first = Admit(Generate("first", 160, 80));
  EXPECT_EQ(held(first), 15 * kBlock);
  EXPECT_EQ(gate_->outlook(InstanceId{0})->effective_level(), Assurance::kWorstCase);
  const LeaseRef second = Admit(Generate("second", 80, 40));
  EXPECT_EQ(gate_->Find(second.id)->state, LeaseState::kWaiting) << "15 + 8 are more than 21";
  Step();
  EXPECT_EQ(gate_->outlook(InstanceId{0})->effective_level(), Assurance::kLockstep);
  EXPECT_EQ(gate_->Find(second.id)->state, LeaseState::kWaiting) << "what is held is not given back";
  for (int i = 0; i < 300; ++i) Step();
  EXPECT_TRUE(Of(Decision::Kind::kLate).empty()) << "it holds everything: nothing can be late";
  Step({{first, 80}});
  EXPECT_EQ(held(second), 5 * kBlock);
}

TEST_F(GateStepsTest, WhoFallsSilentIsHeldInFullAndSaidToBeLate) {
  Make(Reporting(100));
  Step();
  now_s_ += 60;  // nothing runs: nothing is to be reported
  const LeaseRef lease = Admit(Generate("a", 30, 100));
  EXPECT_EQ(held(lease), 2 * kBlock);
  EXPECT_EQ(gate_->NextTimer(), At(now_s_ + 2));
  now_s_ += 1.9;
  gate_->Advance(Now(), effects_);
  EXPECT_EQ(held(lease), 2 * kBlock);
  now_s_ += 0.1;
  gate_->Advance(Now(), effects_);
  gate_->CheckInvariants();
  EXPECT_EQ(held(lease), 9 * kBlock);
  EXPECT_EQ(Of(Decision::Kind::kLate).size(), 1u);
  EXPECT_EQ(gate_->outlook(InstanceId{0})->effective_level(), Assurance::kWorstCase);
  const LeaseRef next = Admit(Generate("b", 30, 100));
  EXPECT_EQ(held(next), 9 * kBlock);
  Step({{lease, 60}, {next, 60}});
  EXPECT_EQ(held(Admit(Generate("c", 30, 100))), 2 * kBlock) << "it reports again";
}

TEST_F(GateStepsTest, AnEndOfReportsIsSilenceAtOnce) {
  Make(Reporting(100));
  Step();
  const LeaseRef lease = Admit(Generate("a", 30, 100));
  gate_->StepsEnd(InstanceId{0}, Now(), effects_);
  EXPECT_EQ(held(lease), 9 * kBlock);
}

TEST_F(GateStepsTest, AnExtensionIsSaidWhenTheReservationCoversIt) {
  Make(Pool(Assurance::kLockstep, 100));
  const LeaseRef lease = Admit(Generate("a", 30, 100));
  EXPECT_EQ(Of(Decision::Kind::kAnswer).back().granted_tokens, 2) << "of the second block";
  EXPECT_EQ(Of(Decision::Kind::kAnswer).back().cost.kv_bytes, 2 * kBlock);
  gate_->Extend(lease.id, 0, Now(), effects_);
  ASSERT_EQ(Of(Decision::Kind::kExtended).size(), 1u) << "it has that already";
  effects_.Clear();
  gate_->Extend(lease.id, 17, Now(), effects_);
  Step({}, {{lease.id, 1}});
  while (held(lease) < 4 * kBlock) {
    EXPECT_TRUE(Of(Decision::Kind::kExtended).empty());
    Step();
  }
  ASSERT_EQ(Of(Decision::Kind::kExtended).size(), 1u);
  EXPECT_EQ(Of(Decision::Kind::kExtended)[0].granted_tokens, 34);
  gate_->Extend(lease.id, 1'000'000, Now(), effects_);
  while (held(lease) < 9 * kBlock) Step();
  ASSERT_EQ(Of(Decision::Kind::kExtended).size(), 2u);
  EXPECT_EQ(Of(Decision::Kind::kExtended)[1].granted_tokens, 0) << "all";
  gate_->Extend(lease.id, 5, Now(), effects_);
  EXPECT_EQ(Of(Decision::Kind::kExtended).size(), 3u);
}

TEST_F(GateStepsTest, AtWorstCaseAnExtensionIsThereAtOnce) {
  Make(Pool(Assurance::kWorstCase, 100));
  const LeaseRef lease = Admit(Generate("a", 30, 100));
  gate_->Extend(lease.id, 50, Now(), effects_);
  ASSERT_EQ(Of(Decision::Kind::kExtended).size(), 1u);
  EXPECT_EQ(Of(Decision::Kind::kExtended)[0].granted_tokens, 0);
}

// The engine's word makes the pool smaller: who comes then is judged by what there is.
TEST_F(GateStepsTest, ASmallerPoolIsLookedAtToo) {
  Make(Pool(Assurance::kLockstep, 42));
  gate_->SetReading(AccountId{1}, {.capacity_bytes = 21 * kBlock, .ceiling_bytes = 42 * kBlock}, Now(), effects_);
  Admit(Generate("first", 160, 80));
  Admit(Generate("second", 80, 40));
  const LeaseRef third = Admit(Generate("third", 32, 30));
  EXPECT_EQ(gate_->Find(third.id)->state, LeaseState::kWaiting);
}

}  // namespace
}  // namespace vramgate
