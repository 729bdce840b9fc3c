// The wait queue and its walk: who goes next of those who wait, whether they fit or not.
#include "admission/gate/wait_queue.h"

#include <string>
#include <vector>

#include "admission/gate/queue_walk.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/admission/gate/gate_fixture.h"

namespace vramgate {
namespace {

using testing::ElementsAre;

class WaitQueueTest : public testing::Test {
 protected:
  WaitQueueTest()
      : fleet_(OneDevice(GiB(10)), budget_),
        tenants_(Weights(), 1, budget_),
        queue_(fleet_, tenants_, GateConfig::Queue()),
        table_(16) {}
  ~WaitQueueTest() override {
    while (!queue_.empty(0)) queue_.Leave(queue_.any(0));
  }
  static GateConfig Weights() {
    GateConfig config;
    config.tenants = {{.name = "heavy", .weight = 2}, {.name = "light", .weight = 1}};
    return config;
  }

  Lease& Enter(std::string_view id, double arrived_s, int32_t priority = 0, int64_t bytes = 10,
               std::string_view tenant = "light", double max_wait_s = 30) {
    Lease& lease = *table_.Create({.caller = 1, .tenant = tenant, .request_id = id});
    lease.state = LeaseState::kHeld;
    bool new_account = false;
    lease.tenant = tenants_.Acquire(tenant, &new_account);
    lease.arrived = At(arrived_s);
    lease.wait.end_ns = (lease.arrived + absl::Seconds(max_wait_s)).ns;
    lease.priority = priority;
    lease.sequence = ++sequence_;
    lease.costs.fill({.kv_bytes = bytes});
    lease.tokens = bytes;
    queue_.Lift(lease, floor_);
    queue_.Enter(lease);
    return lease;
  }
  // The order of the walk. Each one costs its tenant `charge`, as if it were granted.
  std::vector<std::string> Order(double at_s, FairTime charge = 0) {
    std::vector<std::string> names;
    QueueWalk walk;
    walk.Begin(queue_, 0, At(at_s));
    while (const Lease* lease = walk.Next()) {
      names.push_back(lease->request_id);
      Tenant& tenant = tenants_.tenant(lease->tenant);
      tenant.shares[0].had += charge * tenant.price;
    }
    return names;
  }
  FairShare& ShareOf(std::string_view tenant) {
    bool new_account = false;
    const int32_t index = tenants_.Acquire(tenant, &new_account);
    tenants_.Release(index);
    return tenants_.tenant(index).shares[0];
  }

  Budget budget_;
  Fleet fleet_;
  TenantTable tenants_;
  WaitQueue queue_;
  LeaseTable table_;
  uint64_t sequence_ = 0;
  FairTime floor_ = 0;
};

TEST_F(WaitQueueTest, OneTenantsOfOnePriorityComeAsTheyCame) {
  for (const char* name : {"a", "b", "c"}) Enter(name, 10);
  Enter("earlier", 9);
  EXPECT_THAT(Order(11), ElementsAre("earlier", "a", "b", "c"));
}

TEST_F(WaitQueueTest, WhoseWaitEndsFirstGoesFirstOfItsTenant) {
  Enter("patient", 0, 0, 10, "light", 30);
  Enter("in a hurry", 5, 0, 10, "light", 2);
  EXPECT_THAT(Order(5), ElementsAre("in a hurry", "patient"));
}

TEST_F(WaitQueueTest, AWaiterRisesOnePriorityEveryTenSeconds) {
  Enter("low", 0, -1);
  Enter("a", 10);
  Enter("high", 19.9, 1);
  EXPECT_THAT(Order(19.9), ElementsAre("high", "low", "a"));  // low has risen by one, and came before a
  EXPECT_THAT(Order(20), ElementsAre("low", "a", "high"));    // all are in the highest band
}

// Where all have one priority, waiting long is no claim against other tenants.
TEST_F(WaitQueueTest, AgeingLiftsNobodyAboveTheHighestThatWaits) {
  Enter("old 1", 0);
  Enter("old 2", 0);
  Enter("new", 29, 0, 10, "heavy");
  ShareOf("light").had = 2;
  ShareOf("heavy").had = 1;
  EXPECT_THAT(Order(29), ElementsAre("new", "old 1", "old 2"));
  Enter("above", 29, 1, 10, "heavy");
  EXPECT_THAT(Order(29), ElementsAre("above", "old 1", "old 2", "new"));  // now they have somebody to rise to
}

TEST_F(WaitQueueTest, TenantsTakeTurnsByWeight) {
  for (const char* name : {"l1", "l2", "l3"}) Enter(name, 0, 0, 10, "light");
  for (const char* name : {"h1", "h2", "h3", "h4", "h5", "h6"}) Enter(name, 1, 0, 10, "heavy");
  EXPECT_THAT(Order(1, 30), ElementsAre("l1", "h1", "h2", "l2", "h3", "h4", "l3", "h5", "h6"));
}

TEST_F(WaitQueueTest, WhoComesWithNobodyWaitingIsLiftedToTheLeastOfThoseWhoWait) {
  ShareOf("heavy").had = 50;
  floor_ = 100;
  Enter("h1", 0, 0, 10, "heavy");
  EXPECT_EQ(ShareOf("heavy").had, 100);  // nobody waits: to the floor
  ShareOf("heavy").had = 70;
  Enter("l1", 0, 0, 10, "light");
  EXPECT_EQ(ShareOf("light").had, 70);
  ShareOf("light").had = 20;
  Enter("l2", 1, 0, 10, "light");
  EXPECT_EQ(ShareOf("light").had, 20);  // it was waiting: nothing was banked
  Enter("n1", 1, 0, 10, "new");
  EXPECT_EQ(ShareOf("new").had, 20);
  floor_ = 10;
  Enter("m1", 1, 0, 10, "newer");
  EXPECT_EQ(ShareOf("newer").had, 10);  // not above the floor
  ShareOf("debtor").had = 500;
  Enter("d1", 1, 0, 10, "debtor");
  EXPECT_EQ(ShareOf("debtor").had, 500);  // nor down
}

TEST_F(WaitQueueTest, ExtremePrioritiesDoNotOverflow) {
  Enter("middle", 0);
  Enter("first", 0, INT32_MAX);
  Enter("last", 0, INT32_MIN);
  EXPECT_THAT(Order(0), ElementsAre("first", "middle", "last"));
}

TEST_F(WaitQueueTest, KeepsItsSums) {
  Enter("a", 0, 0, 10);
  Lease& b = Enter("b", 0, 0, 5);
  EXPECT_EQ(queue_.size(), 2);
  EXPECT_EQ(queue_.tokens(), 15);
  EXPECT_EQ(queue_.bytes(0), 15);
  EXPECT_EQ(queue_.line(0).waiting, 2);
  EXPECT_EQ(queue_.line(0).least[0].kv_bytes, 5);
  queue_.Leave(b);
  EXPECT_EQ(queue_.bytes(0), 10);
  EXPECT_THAT(Order(0), ElementsAre("a"));
}

TEST_F(WaitQueueTest, HugeWaitersDoNotOverflowTheSum) {
  Enter("a", 0, 0, INT64_MAX / 2).tokens = 0;
  Enter("b", 0, 0, INT64_MAX / 2).tokens = 0;
  EXPECT_GT(queue_.bytes(0), 0);
}

}  // namespace
}  // namespace vramgate
