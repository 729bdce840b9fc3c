// Leases whose holder's process died: how long their bytes stay counted.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "tests/admission/gate/gate_fixture.h"

namespace vramgate {
namespace {

constexpr uint64_t kHolder = 1;  // connections: an API server's, and its engine's
constexpr uint64_t kEngine = 2;
constexpr InstanceId kInstance{0};
constexpr absl::Duration kDrain = absl::Seconds(800);

class GateEnginesTest : public testing::Test {
 protected:
  GateEnginesTest() : gate_(OneDevice(GiB(10))) {
    Effects out;
    gate_.Start(At(0), out);
  }
  ~GateEnginesTest() override {
    EXPECT_EQ(gate_.leases(), 0);
    EXPECT_EQ(Reserved(), 0);
  }

  LeaseRef Admit(const std::string& id, double at, int64_t gib = 3) {
    Request request = Ask(id, GiB(gib));
    request.drain = kDrain;
    Effects out;
    const Gate::Admission admission = gate_.Admit(request, At(at), out);
    gate_.CheckInvariants();
    return admission.lease;
  }
  void HolderDies(LeaseRef lease, double at, uint64_t connection = kHolder) {
    gate_.HolderLost(lease, connection, At(at), effects_);
    gate_.CheckInvariants();
  }
  void EngineSays(int64_t steps, double at, uint64_t connection = kEngine) {
    gate_.Step(kInstance, {.steps = steps, .connection = connection}, At(at), effects_);
    gate_.CheckInvariants();
  }
  void EngineDies(double at, uint64_t connection = kEngine) {
    gate_.StepsEnd(kInstance, At(at), effects_);
    gate_.ReporterLost(connection, At(at), effects_);
    gate_.CheckInvariants();
  }
  void Pass(double to) { gate_.Advance(At(to), effects_); }
  int64_t Reserved() const { return gate_.budget().account(AccountId{0}).reserved_bytes; }
  int Granted() const {
    return static_cast<int>(
        std::count_if(effects_.decisions.begin(), effects_.decisions.end(), [](const Decision& decision) {
          return decision.kind == Decision::Kind::kAnswer && decision.outcome == Outcome::kGranted;
        }));
  }

  Gate gate_;
  Effects effects_;
};

TEST_F(GateEnginesTest, WhereNobodyReportsTheDrainTimeHolds) {
  HolderDies(Admit("a", 0), 1);
  Pass(1 + absl::ToDoubleSeconds(kDrain) - 0.001);
  EXPECT_EQ(Reserved(), GiB(3)) << "the engine may still run it";
  EXPECT_EQ(gate_.lingering(), 1);
  Pass(1 + absl::ToDoubleSeconds(kDrain));
}

TEST_F(GateEnginesTest, AnIdleEngineFreesThemAndLetsOthersGo) {
  const LeaseRef dead = Admit("dead", 0, 9);
  Admit("waits", 0, 3);
  HolderDies(dead, 1);
  EngineSays(1, 2);
  EXPECT_EQ(Reserved(), GiB(9)) << "it steps: whose requests these are is not known";
  EngineSays(0, 3);
  EXPECT_EQ(Reserved(), GiB(3));
  EXPECT_EQ(Granted(), 1);
  gate_.End(gate_.FirstInUse(0)->ref(), Gate::EndKind::kCompleted, At(4), effects_);
}

TEST_F(GateEnginesTest, WhatTheEngineReportsAsEndedIsFreeAlone) {
  const LeaseRef first = Admit("first", 0);
  const LeaseRef second = Admit("second", 0);
  HolderDies(first, 1);
  HolderDies(second, 1);
  const Gate::StepReport::Ended ended[] = {{first}};
  gate_.Step(kInstance, {.steps = 1, .ended = ended, .connection = kEngine}, At(2), effects_);
  EXPECT_EQ(Reserved(), GiB(3));
  EngineSays(0, 3);
}

TEST_F(GateEnginesTest, ADeadEngineFreesThem) {
  const LeaseRef lease = Admit("a", 0);
  EngineSays(1, 0.5);
  HolderDies(lease, 1);
  EXPECT_EQ(Reserved(), GiB(3));
  EngineDies(2);
}

TEST_F(GateEnginesTest, SoItIsWhereTheEngineDiedFirst) {
  const LeaseRef lease = Admit("a", 0);
  EngineSays(1, 0.5);
  EngineDies(1);
  EXPECT_EQ(Reserved(), GiB(3)) << "its holder is alive, and says when it is over";
  HolderDies(lease, 1);
}

TEST_F(GateEnginesTest, AnEngineThatDiedBeforeTheGrantSaysNothing) {
  EngineSays(1, 0);
  EngineDies(1);
  HolderDies(Admit("a", 2), 3);
  EXPECT_EQ(Reserved(), GiB(3)) << "another engine runs it";
  Pass(3 + absl::ToDoubleSeconds(kDrain));
}

// An API server that reports for its engine says nothing of the engine with its own death.
TEST_F(GateEnginesTest, OneProcessThatHoldsAndReportsIsNotTheEngine) {
  const LeaseRef lease = Admit("a", 0);
  EngineSays(1, 0.5, kHolder);
  HolderDies(lease, 1);
  EngineDies(1, kHolder);
  EXPECT_EQ(Reserved(), GiB(3));
  EngineSays(0, 2, /*connection=*/3);  // it is back, and sees its engine idle
}

TEST_F(GateEnginesTest, ARevivedLeaseIsNobodysLoss) {
  const LeaseRef lease = Admit("a", 0);
  HolderDies(lease, 1);
  LeaseRef again;
  ASSERT_TRUE(gate_.Reattach(lease.id, 1, At(2), effects_, &again));
  EngineSays(0, 3);
  EXPECT_EQ(Reserved(), GiB(3)) << "held: an idle engine may not have begun with it";
  HolderDies(lease, 3);
  EXPECT_EQ(gate_.lingering(), 0) << "the dead attachment is not the lease's any more";
  gate_.End(again, Gate::EndKind::kCompleted, At(4), effects_);
}

TEST_F(GateEnginesTest, ADeadWaiterLeavesTheQueue) {
  const LeaseRef held = Admit("held", 0, 9);
  const LeaseRef waits = Admit("waits", 0, 9);
  HolderDies(waits, 1);
  EXPECT_EQ(gate_.leases(), 1);
  gate_.End(held, Gate::EndKind::kCompleted, At(2), effects_);
}

TEST_F(GateEnginesTest, OthersThatLingerAreNotConcerned) {
  const LeaseRef gone = Admit("gone", 0);
  gate_.End(gone, Gate::EndKind::kClientGone, At(1), effects_);
  EngineSays(0, 1.5);
  EXPECT_EQ(Reserved(), GiB(3)) << "abort_linger is its own rule";
  Pass(100);
}

}  // namespace
}  // namespace vramgate
