// Who is refused, and how: the rules of docs/admission.md, "Answers".
#include "tests/admission/gate/gate_fixture.h"

namespace vramgate {
namespace {

using testing::AllOf;

TEST(GateAnswerTest, TheQueueIsBoundedInRequestsAndTokens) {
  GateConfig config = OneDevice(100);
  config.queue.max_requests = 2;
  config.queue.max_tokens = 10;
  TestGate gate(config);
  gate.Admit(Ask("holder", 100), 0);
  Request heavy = Ask("heavy", 60);
  heavy.tokens = 11;
  EXPECT_THAT(gate.Admit(heavy, 0), Refuses(Outcome::kRejectedQueueFull, "heavy"));
  gate.Admit(Ask("a", 60), 0);
  gate.Admit(Ask("b", 60), 0);
  EXPECT_THAT(gate.Admit(Ask("c", 60), 0), Refuses(Outcome::kRejectedQueueFull, "c"));
  EXPECT_EQ(gate.gate().queue().size(), 2);
}

TEST(GateAnswerTest, AFullQueueDoesNotHoldUpWhatFits) {
  GateConfig config = OneDevice(100);
  config.queue.max_requests = 1;
  TestGate gate(config);
  gate.Admit(Ask("holder", 50), 0);
  gate.Admit(Ask("large", 80), 0);
  EXPECT_THAT(gate.Admit(Ask("small", 10), 0), Grants("small"));
}

TEST(GateAnswerTest, LeasesAreBounded) {
  GateConfig config = OneDevice(100);
  config.leases.max = 2;
  TestGate gate(config);
  gate.Admit(Ask("a", 1), 0);
  gate.Admit(Ask("b", 1), 0);
  EXPECT_THAT(gate.Admit(Ask("c", 1), 0), Refuses(Outcome::kRejectedQueueFull, "c"));
}

TEST(GateAnswerTest, DecideNow) {
  TestGate gate(TwoTenants());
  gate.Admit(Ask("holder", 75), 0);
  Request now = Ask("now", 50);
  now.max_wait = absl::ZeroDuration();
  EXPECT_THAT(gate.Admit(now, 0), Refuses(Outcome::kRejectedBudgetExhausted, "now"));
  gate.End("holder", 1);
  gate.Admit(Of("small", Ask("share", 20)), 1);
  now = Of("small", Ask("quota", 20));
  now.max_wait = absl::ZeroDuration();
  EXPECT_THAT(gate.Admit(now, 1), Refuses(Outcome::kRejectedTenantQuota, "quota"));
}

TEST(GateAnswerTest, MoreThanTheWholeShareNeverFits) {
  TestGate gate(TwoTenants());
  EXPECT_THAT(gate.Admit(Of("small", Ask("a", 31)), 0), Refuses(Outcome::kRejectedNeverFits, "a"));
}

TEST(GateAnswerTest, AWaitEndsAtTheSoonerOfItsLimitsAndTheDeadline) {
  TestGate gate(OneDevice(100));
  gate.Admit(Ask("holder", 100), 0);
  Request wait = Ask("wait", 10);
  wait.max_wait = absl::Seconds(2);
  Request deadline = Ask("deadline", 10);
  deadline.deadline = At(1);
  gate.Admit(wait, 0);
  gate.Admit(deadline, 0);
  gate.Admit(Ask("config", 10), 0);
  EXPECT_THAT(gate.Advance(0.999), SaysNothing());
  EXPECT_THAT(gate.Advance(1), Refuses(Outcome::kDeadline, "deadline"));
  EXPECT_THAT(gate.Advance(2), Refuses(Outcome::kRejectedQueueTimeout, "wait"));
  EXPECT_THAT(gate.Advance(30), Refuses(Outcome::kRejectedQueueTimeout, "config"));
}

// A client's cancellation comes a little before our copy of its deadline: still its deadline.
TEST(GateAnswerTest, ACancellationJustBeforeTheDeadlineIsTheDeadline) {
  TestGate gate(OneDevice(100));
  gate.Admit(Ask("holder", 100), 0);
  for (const char* name : {"close", "far"}) {
    Request request = Ask(name, 10);
    request.deadline = At(1);
    gate.Admit(request, 0);
  }
  EXPECT_THAT(gate.Cancel("far", 0.5), Refuses(Outcome::kCancelled, "far"));
  EXPECT_THAT(gate.Cancel("close", 0.95), Refuses(Outcome::kDeadline, "close"));
}

TEST(GateAnswerTest, RetryAfterIsKnownOnlyOnceBytesHaveComeBack) {
  TestGate gate(OneDevice(100));
  gate.Admit(Ask("a", 50), 0);
  gate.Admit(Ask("b", 50), 0);
  Request now = Ask("now", 50);
  now.max_wait = absl::ZeroDuration();
  EXPECT_EQ(gate.Admit(now, 0).words[0].decision.retry_after, std::nullopt);
  gate.End("a", 1);
  gate.Admit(Ask("c", 50), 1);
  const Said said = gate.Admit(now, 2);
  ASSERT_THAT(said, Refuses(Outcome::kRejectedBudgetExhausted, "now"));
  EXPECT_EQ(said.words[0].decision.retry_after, absl::Seconds(1));  // 50 B in the second since
  EXPECT_EQ(gate.Admit(Ask("never", 101), 2).words[0].decision.retry_after, std::nullopt);
}

TEST(GateAnswerTest, DrainRefusesWaitersAndLetsHoldersFinish) {
  TestGate gate(OneDevice(100));
  gate.Admit(Ask("holder", 60), 0);
  gate.Admit(Ask("a", 60), 0);
  gate.Admit(Ask("b", 60), 0);
  EXPECT_THAT(gate.Drain(1), Refuses(Outcome::kRejectedDraining, "a", "b"));
  EXPECT_THAT(gate.Admit(Ask("late", 1), 1), Refuses(Outcome::kRejectedDraining, "late"));
  EXPECT_EQ(gate.state("holder"), LeaseState::kHeld);
  EXPECT_THAT(gate.End("holder", 2), Ends(Outcome::kCompleted, "holder"));
  EXPECT_THAT(gate, AllGone());
}

TEST(GateAnswerTest, PositionsAreCountedWithinTheTenant) {
  TestGate gate(TwoTenants());
  gate.Admit(Ask("holder", 100), 0);
  gate.Admit(Of("x", Ask("a", 60)), 0);
  gate.Admit(Of("y", Ask("b", 60)), 0);
  gate.Admit(Of("x", Ask("c", 60)), 0);
  EXPECT_EQ(gate.gate().Position(gate.ref("b"), At(0)).position, 1);
  EXPECT_EQ(gate.gate().Position(gate.ref("b"), At(0)).ahead_total, 1);
  EXPECT_EQ(gate.gate().Position(gate.ref("c"), At(0)).position, 2);
  EXPECT_EQ(gate.gate().Position(gate.ref("c"), At(0)).ahead_total, 2);
  EXPECT_EQ(gate.gate().Position(gate.ref("holder"), At(0)).position, 0);
}

TEST(GateAnswerTest, APositionCountsOnlyWaitersForTheSameDevices) {
  GateConfig config = Devices({10, 10});
  config.models = {{"m", {{.name = "a", .devices = {0}}}}, {"n", {{.name = "b", .devices = {1}}}}};
  TestGate gate(config);
  const auto of_n = [](Request request) {
    request.model = ModelId{1};
    return request;
  };
  gate.Admit(Ask("holder0", GiB(10)), 0);
  gate.Admit(of_n(Ask("holder1", GiB(10))), 0);
  gate.Admit(Ask("waiter0", GiB(6)), 0);
  gate.Admit(of_n(Ask("waiter1", GiB(6))), 0);
  EXPECT_EQ(gate.gate().Position(gate.ref("waiter1"), At(0)).position, 1);
  EXPECT_EQ(gate.gate().Position(gate.ref("waiter1"), At(0)).ahead_total, 0);
}

TEST(GateAnswerTest, AnEstimateChangesNothing) {
  GateConfig config = Devices({10, 10});
  config.models = {{"m", {{.name = "one", .devices = {0}}, {.name = "two", .devices = {0, 1}}}}};
  config.default_tenant_limit_bytes = GiB(8);
  TestGate gate(config);
  const Request ask = Of("unknown", Ask("a", GiB(6)));  // within the share on one device, beyond it on two
  EXPECT_TRUE(gate.gate().Estimate(ask, At(0)).fits_ever);
  EXPECT_TRUE(gate.gate().Estimate(ask, At(0)).fits_now);
  EXPECT_FALSE(gate.gate().Estimate(Of("unknown", Ask("b", GiB(9))), At(0)).fits_ever);
  gate.Admit(ask, 0);
  EXPECT_FALSE(gate.gate().Estimate(Of("other", Ask("c", GiB(6))), At(0)).fits_now);
  EXPECT_THAT(gate.End("a", 0), AllOf(Ends(Outcome::kCompleted, "a"), Grants()));
  EXPECT_THAT(gate, AllGone());
}

}  // namespace
}  // namespace vramgate
