#include "admission/gate/budget.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace vramgate {
namespace {

class BudgetTest : public testing::Test {
 protected:
  Charges Of(int64_t device_bytes, int64_t pool_bytes) {
    Charges charges;
    charges.Add(device_, device_bytes);
    charges.Add(pool_, pool_bytes);
    return charges;
  }
  int64_t reserved(AccountId id) const { return budget_.account(id).reserved_bytes; }

  Budget budget_;
  const AccountId device_ = budget_.AddAccount({.name = "device/0", .capacity_bytes = 100, .fixed_bytes = 20});
  const AccountId pool_ = budget_.AddAccount({.name = "pool/m/a", .capacity_bytes = 50});
};

TEST_F(BudgetTest, TakesAllAndGivesAllBack) {
  {
    const std::optional<Reservation> held = budget_.TryReserve(Of(80, 50));
    ASSERT_TRUE(held.has_value());
    EXPECT_EQ(reserved(device_), 80);
    EXPECT_EQ(budget_.account(device_).used_bytes(), 100);
    EXPECT_EQ(budget_.account(device_).free_bytes(), 0);
  }
  EXPECT_EQ(reserved(device_), 0);
  EXPECT_EQ(reserved(pool_), 0);
  EXPECT_EQ(budget_.account(device_).peak_reserved_bytes, 80);
}

TEST_F(BudgetTest, TakesNothingWhereOneAccountLacksAByte) {
  EXPECT_FALSE(budget_.TryReserve(Of(1, 51)).has_value());
  EXPECT_FALSE(budget_.TryReserve(Of(81, 1)).has_value());
  EXPECT_EQ(reserved(device_), 0);
  EXPECT_EQ(reserved(pool_), 0);
}

TEST_F(BudgetTest, AChargeOfNothingIsNoCharge) {
  const Charges charges = Of(0, 5);
  EXPECT_EQ(charges.list().size(), 1u);
  EXPECT_EQ(charges.bytes(device_), 0);
  EXPECT_EQ(charges.bytes(pool_), 5);
  EXPECT_TRUE(Of(0, 0).empty());
}

TEST_F(BudgetTest, AnEmptyReservationHoldsAndGivesBack) {
  std::optional<Reservation> held = budget_.TryReserve(Charges());
  ASSERT_TRUE(held.has_value());
  EXPECT_TRUE(held->holds());
}

TEST_F(BudgetTest, MovingGivesNothingBackTwice) {
  Reservation a = *budget_.TryReserve(Of(30, 0));
  Reservation b = std::move(a);
  EXPECT_FALSE(a.holds());  // NOLINT(bugprone-use-after-move,clang-analyzer-cplusplus.Move): what is promised of it
  EXPECT_TRUE(b.holds());
  EXPECT_EQ(reserved(device_), 30);
  b = *budget_.TryReserve(Of(10, 0));  // frees what it held
  EXPECT_EQ(reserved(device_), 10);
  b.Reset();
  b.Reset();
  EXPECT_EQ(reserved(device_), 0);
}

TEST_F(BudgetTest, GrowsWhereItFits) {
  Reservation held = *budget_.TryReserve(Of(30, 0));
  EXPECT_TRUE(held.TryGrow(device_, 50));
  EXPECT_FALSE(held.TryGrow(device_, 1));
  EXPECT_TRUE(held.TryGrow(pool_, 50));  // an account it held nothing of
  EXPECT_EQ(reserved(device_), 80);
  EXPECT_EQ(reserved(pool_), 50);
  held.Reset();
  EXPECT_EQ(reserved(device_), 0);
  EXPECT_EQ(reserved(pool_), 0);
  EXPECT_EQ(budget_.account(pool_).held, 0);
}

TEST_F(BudgetTest, LingeringBytesFollowTheReservation) {
  Reservation held = *budget_.TryReserve(Of(30, 10));
  held.SetLingering(true);
  held.SetLingering(true);
  EXPECT_TRUE(held.TryGrow(device_, 5));
  EXPECT_EQ(budget_.account(device_).lingering_bytes, 35);
  held.SetLingering(false);
  EXPECT_EQ(budget_.account(device_).lingering_bytes, 0);
  held.SetLingering(true);
  held.Reset();
  EXPECT_EQ(budget_.account(pool_).lingering_bytes, 0);
}

TEST_F(BudgetTest, NothingIsFreeBelowACapacityThatFell) {
  const Reservation held = *budget_.TryReserve(Of(60, 0));
  budget_.mutable_account(device_).capacity_bytes = 50;
  EXPECT_EQ(budget_.account(device_).free_bytes(), 0);
  EXPECT_FALSE(budget_.TryReserve(Of(1, 0)).has_value());
}

TEST_F(BudgetTest, AnUnlimitedAccountTakesAnything) {
  const AccountId share = budget_.AddAccount({.name = "tenant/t"});
  Charges charges;
  charges.Add(share, kUnlimitedBytes);
  const std::optional<Reservation> held = budget_.TryReserve(charges);
  ASSERT_TRUE(held.has_value());
  EXPECT_EQ(budget_.account(share).free_bytes(), 0);
}

TEST(BudgetDeathTest, OutlivesItsReservations) {
  EXPECT_DEATH(
      {
        std::optional<Reservation> held;
        Budget budget;
        budget.AddAccount({.capacity_bytes = 1});
        held = budget.TryReserve(Charges());
      },
      "Budget: destroyed before its Reservations");
}

}  // namespace
}  // namespace vramgate
