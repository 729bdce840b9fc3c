// What comes from outside of a request: operators who revoke, devices that shrink, engines that report.
#include "tests/admission/gate/gate_fixture.h"

namespace vramgate {
namespace {

using testing::AllOf;
using testing::Each;
using testing::Field;
using testing::SizeIs;

// --- Revocation ---

TEST(GateOperatorTest, ARevokedHolderHasItsGraceThenItsDrain) {
  TestGate gate(OneDevice(100));
  Request request = Ask("a", 60);
  request.drain = absl::Seconds(5);
  gate.Admit(request, 0);
  const Said said = gate.Revoke("a", 3, 1);
  ASSERT_THAT(said, Stops(Outcome::kRevoked, "a"));
  EXPECT_EQ(said.words[0].decision.grace, absl::Seconds(3));
  EXPECT_EQ(gate.Renew("a", 2), Gate::Renewal::kRevoked);  // kept, but no longer
  gate.Advance(3.999);
  EXPECT_EQ(gate.state("a"), LeaseState::kHeld);
  EXPECT_THAT(gate.Advance(4), Stops(Outcome::kRevoked, "a"));
  EXPECT_EQ(gate.state("a"), LeaseState::kLingering);
  EXPECT_THAT(gate.Advance(9), Ends(Outcome::kRevoked, "a"));
  EXPECT_THAT(gate, AllGone());
}

TEST(GateOperatorTest, AnAcknowledgedRevocationFreesAtOnce) {
  TestGate gate(OneDevice(100));
  gate.Admit(Ask("a", 60), 0);
  EXPECT_THAT(gate.RevokeAck("a", 1), SaysNothing());  // nobody asked
  gate.Revoke("a", 3, 1);
  EXPECT_THAT(gate.RevokeAck("a", 2), Ends(Outcome::kRevoked, "a"));
}

TEST(GateOperatorTest, AnyEndOfARevokedLeaseCountsAsRevoked) {
  TestGate gate(OneDevice(100));
  gate.Admit(Ask("a", 60), 0);
  gate.Revoke("a", 3, 1);
  EXPECT_THAT(gate.End("a", 2), Ends(Outcome::kRevoked, "a"));
}

TEST(GateOperatorTest, ARevokedWaiterIsRefused) {
  TestGate gate(OneDevice(100));
  gate.Admit(Ask("holder", 60), 0);
  gate.Admit(Ask("a", 60), 0);
  gate.Admit(Ask("b", 20), 2);
  EXPECT_THAT(gate.Revoke("a", 3, 2), AllOf(Refuses(Outcome::kRevoked, "a"), Grants("b")));
}

TEST(GateOperatorTest, ARevocationOfALingeringLeaseReachesWhoRevivesIt) {
  TestGate gate(OneDevice(100));
  gate.Admit(Ask("a", 60), 0);
  gate.Vanish("a", 1);
  EXPECT_THAT(gate.Revoke("a", 1, 1.5), SaysNothing());
  EXPECT_EQ(gate.Renew("a", 2), Gate::Renewal::kRevoked);
  gate.Advance(3);  // its linger's end: what is left of it
  EXPECT_THAT(gate.Advance(5), Ends(Outcome::kRevoked, "a"));
}

// --- Devices ---

TEST(GateOperatorTest, ACutRevokesNothingAndStopsGrants) {
  TestGate gate(OneDevice(100));
  gate.Admit(Ask("a", 40), 0);
  gate.Admit(Ask("b", 40), 0);
  EXPECT_THAT(gate.Reading(0, 50, 1), SaysNothing());
  EXPECT_EQ(gate.account("device/0").free_bytes(), 0);
  EXPECT_THAT(gate.Admit(Ask("c", 10), 1), SaysNothing());
  EXPECT_THAT(gate.End("a", 2), Grants("c"));  // 50 again: to the byte
  EXPECT_EQ(gate.reserved("device/0"), 50);
}

TEST(GateOperatorTest, AStaleDeviceGetsNoGrants) {
  TestGate gate(OneDevice(100));
  gate.Admit(Ask("holder", 60), 0);
  gate.Admit(Ask("waits", 60), 0);
  gate.Reading(0, 100, 1, true);
  EXPECT_THAT(gate.Admit(Ask("new", 10), 1), Refuses(Outcome::kRejectedTelemetryStale, "new"));
  EXPECT_THAT(gate.End("holder", 2), Grants());
  EXPECT_THAT(gate.Reading(0, 100, 3), Grants("waits"));
}

TEST(GateOperatorTest, OneStaleDeviceBlindsATensorParallelInstance) {
  GateConfig config = Devices({10, 10});
  config.models = {{"m", {{.name = "tp", .devices = {0, 1}}}}};
  TestGate gate(config);
  gate.Reading(1, GiB(10), 0, true);
  EXPECT_THAT(gate.Admit(Ask("a", 1), 0), Refuses(Outcome::kRejectedTelemetryStale, "a"));
}

TEST(GateOperatorTest, AnotherInstanceIsUsedWhileOneIsStale) {
  GateConfig config = Devices({10, 10});
  config.models = {{"m", {{.name = "a", .devices = {0}}, {.name = "b", .devices = {1}}}}};
  TestGate gate(config);
  gate.Reading(0, GiB(10), 0, true);
  EXPECT_THAT(gate.Admit(Ask("a", 1), 0), Grants("a"));
  EXPECT_EQ(gate.lease("a")->instance, InstanceId{1});
}

// An engine has less pool than configured, and later more.
TEST(GateOperatorTest, APoolFallsAndRisesAsADeviceDoes) {
  GateConfig config = OneDevice(100);
  config.models[0].instances[0].pool_bytes = 50;
  TestGate gate(config);
  constexpr int kPool = 1;
  gate.Admit(Ask("a", 40), 0);
  EXPECT_THAT(gate.Reading(kPool, 30, 1), SaysNothing()) << "a fall revokes nothing";
  EXPECT_THAT(gate.rows(), AllOf(SizeIs(1), Each(AllOf(Field(&LedgerRow::event, LedgerEvent::kCapacity),
                                                       Field(&LedgerRow::capacity_bytes, 30)))));
  EXPECT_EQ(gate.reserved("pool/m/a"), 40);
  EXPECT_THAT(gate.Admit(Ask("b", 10), 1), SaysNothing());
  EXPECT_THAT(gate.Reading(kPool, 50, 2), Grants("b"));
  EXPECT_EQ(gate.account("device/0").capacity_bytes, 100);
  gate.End("a", 3);
  gate.End("b", 3);
  EXPECT_THAT(gate, AllGone());
}

// --- Progress ---

TEST(GateOperatorTest, ProgressBeyondTheReservationIsChargedWhereItFits) {
  TestGate gate(OneDevice(100));
  gate.Admit(Ask("a", 50), 0);
  gate.Progress("a", 40, 1);
  EXPECT_EQ(gate.reserved("device/0"), 50);
  gate.Progress("a", 70, 2);
  EXPECT_EQ(gate.reserved("device/0"), 70);
  EXPECT_THAT(gate.rows(), AllOf(SizeIs(1), Each(Field(&LedgerRow::event, LedgerEvent::kExtend))));
  gate.End("a", 3);
  EXPECT_THAT(gate, AllGone());
}

TEST(GateOperatorTest, OveruseClosesTheDeviceUntilItIsOver) {
  TestGate gate(OneDevice(100));
  gate.Admit(Ask("a", 50), 0);
  gate.Admit(Ask("b", 30), 0);
  gate.Progress("a", 80, 1);
  EXPECT_EQ(gate.reserved("device/0"), 80);  // 30 more do not fit: none of them is charged
  EXPECT_THAT(gate.rows(), AllOf(SizeIs(1), Each(AllOf(Field(&LedgerRow::event, LedgerEvent::kOveruse),
                                                       Field(&LedgerRow::delta_bytes, 0)))));
  EXPECT_THAT(gate.Admit(Ask("c", 10), 1), SaysNothing());
  EXPECT_THAT(gate.End("b", 2), AllOf(Ends(Outcome::kCompleted, "b"), Grants("c")));  // charged first, then 20 are free
  EXPECT_EQ(gate.reserved("device/0"), 90);
  EXPECT_EQ(gate.account("device/0").overusers, 0);
}

TEST(GateOperatorTest, TwoOverusersAreEachChargedOnce) {
  TestGate gate(OneDevice(100));
  gate.Admit(Ask("a", 30), 0);
  gate.Admit(Ask("b", 30), 0);
  gate.Admit(Ask("c", 40), 0);
  gate.Progress("a", 80, 1);
  gate.Progress("b", 50, 1);
  EXPECT_EQ(gate.account("device/0").overusers, 2);
  gate.End("c", 2);  // 40 come free: 50 of a do not fit, 20 of b do
  EXPECT_EQ(gate.reserved("device/0"), 80);
  EXPECT_EQ(gate.account("device/0").overusers, 1);
  gate.End("a", 3);
  gate.End("b", 3);
  EXPECT_THAT(gate, AllGone());
}

TEST(GateOperatorTest, ALieAboutProgressFillsNoUnlimitedShare) {
  GateConfig config = OneDevice(100);
  config.tenants = {{"t"}};
  TestGate gate(config);
  Request request = Ask("a", 10);
  request.tenant = "t";
  gate.Admit(request, 0);
  gate.Progress("a", INT64_MAX, 1);
  EXPECT_LT(gate.reserved("tenant/t"), int64_t{1} << 45);
  EXPECT_EQ(gate.reserved("device/0"), 10);
}

TEST(GateOperatorTest, AnAccountNotReservedFromIsChargedToo) {
  GateConfig config = OneDevice(100);
  config.models[0].instances[0].pool_bytes = 50;
  TestGate gate(config);
  Request request = Ask("a", 0);
  request.costs[0].activation_bytes = 10;
  gate.Admit(request, 0);
  gate.Progress("a", 20, 1);
  EXPECT_EQ(gate.reserved("pool/m/a"), 20);
  EXPECT_EQ(gate.account("pool/m/a").overusers, 0);
  gate.End("a", 2);
  EXPECT_THAT(gate, AllGone());
}

// --- The ledger ---

TEST(GateOperatorTest, EveryChangeIsARow) {
  TestGate gate(OneDevice(100));
  gate.Admit(Ask("a", 60), 0);
  ASSERT_THAT(gate.rows(), SizeIs(1));
  EXPECT_EQ(gate.rows()[0].event, LedgerEvent::kGrant);
  EXPECT_EQ(gate.rows()[0].delta_bytes, 60);
  EXPECT_EQ(gate.rows()[0].used_bytes, 60);
  EXPECT_EQ(gate.rows()[0].capacity_bytes, 100);
  gate.Vanish("a", 1);
  EXPECT_THAT(gate.rows(), AllOf(SizeIs(1), Each(Field(&LedgerRow::event, LedgerEvent::kLinger))));
  gate.Advance(3);
  ASSERT_THAT(gate.rows(), SizeIs(1));
  EXPECT_EQ(gate.rows()[0].event, LedgerEvent::kExpire);
  EXPECT_EQ(gate.rows()[0].delta_bytes, -60);
  EXPECT_EQ(gate.rows()[0].used_bytes, 0);
}

}  // namespace
}  // namespace vramgate
