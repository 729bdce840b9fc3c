// The policy itself, below the gate: what closes what, and when a pass ends.
#include "admission/gate/dispatch.h"

#include <deque>
#include <optional>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/admission/gate/gate_fixture.h"

namespace vramgate {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

class DispatchTest : public testing::Test {
 protected:
  DispatchTest() {
    config_ = Devices({10, 10});
    config_.models = {{"left", {{.name = "a", .devices = {0}}}},
                      {"both", {{.name = "tp", .devices = {0, 1}}}},
                      {"either", {{.name = "a", .devices = {0}}, {.name = "b", .devices = {1}}}},
                      {"right", {{.name = "a", .devices = {1}}}}};
    config_.queue.max_bypass = 2;
    fleet_.emplace(config_, budget_);
    loads_.emplace(config_);
    tenants_.emplace(config_, fleet_->islands(), budget_);
    queue_.emplace(*fleet_, *tenants_, config_.queue);
    outlooks_.resize(fleet_->instances().size());
    dispatch_.emplace(*fleet_, *loads_, budget_, outlooks_, *queue_, config_.queue);
  }
  ~DispatchTest() override {
    while (!queue_->empty(0)) queue_->Leave(queue_->any(0));
    for (Lease& lease : leases_) lease.reservation.Reset();
  }

  Lease& Wait(std::string name, int model, int64_t gib, double arrived_s = 0) {
    Lease& lease = leases_.emplace_back();
    lease.request_id = std::move(name);
    lease.model = ModelId{model};
    lease.costs.fill({.kv_bytes = GiB(gib)});
    lease.arrived = At(arrived_s);
    lease.wait.end_ns = lease.arrived.ns;
    bool new_account = false;
    lease.tenant = tenants_->Acquire("t", &new_account);
    lease.sequence = leases_.size();
    queue_->Enter(lease);
    return lease;
  }
  std::vector<std::string> Run(double at_s) {
    std::vector<std::string> granted;
    dispatch_->Run(
        0, true, At(at_s), [](const Lease&) { return kNoAccount; },
        [&](Lease& lease, InstanceId id) {
          queue_->Leave(lease);
          lease.reservation = *budget_.TryReserve(fleet_->ChargesOf(fleet_->instance(id), lease.costs[0], kNoAccount));
          granted.push_back(lease.request_id);
        });
    return granted;
  }
  // Takes `gib` of a device for the whole test.
  void Take(int device, int64_t gib) {
    Charges charges;
    charges.Add(AccountId{device}, GiB(gib));
    leases_.emplace_back().reservation = *budget_.TryReserve(charges);
  }

  GateConfig config_;
  Budget budget_;
  std::deque<Lease> leases_;
  std::optional<Fleet> fleet_;
  std::optional<TenantTable> tenants_;
  std::optional<WaitQueue> queue_;
  Dispatch::Outlooks outlooks_;  // all at worst_case
  std::optional<InstanceLoads> loads_;
  std::optional<Dispatch> dispatch_;
};

TEST_F(DispatchTest, InOrderAndAsMuchAsPossible) {
  Wait("a", 0, 4);
  Wait("b", 0, 4);
  Wait("c", 0, 4);
  Wait("d", 0, 2);
  EXPECT_THAT(Run(0), ElementsAre("a", "b", "d"));
  EXPECT_THAT(Run(0), IsEmpty());
}

TEST_F(DispatchTest, ATensorParallelHeadClosesAllItsDevices) {
  Take(0, 8);
  Lease& tp = Wait("tp", 1, 5);
  Wait("right 1", 3, 1);
  Wait("right 2", 3, 1);
  Wait("right 3", 3, 1);
  EXPECT_THAT(Run(0), ElementsAre("right 1", "right 2"));
  EXPECT_EQ(tp.bypassed, 2);  // and is not passed again
  Wait("left", 0, 1);
  EXPECT_THAT(Run(0), IsEmpty());
}

TEST_F(DispatchTest, TheWindowClosesWithoutACount) {
  Take(0, 8);
  Lease& head = Wait("head", 0, 5);
  Wait("small", 0, 1, 1);
  EXPECT_THAT(Run(1), IsEmpty());
  EXPECT_EQ(head.bypassed, 0);
}

TEST_F(DispatchTest, OtherDevicesStayOpen) {
  Take(0, 8);
  Wait("head", 0, 5);
  Wait("right", 3, 5, 2);
  Wait("either", 2, 5, 2);
  EXPECT_THAT(Run(2), ElementsAre("right", "either"));
}

TEST_F(DispatchTest, OneBehindAClosedHeadClosesToo) {
  Take(0, 8);
  Wait("head", 0, 5);
  Lease& second = Wait("second", 1, 1, 0.5);  // would fit, but may not pass the head
  Wait("third", 3, 1, 1.2);
  EXPECT_THAT(Run(1.2), ElementsAre("third"));  // passes the second, softly
  EXPECT_EQ(second.bypassed, 1);
}

TEST_F(DispatchTest, JudgesTheRoomOnly) {
  Take(0, 8);
  Wait("head", 0, 5);
  Run(5);
  Lease probe;
  probe.costs.fill({.kv_bytes = GiB(1)});
  EXPECT_EQ(dispatch_->Judge(probe, kNoAccount).pick, InstanceId{0});
  probe.costs.fill({.kv_bytes = GiB(3)});
  EXPECT_EQ(dispatch_->Judge(probe, kNoAccount).pick, kAnyInstance);
  EXPECT_TRUE(dispatch_->Judge(probe, kNoAccount).devices_short);
}

TEST_F(DispatchTest, JudgesATenantThatCameLater) {
  const AccountId share = budget_.AddAccount({.name = "tenant/new", .capacity_bytes = GiB(2)});
  Lease probe;
  probe.costs.fill({.kv_bytes = GiB(2)});
  EXPECT_EQ(dispatch_->Judge(probe, share).pick, InstanceId{0});
  probe.costs.fill({.kv_bytes = GiB(3)});
  EXPECT_TRUE(dispatch_->Judge(probe, share).tenant_short);
  EXPECT_FALSE(dispatch_->Judge(probe, share).devices_short);
}

}  // namespace
}  // namespace vramgate
