// The gate's tables: leases, tenants, and the forecast.
#include "admission/gate/forecast.h"
#include "admission/gate/lease_table.h"
#include "admission/gate/tenant_table.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/admission/gate/gate_fixture.h"

namespace vramgate {
namespace {

using testing::ElementsAre;

// --- Leases ---

Lease* Made(LeaseTable& table, std::string_view id) {
  Lease* lease = table.Create({.caller = 1, .tenant = "t", .request_id = id});
  if (lease != nullptr) lease->state = LeaseState::kHeld;
  return lease;
}

TEST(LeaseTableTest, FindsByIdAndByKey) {
  LeaseTable table(4);
  Lease* a = Made(table, "a");
  EXPECT_EQ(table.Find(a->id), a);
  EXPECT_EQ(table.FindKey({.caller = 1, .tenant = "t", .request_id = "a"}), a);
  EXPECT_EQ(table.FindKey({.caller = 2, .tenant = "t", .request_id = "a"}), nullptr);
  EXPECT_EQ(table.FindKey({.caller = 1, .tenant = "u", .request_id = "a"}), nullptr);
  EXPECT_EQ(table.Find({}), nullptr);
  EXPECT_EQ(table.Find({a->id.value + 1}), nullptr);
  EXPECT_EQ(table.Find({UINT64_MAX}), nullptr);
}

TEST(LeaseTableTest, AnIdIsNeverUsedTwice) {
  LeaseTable table(4);
  Lease* a = Made(table, "a");
  const LeaseId old = a->id;
  table.Erase(*a);
  EXPECT_EQ(table.Find(old), nullptr);
  EXPECT_EQ(table.FindKey({.caller = 1, .tenant = "t", .request_id = "a"}), nullptr);
  Lease* b = Made(table, "b");
  EXPECT_EQ(b, a);  // the slot is
  EXPECT_NE(b->id, old);
}

TEST(LeaseTableTest, AnEmptyRequestIdIsNoKey) {
  LeaseTable table(4);
  EXPECT_NE(Made(table, ""), Made(table, ""));
  EXPECT_EQ(table.FindKey({.caller = 1, .tenant = "t", .request_id = ""}), nullptr);
}

TEST(LeaseTableTest, IsBounded) {
  LeaseTable table(2);
  Lease* a = Made(table, "a");
  Made(table, "b");
  EXPECT_EQ(Made(table, "c"), nullptr);
  table.Erase(*a);
  EXPECT_NE(Made(table, "c"), nullptr);
  EXPECT_EQ(table.size(), 2);
}

TEST(LeaseTableTest, TimersComeInOrderAndEqualOnesFirstSetFirst) {
  LeaseTable table(4);
  Lease* a = Made(table, "a");
  Lease* b = Made(table, "b");
  Lease* c = Made(table, "c");
  table.SetTimer(*a, At(2));
  table.SetTimer(*b, At(1));
  table.SetTimer(*c, At(2));
  EXPECT_EQ(table.NextTimer(), At(1));
  EXPECT_EQ(table.FirstDue(At(0.999)), nullptr);
  EXPECT_EQ(table.FirstDue(At(1)), b);
  table.SetTimer(*b, kNever);
  EXPECT_EQ(table.FirstDue(At(2)), a);
  table.SetTimer(*a, At(2));  // set anew: behind c
  EXPECT_EQ(table.FirstDue(At(2)), c);
  table.Erase(*c);
  table.Erase(*a);
  EXPECT_EQ(table.NextTimer(), kNever);
}

TEST(LeaseTableTest, Pages) {
  LeaseTable table(4);
  Lease* a = Made(table, "a");
  Lease* b = Made(table, "b");
  Lease* c = Made(table, "c");
  table.Erase(*b);
  EXPECT_EQ(table.FirstInUse(0), a);
  EXPECT_EQ(table.FirstInUse(LeaseTable::Slot(a->id) + 1), c);
  EXPECT_EQ(table.FirstInUse(LeaseTable::Slot(c->id) + 1), nullptr);
}

// --- Tenants ---

TEST(TenantTableTest, NamesOfAccountsCanStandInACsv) {
  EXPECT_EQ(TenantAccountName("team-a_1.x~"), "tenant/team-a_1.x~");
  EXPECT_EQ(TenantAccountName("a,b\n\"%\xc3\xa9"), "tenant/a%2Cb%0A%22%25%C3%A9");
  EXPECT_EQ(TenantAccountName(""), "tenant/");
}

TEST(TenantTableTest, AnUnlistedTenantIsForgottenAfterManyOthers) {
  GateConfig config;
  config.default_tenant_limit_bytes = 50;
  Budget budget;
  TenantTable tenants(config, 1, budget);
  bool named = false;
  const int32_t a = tenants.Acquire("a", &named);
  EXPECT_TRUE(named);
  EXPECT_EQ(tenants.Acquire("a", &named), a);
  EXPECT_FALSE(named);
  const AccountId share = tenants.AccountOf("a");
  EXPECT_EQ(budget.account(share).capacity_bytes, 50);
  tenants.tenant(a).shares[0].had = 7;
  tenants.tenant(a).use.before = 70;
  tenants.Release(a);
  tenants.Release(a);

  EXPECT_EQ(tenants.Acquire("a", &named), a);  // remembered, with what it had
  EXPECT_FALSE(named);
  EXPECT_EQ(tenants.tenant(a).shares[0].had, 7);
  tenants.Release(a);
  for (size_t i = 1; i < TenantTable::kMostRemembered; ++i)
    tenants.Release(tenants.Acquire("other" + std::to_string(i), &named));
  EXPECT_EQ(tenants.AccountOf("a"), share);

  EXPECT_EQ(tenants.Acquire("b", &named), a);  // the slot and the account under a new name
  EXPECT_TRUE(named);
  EXPECT_EQ(tenants.AccountOf("a"), kNoAccount);
  EXPECT_EQ(tenants.AccountOf("b"), share);
  EXPECT_EQ(tenants.tenant(a).shares[0].had, 0);
  EXPECT_TRUE(tenants.forgotten_use() == 70);
  EXPECT_EQ(budget.account(share).name, "tenant/b");
  EXPECT_EQ(budget.size(), TenantTable::kMostRemembered);
}

TEST(TenantTableTest, AListedTenantStays) {
  GateConfig config;
  config.tenants = {{"a", 30}};
  Budget budget;
  TenantTable tenants(config, 1, budget);
  bool named = true;
  tenants.Release(tenants.Acquire("a", &named));
  EXPECT_FALSE(named);
  EXPECT_EQ(budget.account(tenants.AccountOf("a")).ceiling_bytes, 30);
}

TEST(TenantTableTest, WithoutLimitsAnUnlistedTenantHasNoAccount) {
  Budget budget;
  TenantTable tenants(GateConfig(), 1, budget);
  bool named = true;
  EXPECT_EQ(tenants.tenant(tenants.Acquire("a", &named)).account, kNoAccount);
  EXPECT_FALSE(named);
}

// --- Forecast ---

TEST(ForecastTest, SaysNothingBeforeTheFirstRelease) {
  EXPECT_EQ(Forecast(1).TimeToFree(0, 10, At(0)), std::nullopt);
}

TEST(ForecastTest, TheRateOfTheLastSeconds) {
  Forecast forecast(2);
  for (int s = 0; s <= 8; ++s) forecast.Released(0, 100, At(s));  // 900 B in 8 s
  EXPECT_EQ(forecast.TimeToFree(0, 900, At(8)), absl::Seconds(8));
  EXPECT_EQ(forecast.TimeToFree(0, 0, At(8)), absl::Milliseconds(1));
  EXPECT_EQ(forecast.TimeToFree(0, INT64_MAX, At(8)), absl::Hours(1));
  EXPECT_EQ(forecast.TimeToFree(1, 900, At(8)), std::nullopt);  // another island
}

TEST(ForecastTest, OneEarlyReleaseIsNoRate) {
  Forecast forecast(1);
  forecast.Released(0, 100, At(0));
  EXPECT_EQ(forecast.TimeToFree(0, 100, At(0)), absl::Seconds(1));
}

TEST(ForecastTest, ForgetsWhatIsLongAgo) {
  Forecast forecast(1);
  forecast.Released(0, 1'000'000, At(0));
  EXPECT_EQ(forecast.TimeToFree(0, 100, At(20)), std::nullopt);
  forecast.Released(0, 100, At(30));
  EXPECT_EQ(forecast.TimeToFree(0, 100, At(31)), absl::Seconds(1));
}

}  // namespace
}  // namespace vramgate
