// Who is admitted, who waits, who goes next: the rules of docs/admission.md, "Queue".
#include "tests/admission/gate/gate_fixture.h"

namespace vramgate {
namespace {

TEST(GateQueueTest, WhatFitsIsGrantedAtOnce) {
  TestGate gate(OneDevice(GiB(10)));
  EXPECT_THAT(gate.Admit(Ask("a", GiB(4)), 0), Grants("a"));
  EXPECT_EQ(gate.reserved("device/0"), GiB(4));
  EXPECT_THAT(gate.End("a", 1), Ends(Outcome::kCompleted, "a"));
  EXPECT_THAT(gate, AllGone());
}

// Three small requests fit in the room that one large release frees: all three must start at once.
TEST(GateQueueTest, OneReleaseStartsAllThatFit) {
  TestGate gate(OneDevice(GiB(10)));
  gate.Admit(Ask("large", GiB(9)), 0);
  for (const char* name : {"a", "b", "c"}) EXPECT_THAT(gate.Admit(Ask(name, GiB(3)), 1), SaysNothing());

  EXPECT_THAT(gate.End("large", 2), Grants("a", "b", "c"));
  EXPECT_EQ(gate.reserved("device/0"), GiB(9));
}

// The last byte is given out, and not one more.
TEST(GateQueueTest, TheLastByte) {
  TestGate gate(OneDevice(100));
  gate.Admit(Ask("a", 60), 0);
  EXPECT_THAT(gate.Admit(Ask("b", 40), 0), Grants("b"));
  EXPECT_THAT(gate.Admit(Ask("c", 1), 0), SaysNothing());
}

TEST(GateQueueTest, WhatNeverFitsIsRefusedAtOnceEvenWhenIdle) {
  TestGate gate(OneDevice(100));
  EXPECT_THAT(gate.Admit(Ask("a", 101), 0), Refuses(Outcome::kRejectedNeverFits, "a"));
  EXPECT_THAT(gate.Admit(Ask("b", INT64_MAX), 0), Refuses(Outcome::kRejectedNeverFits, "b"));
  EXPECT_THAT(gate, AllGone());
}

// "Never" is measured against what the device may become, not against what foreign use leaves of it now.
TEST(GateQueueTest, ForeignUseMakesNothingNeverFit) {
  TestGate gate(OneDevice(100));
  gate.Reading(0, 50, 0);
  EXPECT_THAT(gate.Admit(Ask("a", 80), 0), SaysNothing());
  EXPECT_THAT(gate.Reading(0, 100, 1), Grants("a"));
}

TEST(GateQueueTest, FixedBytesAreNotThere) {
  GateConfig config = OneDevice(100);
  config.models[0].instances[0].fixed_bytes = 60;
  TestGate gate(config);
  EXPECT_THAT(gate.Admit(Ask("a", 41), 0), Refuses(Outcome::kRejectedNeverFits, "a"));
  EXPECT_THAT(gate.Admit(Ask("b", 40), 0), Grants("b"));
}

GateConfig LeftAndRight() {
  GateConfig config = Devices({10, 10});
  config.models = {{"left", {{.name = "a", .devices = {0}}}}, {"right", {{.name = "a", .devices = {1}}}}};
  return config;
}

TEST(GateQueueTest, AHeadWaitingForDevice0LeavesDevice1Going) {
  TestGate gate(LeftAndRight());
  gate.Admit(Ask("holder", GiB(9), 0), 0);
  EXPECT_THAT(gate.Admit(Ask("head", GiB(5), 0), 0), SaysNothing());
  EXPECT_THAT(gate.Admit(Ask("other", GiB(5), 1), 5), Grants("other"));
  EXPECT_EQ(gate.lease("head")->bypassed, 0);
}

// A tensor-parallel instance takes from all its devices, or from none.
TEST(GateQueueTest, TensorParallelIsAllOrNothing) {
  GateConfig config = LeftAndRight();
  config.models.push_back({"both", {{.name = "a", .devices = {0, 1}}}});
  TestGate gate(config);
  gate.Admit(Ask("holder", GiB(6), 1), 0);
  EXPECT_THAT(gate.Admit(Ask("tp", GiB(5), 2), 0), SaysNothing());
  EXPECT_EQ(gate.reserved("device/0"), 0);
  EXPECT_THAT(gate.End("holder", 0.5), Grants("tp"));
  EXPECT_EQ(gate.reserved("device/0"), GiB(5));
  EXPECT_EQ(gate.reserved("device/1"), GiB(5));
}

// Of several instances, the one with the most free bytes; of equals, the first. A pin is kept to.
TEST(GateQueueTest, TheMostFreeInstanceIsPicked) {
  GateConfig config = Devices({10, 10});
  config.models = {{"m", {{.name = "a", .devices = {0}}, {.name = "b", .devices = {1}}}}};
  TestGate gate(config);
  gate.Admit(Ask("first", GiB(2)), 0);
  EXPECT_EQ(gate.lease("first")->instance, InstanceId{0});
  gate.Admit(Ask("second", GiB(1)), 0);
  EXPECT_EQ(gate.lease("second")->instance, InstanceId{1});
  gate.Admit(Ask("third", GiB(1)), 0);
  EXPECT_EQ(gate.lease("third")->instance, InstanceId{1});
  Request pinned = Ask("pinned", GiB(9));
  pinned.instance = InstanceId{0};
  EXPECT_THAT(gate.Admit(pinned, 0), SaysNothing());
  EXPECT_THAT(gate.End("first", 1), Grants("pinned"));
}

// Preallocated: KV from the pool, activation from the device. Dynamic: both from the device.
TEST(GateQueueTest, PoolsAreChargedAsDeclared) {
  GateConfig config = Devices({10, 10});
  config.models = {{"m", {{.name = "pre", .devices = {0}, .pool_bytes = GiB(4)}}},
                   {"n", {{.name = "dyn", .devices = {1}}}}};
  TestGate gate(config);
  Request a = Ask("a", GiB(3), 0);
  Request b = Ask("b", GiB(3), 1);
  for (Request* r : {&a, &b}) r->costs[0].activation_bytes = GiB(1);
  gate.Admit(a, 0);
  gate.Admit(b, 0);
  EXPECT_EQ(gate.reserved("pool/m/pre"), GiB(3));
  EXPECT_EQ(gate.reserved("device/0"), GiB(1));
  EXPECT_EQ(gate.account("device/0").fixed_bytes, GiB(4));
  EXPECT_EQ(gate.reserved("device/1"), GiB(4));
  EXPECT_THAT(gate.Admit(Ask("c", GiB(5), 0), 0), Refuses(Outcome::kRejectedNeverFits, "c"));  // than the pool
}

// A waiter that does not fit is passed by those who do, sixteen times, and no more.
TEST(GateQueueTest, AtMostSixteenPassOneThatDoesNotFit) {
  TestGate gate(OneDevice(100));
  gate.Admit(Ask("holder", 50), 0);
  EXPECT_THAT(gate.Admit(Ask("large", 80), 0), SaysNothing());
  for (int i = 0; i < 16; ++i) {
    const std::string name = "small" + std::to_string(i);
    EXPECT_THAT(gate.Admit(Ask(name, 1), 0.1), Grants(name));
  }
  EXPECT_EQ(gate.lease("large")->bypassed, 16);
  EXPECT_THAT(gate.Admit(Ask("one more", 1), 0.1), SaysNothing());
}

// Nobody passes one that has waited a second.
TEST(GateQueueTest, NobodyPassesOneThatHasWaitedItsWindow) {
  TestGate gate(OneDevice(100));
  gate.Admit(Ask("holder", 50), 0);
  gate.Admit(Ask("large", 80), 0);
  EXPECT_THAT(gate.Admit(Ask("in time", 1), 0.999), Grants("in time"));
  EXPECT_THAT(gate.Admit(Ask("too late", 1), 1.0), SaysNothing());
  EXPECT_THAT(gate.Cancel("large", 1.1), Grants("too late"));  // what it blocked goes
}

// Where only a tenant's share is short, it closes that share and no device.
TEST(GateQueueTest, AShortShareClosesTheTenantAlone) {
  TestGate gate(TwoTenants());
  gate.Admit(Of("small", Ask("holder", 20)), 0);
  EXPECT_THAT(gate.Admit(Of("small", Ask("waits", 20)), 0), SaysNothing());
  EXPECT_THAT(gate.Admit(Of("other", Ask("other", 50)), 5), Grants("other"));  // although it waits for over a second
  EXPECT_EQ(gate.lease("waits")->bypassed, 0);
  EXPECT_THAT(gate.Admit(Of("small", Ask("same", 5)), 5), SaysNothing());  // behind it in its own share
  EXPECT_THAT(gate.End("holder", 6), Grants("waits", "same"));
}

TEST(GateQueueTest, AnotherInstanceMayLackTheShareAndThisOneTheDevice) {
  GateConfig config = Devices({10, 10, 10});
  config.models = {{"m", {{.name = "one", .devices = {0}}, {.name = "two", .devices = {1, 2}}}}};
  config.tenants = {{"t", GiB(10)}};
  TestGate gate(config);
  Request pinned = Ask("holder", GiB(4));
  pinned.instance = InstanceId{0};
  gate.Admit(pinned, 0);
  // 7 GiB do not fit device 0; on devices 1 and 2 they are 14 GiB of a share of 10.
  EXPECT_THAT(gate.Admit(Of("t", Ask("torn", GiB(7))), 0), SaysNothing());
  EXPECT_THAT(gate.Admit(Ask("device", GiB(1)), 1), SaysNothing());
  EXPECT_THAT(gate.Admit(Of("t", Ask("share", GiB(1))), 1), SaysNothing());
  EXPECT_THAT(gate.End("holder", 2), Grants("torn", "device", "share"));
}

// A waiter of tenant "t" that is torn: 7 GiB do not fit device 0, where "holder" has 4 of 10; on devices 1 and 2 they
// are 14 GiB of a share of 10. So it closes all three and the share. Device 3 is for others.
class GateTornTest : public testing::Test {
 protected:
  static GateConfig Config() {
    GateConfig config = Devices({10, 10, 10, 10});
    config.models = {{"m", {{.name = "one", .devices = {0}}, {.name = "two", .devices = {1, 2}}}},
                     {"n", {{.name = "a", .devices = {3}}}},
                     {"p", {{.name = "a", .devices = {0, 3}}}}};
    config.tenants = {{"t", GiB(10)}};
    config.queue.max_bypass = 1;
    return config;
  }
  GateTornTest() : gate_(Config()) {
    Request pinned = Ask("holder", GiB(4));
    pinned.instance = InstanceId{0};
    gate_.Admit(pinned, 0);
  }
  TestGate gate_;
};

// Once the share is short on every instance, it waits for that alone: the devices are open again, although it was room
// that went.
TEST_F(GateTornTest, LessOfTheShareClosesLess) {
  gate_.Admit(Of("t", Ask("running", GiB(1), 1)), 0);
  gate_.Admit(Of("t", Ask("torn", GiB(7))), 0);
  EXPECT_THAT(gate_.Admit(Ask("behind", GiB(1)), 1), SaysNothing());
  EXPECT_THAT(gate_.Progress("running", GiB(5), 2), Grants("behind"));
}

// Once the devices are short on every instance, it waits for them alone: the share is open again.
TEST_F(GateTornTest, LessOfADeviceClosesLess) {
  gate_.Admit(Of("t", Ask("torn", GiB(7))), 0);
  EXPECT_THAT(gate_.Admit(Of("t", Ask("behind", GiB(1), 1)), 1), SaysNothing());
  EXPECT_THAT(gate_.Reading(1, GiB(5), 2), Grants("behind"));
}

// The same within one dispatch: the first to go takes of the share, and so opens a device to the second.
TEST_F(GateTornTest, AGrantMayOpenADevice) {
  gate_.Admit(Ask("full", GiB(10), 1), 0);
  gate_.Admit(Of("t", Ask("torn", GiB(7))), 0);
  gate_.Admit(Of("t", Ask("first", GiB(5), 1)), 0);
  gate_.Admit(Ask("second", GiB(1), 2), 0);
  EXPECT_THAT(gate_.End("full", 0.5), Grants("first", "second"));
}

// A higher priority goes first, until the lower one has waited `ageing` for each step between them.
TEST(GateQueueTest, PriorityWithAgeing) {
  TestGate gate(OneDevice(100));
  gate.Admit(Ask("holder", 100), 0);
  gate.Admit(Ask("early", 60), 0);
  Request high = Ask("high", 60);
  high.priority = 1;
  gate.Admit(high, 5);
  EXPECT_THAT(gate.End("holder", 9.9), Grants("high"));
  Request late = Ask("late", 60);
  late.priority = 1;
  gate.Admit(late, 9.9);
  EXPECT_THAT(gate.End("high", 10), Grants("early"));
  EXPECT_THAT(gate.End("early", 13), Grants("late"));
}

TEST(GateQueueTest, FirstComeFirstServedAtTheSameInstant) {
  TestGate gate(OneDevice(100));
  gate.Admit(Ask("holder", 100), 0);
  for (const char* name : {"a", "b", "c"}) gate.Admit(Ask(name, 60), 0);
  EXPECT_THAT(gate.End("holder", 1), Grants("a"));
  EXPECT_THAT(gate.End("a", 1), Grants("b"));
}

}  // namespace
}  // namespace vramgate
