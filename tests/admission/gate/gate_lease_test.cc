// A lease's life, and whose it is: the rules of docs/admission.md from the grant to the end.
#include "tests/admission/gate/gate_fixture.h"

namespace vramgate {
namespace {

using testing::AllOf;
using testing::SizeIs;

// --- Keys ---

TEST(GateLeaseTest, TheSameKeyWithOtherContentIsInvalid) {
  TestGate gate(OneDevice(100));
  gate.Admit(Ask("a", 10), 0);
  EXPECT_THAT(gate.Admit(Ask("a", 11), 1, "again"), Refuses(Outcome::kRejectedInvalidRequest, "again"));
  EXPECT_EQ(gate.state("a"), LeaseState::kHeld);
}

TEST(GateLeaseTest, AnotherCallerOrTenantIsAnotherKey) {
  TestGate gate(OneDevice(100));
  gate.Admit(Ask("a", 10), 0);
  Request other = Ask("a", 10);
  other.caller = 2;
  EXPECT_THAT(gate.Admit(other, 0, "of caller 2"), Grants("of caller 2"));
  other.tenant = "t";
  EXPECT_THAT(gate.Admit(other, 0, "of t"), Grants("of t"));
  EXPECT_EQ(gate.reserved("device/0"), 30);
}

TEST(GateLeaseTest, WithoutARequestIdNothingIsTheSame) {
  TestGate gate(OneDevice(100));
  EXPECT_THAT(gate.Admit(Ask("", 10), 0, "a"), Grants("a"));
  EXPECT_THAT(gate.Admit(Ask("", 10), 0, "b"), Grants("b"));
  EXPECT_EQ(gate.reserved("device/0"), 20);
}

TEST(GateLeaseTest, ANewerSessionTakesTheLeaseOver) {
  TestGate gate(OneDevice(100));
  gate.Admit(Ask("a", 10), 0, "old");
  EXPECT_THAT(gate.Admit(Ask("a", 10), 1, "new"), AllOf(Stops(Outcome::kSuperseded, "old"), Grants("new")));
  EXPECT_EQ(gate.reserved("device/0"), 10);
  EXPECT_THAT(gate.End("old", 2), SaysNothing());  // its end releases nothing
  EXPECT_EQ(gate.reserved("device/0"), 10);
  EXPECT_THAT(gate.End("new", 3), Ends(Outcome::kCompleted, "new"));
  EXPECT_THAT(gate, AllGone());
}

TEST(GateLeaseTest, ANewerCallTakesTheWaitersPlace) {
  TestGate gate(OneDevice(100));
  gate.Admit(Ask("holder", 100), 0);
  gate.Admit(Ask("a", 60), 0, "old");
  gate.Admit(Ask("b", 60), 1);
  EXPECT_THAT(gate.Admit(Ask("a", 60), 2, "new"), Refuses(Outcome::kSuperseded, "old"));
  EXPECT_THAT(gate.Cancel("old", 3), SaysNothing());
  EXPECT_THAT(gate.End("holder", 4), Grants("new"));  // before b, in its old place
}

TEST(GateLeaseTest, ATimedOutWaiterKeepsItsPlace) {
  TestGate gate(OneDevice(100));
  gate.Admit(Ask("holder", 100), 0);
  Request first = Ask("first", 60);
  first.max_wait = absl::Seconds(1);
  gate.Admit(first, 0);
  gate.Admit(Ask("second", 60), 0.5);
  EXPECT_THAT(gate.Advance(1), Refuses(Outcome::kRejectedQueueTimeout, "first"));
  EXPECT_EQ(gate.state("first"), LeaseState::kPlaceKept);
  EXPECT_THAT(gate.Admit(first, 4, "retry"), SaysNothing());
  EXPECT_THAT(gate.End("holder", 4.5), Grants("retry"));
  EXPECT_EQ(gate.lease("retry")->arrived, At(0));
}

TEST(GateLeaseTest, AKeptPlaceHoldsAndClosesNothingAndIsForgotten) {
  TestGate gate(OneDevice(100));
  gate.Admit(Ask("holder", 50), 0);
  Request large = Ask("large", 80);
  large.max_wait = absl::Seconds(1);
  gate.Admit(large, 0);
  EXPECT_THAT(gate.Admit(Ask("behind", 10), 1), SaysNothing());
  EXPECT_THAT(gate.Advance(1), AllOf(Refuses(Outcome::kRejectedQueueTimeout, "large"), Grants("behind")));
  EXPECT_THAT(gate.Admit(Ask("later", 10), 2), Grants("later"));
  EXPECT_EQ(gate.state("large"), LeaseState::kPlaceKept);
  EXPECT_THAT(gate.Advance(6), SaysNothing());
  EXPECT_EQ(gate.state("large"), LeaseState::kFree);
}

TEST(GateLeaseTest, ARetryThatFindsTheQueueFullKeepsItsPlaceAndGoesWhereItFits) {
  GateConfig config = OneDevice(100);
  config.queue.max_requests = 1;
  TestGate gate(config);
  gate.Admit(Ask("holder", 60), 0);
  Request first = Ask("first", 60);
  first.max_wait = absl::Seconds(1);
  gate.Admit(first, 0);
  gate.Advance(1);
  gate.Admit(Ask("second", 80), 1);
  EXPECT_THAT(gate.Admit(first, 2, "too early"), Refuses(Outcome::kRejectedQueueFull, "too early"));
  EXPECT_EQ(gate.state("first"), LeaseState::kPlaceKept);
  EXPECT_EQ(gate.lease("first")->timer, At(6));  // not kept any longer for it
  gate.Reading(0, 130, 3);
  EXPECT_THAT(gate.Admit(first, 3, "in time"), Grants("in time"));
}

TEST(GateLeaseTest, OnlyATimeoutKeepsAPlace) {
  GateConfig config = OneDevice(100);
  config.tenants = {{"t", 30}};
  config.queue.max_wait = absl::Seconds(1);
  TestGate gate(config);
  for (const char* name : {"a", "b"}) {
    Request request = Ask(name, 20);
    request.tenant = "t";
    gate.Admit(request, 0);
  }
  EXPECT_THAT(gate.Advance(1), Refuses(Outcome::kRejectedTenantQuota, "b"));
  EXPECT_EQ(gate.state("b"), LeaseState::kFree);
}

TEST(GateLeaseTest, FinishedIdsAreForgotten) {
  TestGate gate(OneDevice(100));
  gate.Admit(Ask("a", 10), 0);
  gate.End("a", 1);
  EXPECT_THAT(gate.Admit(Ask("a", 99), 2), Grants("a"));
}

// --- Ends ---

TEST(GateLeaseTest, ACleanEndFreesAtOnceAndAnAbortLingers) {
  TestGate gate(OneDevice(100));
  gate.Admit(Ask("a", 60), 0);
  gate.Admit(Ask("b", 60), 0);
  EXPECT_THAT(gate.Vanish("a", 1), SaysNothing());
  EXPECT_EQ(gate.state("a"), LeaseState::kLingering);
  EXPECT_EQ(gate.account("device/0").lingering_bytes, 60);
  EXPECT_THAT(gate.Advance(2.999), SaysNothing());
  EXPECT_THAT(gate.Advance(3), AllOf(Ends(Outcome::kAborted, "a"), Grants("b")));
  EXPECT_EQ(gate.account("device/0").lingering_bytes, 0);
}

TEST(GateLeaseTest, TheEnginesWordEndsALinger) {
  TestGate gate(OneDevice(100));
  gate.Admit(Ask("a", 60), 0);
  gate.Vanish("a", 1);
  EXPECT_THAT(gate.Vanish("a", 1.1), SaysNothing());  // says nothing new
  EXPECT_THAT(gate.End("a", 1.5), Ends(Outcome::kAborted, "a"));
  EXPECT_THAT(gate, AllGone());
}

TEST(GateLeaseTest, WithoutALingerAnAbortFreesAtOnce) {
  GateConfig config = OneDevice(100);
  config.leases.abort_linger = absl::ZeroDuration();
  TestGate gate(config);
  gate.Admit(Ask("a", 60), 0);
  EXPECT_THAT(gate.Vanish("a", 1), Ends(Outcome::kAborted, "a"));
}

TEST(GateLeaseTest, AFailedEngineHasLetGo) {
  TestGate gate(OneDevice(100));
  gate.Admit(Ask("a", 60), 0);
  EXPECT_THAT(gate.EndAs("a", Gate::EndKind::kFailed, 1), Ends(Outcome::kAborted, "a"));
}

TEST(GateLeaseTest, AStreamLivesAsLongAsItsStream) {
  TestGate gate(OneDevice(100));
  gate.Admit(Ask("a", 10), 0);
  EXPECT_EQ(gate.gate().NextTimer(), kNever);
  EXPECT_THAT(gate.Advance(1e6), SaysNothing());
}

TEST(GateLeaseTest, AUnaryGrantMustBeConfirmed) {
  TestGate gate(OneDevice(100));
  Request request = AskUnary("a", 10);
  request.drain = absl::Seconds(7);
  gate.Admit(request, 0);
  EXPECT_THAT(gate.Advance(9.999), SaysNothing());
  gate.Advance(10);
  EXPECT_EQ(gate.state("a"), LeaseState::kLingering);  // its answer may have arrived
  EXPECT_THAT(gate.Advance(16.999), SaysNothing());
  EXPECT_THAT(gate.Advance(17), Ends(Outcome::kExpired, "a"));
  EXPECT_THAT(gate, AllGone());
}

TEST(GateLeaseTest, OnceConfirmedItsTtlHolds) {
  TestGate gate(OneDevice(100));
  Request request = AskUnary("a", 10);
  request.ttl = absl::Seconds(20);
  gate.Admit(request, 0);
  EXPECT_EQ(gate.Renew("a", 5), Gate::Renewal::kKept);
  gate.Advance(24.999);
  EXPECT_EQ(gate.state("a"), LeaseState::kHeld);
  gate.Advance(25);
  EXPECT_EQ(gate.state("a"), LeaseState::kLingering);
}

TEST(GateLeaseTest, ARenewalRevivesALingeringLease) {
  TestGate gate(OneDevice(100));
  gate.Admit(Ask("a", 10), 0);
  gate.Vanish("a", 1);
  EXPECT_EQ(gate.Renew("a", 2), Gate::Renewal::kKept);
  EXPECT_EQ(gate.state("a"), LeaseState::kHeld);
  EXPECT_EQ(gate.lease("a")->timer, At(62));  // its stream is gone: the TTL holds
  EXPECT_EQ(gate.account("device/0").lingering_bytes, 0);
}

TEST(GateLeaseTest, NobodyElseMayRenewOrRelease) {
  TestGate gate(OneDevice(100));
  gate.Admit(AskUnary("a", 10), 0);
  EXPECT_EQ(gate.Renew("a", 1, 2), Gate::Renewal::kLost);
  EXPECT_FALSE(gate.Release("a", 1, 2));
  EXPECT_TRUE(gate.Release("a", 1));
  EXPECT_FALSE(gate.Release("a", 1));  // already
  EXPECT_EQ(gate.Renew("a", 1), Gate::Renewal::kLost);
  EXPECT_FALSE(gate.Release("nobody", 1));
}

TEST(GateLeaseTest, AnIdIsNeverUsedTwice) {
  TestGate gate(OneDevice(100));
  gate.Admit(AskUnary("a", 10), 0);
  gate.Release("a", 0);
  gate.Admit(AskUnary("b", 10), 0);
  EXPECT_NE(gate.ref("a").id, gate.ref("b").id);
  EXPECT_FALSE(gate.Release("a", 1));
  EXPECT_EQ(gate.state("b"), LeaseState::kHeld);
}

TEST(GateLeaseTest, AStreamComesBackForItsLease) {
  TestGate gate(OneDevice(100));
  gate.Admit(Ask("a", 10), 0);
  gate.Vanish("a", 1);
  Effects effects;
  LeaseRef back;
  EXPECT_FALSE(gate.gate().Reattach(gate.ref("a").id, 2, At(2), effects, &back));
  EXPECT_TRUE(gate.gate().Reattach(gate.ref("a").id, 1, At(2), effects, &back));
  EXPECT_EQ(back.id, gate.ref("a").id);
  EXPECT_EQ(gate.state("a"), LeaseState::kHeld);
  EXPECT_EQ(gate.gate().NextTimer(), kNever);
  EXPECT_THAT(effects.decisions, SizeIs(1));
}

}  // namespace
}  // namespace vramgate
