#include "admission/gate/fleet.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/admission/gate/gate_fixture.h"

namespace vramgate {
namespace {

using testing::ElementsAre;

// left on 0, right on 1, both on 0 and 1 (preallocated), apart on 2.
GateConfig FourModels() {
  GateConfig config = Devices({10, 10, 10});
  config.models = {{"left", {{.name = "a", .devices = {0}, .fixed_bytes = GiB(1)}}},
                   {"right", {{.name = "a", .devices = {1}}}},
                   {"apart", {{.name = "a", .devices = {2}}, {.name = "b", .devices = {2}}}}};
  return config;
}

GateConfig WithBoth(GateConfig config) {
  config.models.push_back({"both", {{.name = "tp", .devices = {0, 1}, .fixed_bytes = GiB(2), .pool_bytes = GiB(3)}}});
  return config;
}

TEST(FleetTest, FixedBytesAndPoolsStandInTheDevices) {
  Budget budget;
  const Fleet fleet(WithBoth(FourModels()), budget);
  EXPECT_EQ(budget.account(AccountId{0}).fixed_bytes, GiB(6));
  EXPECT_EQ(budget.account(AccountId{1}).fixed_bytes, GiB(5));
  EXPECT_EQ(budget.account(AccountId{2}).fixed_bytes, 0);
  const Account& pool = budget.account(fleet.instance(InstanceId{4}).pool);
  EXPECT_EQ(pool.name, "pool/both/tp");
  EXPECT_EQ(pool.capacity_bytes, GiB(3));
}

TEST(FleetTest, ModelsThatShareADeviceAreAnIsland) {
  Budget apart;
  const Fleet three(FourModels(), apart);
  EXPECT_EQ(three.islands(), 3);
  EXPECT_NE(three.models()[0].island, three.models()[1].island);

  Budget joined;
  const Fleet two(WithBoth(FourModels()), joined);
  EXPECT_EQ(two.islands(), 2);
  EXPECT_EQ(two.models()[0].island, two.models()[1].island);
  EXPECT_NE(two.models()[0].island, two.models()[2].island);
  EXPECT_EQ(two.island(AccountId{1}), two.models()[0].island);
}

TEST(FleetTest, AHardShareJoinsAllIslands) {
  GateConfig config = FourModels();
  config.tenants = {{"t"}};
  Budget unlimited;
  EXPECT_EQ(Fleet(config, unlimited).islands(), 3);
  config.tenants = {{"t", GiB(1)}};
  Budget limited;
  EXPECT_EQ(Fleet(config, limited).islands(), 1);
  config.tenants.clear();
  config.default_tenant_limit_bytes = GiB(1);
  Budget by_default;
  EXPECT_EQ(Fleet(config, by_default).islands(), 1);
}

TEST(FleetTest, ALineForAnyInstanceAndOneForEachPin) {
  Budget budget;
  const Fleet fleet(FourModels(), budget);
  const auto alternatives = [&](InstanceId pin) {
    return fleet.lines()[static_cast<size_t>(fleet.line(ModelId{2}, pin))].alternatives;
  };
  EXPECT_THAT(alternatives(kAnyInstance), ElementsAre(InstanceId{2}, InstanceId{3}));
  EXPECT_THAT(alternatives(InstanceId{3}), ElementsAre(InstanceId{3}));
}

TEST(FleetTest, Charges) {
  Budget budget;
  const Fleet fleet(WithBoth(FourModels()), budget);
  const AccountId tenant = budget.AddAccount({.name = "tenant/t"});
  const RankCost cost{.kv_bytes = 10, .activation_bytes = 3};

  const auto dynamic = fleet.ChargesOf(fleet.instance(InstanceId{0}), cost, tenant);
  EXPECT_EQ(dynamic.list().size(), 2u);
  EXPECT_EQ(dynamic.bytes(AccountId{0}), 13);
  EXPECT_EQ(dynamic.bytes(tenant), 13);

  const Instance& tp = fleet.instance(InstanceId{4});
  const auto preallocated = fleet.ChargesOf(tp, cost, tenant);
  EXPECT_EQ(preallocated.list().size(), 4u);
  EXPECT_EQ(preallocated.bytes(AccountId{0}), 3);
  EXPECT_EQ(preallocated.bytes(AccountId{1}), 3);
  EXPECT_EQ(preallocated.bytes(tp.pool), 10);
  EXPECT_EQ(preallocated.bytes(tenant), 26);
}

TEST(FleetTest, SumsSaturate) {
  Budget budget;
  const Fleet fleet(WithBoth(FourModels()), budget);
  const RankCost cost{.kv_bytes = INT64_MAX, .activation_bytes = 1};
  EXPECT_EQ(fleet.instance(InstanceId{0}).device_bytes(cost), kUnlimitedBytes);
  EXPECT_EQ(fleet.instance(InstanceId{4}).total_bytes({.kv_bytes = INT64_MAX / 2 + 1}), kUnlimitedBytes);
}

}  // namespace
}  // namespace vramgate
