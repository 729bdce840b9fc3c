#include "admission/gate/risk_control.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace vramgate {
namespace {

TEST(RiskControlTest, AnErrorRaisesAndQuietLowersUntilItsFloor) {
  RiskControl control({.risk = 0.01, .gamma = 0.5, .z_start = 1, .z_min = 0.5, .z_max = 1.9});
  EXPECT_EQ(control.z(), 1);
  control.EndWindow(true);
  EXPECT_DOUBLE_EQ(control.z(), 1.495);
  EXPECT_FALSE(control.guaranteed_only());
  control.EndWindow(true);
  EXPECT_TRUE(control.guaranteed_only());
  EXPECT_DOUBLE_EQ(control.z(), 1.9);
  for (int i = 0; i < 1'000; ++i) control.EndWindow(false);
  EXPECT_EQ(control.z(), 0.5);
}

// Whatever errs, as long as errors end within D windows of the last admission that could cause one, the rate keeps the
// bound: here an adversary errs whenever it can.
TEST(RiskControlTest, NoAdversaryPassesTheBound) {
  for (const double risk : {0.1, 0.01, 0.001}) {
    for (const int delay : {1, 7, 100}) {
      for (const uint64_t seed : {1, 2, 3}) {
        std::mt19937_64 random(seed);
        RiskControl control({.risk = risk});
        int since = 0;
        for (int window = 0; window < 20'000; ++window) {
          if (!control.guaranteed_only()) {
            control.Admitted();
            since = 0;
          }
          control.EndWindow(since < delay && (seed == 1 || random() % seed == 0));
          ++since;
          ASSERT_LE(control.rate(), control.bound()) << "window " << window << " risk " << risk << " delay " << delay;
        }
        EXPECT_LE(control.delay(), delay);
        if (seed == 1) {
          EXPECT_GT(control.rate(), 0.9 * risk);
        }
      }
    }
  }
}

// The bound is no empty word: an error that nothing admitted can have caused breaks it.
TEST(RiskControlTest, ErrorsWithoutACausePassTheBoundOfAShortDelay) {
  RiskControl control({.risk = 0.01});
  const RiskControl::Options& o = control.options();
  for (int window = 0; window < 1'000; ++window) control.EndWindow(true);
  const double bound_at_delay_7 = o.risk + (o.z_max - o.z_start + o.gamma * 8) / (o.gamma * 1'000);
  EXPECT_GT(control.rate(), bound_at_delay_7);
  EXPECT_EQ(control.delay(), 1'000) << "D says so";
}

}  // namespace
}  // namespace vramgate
