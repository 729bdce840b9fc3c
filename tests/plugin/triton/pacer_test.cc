#include "plugin/triton/pacer.h"

#include <gtest/gtest.h>

namespace vramgate {
namespace {

using std::chrono::milliseconds;

// How many go in so many milliseconds, asked each of them.
int Gone(Pacer& pacer, Pacer::Instant begin, int for_ms) {
  int gone = 0;
  for (int ms = 0; ms < for_ms; ++ms) {
    const Pacer::Instant now = begin + milliseconds(ms);
    for (; gone < 100000 && pacer.Due(now); ++gone) pacer.Take(now);
  }
  return gone;
}

TEST(PacerTest, SoManyASecondAndAFewAtOnce) {
  Pacer pacer(100);
  const Pacer::Instant begin{};
  const int first = Gone(pacer, begin, 1000);
  EXPECT_GE(first, 100);
  EXPECT_LE(first, 109);
  EXPECT_EQ(Gone(pacer, begin + milliseconds(1000), 1000), 100);
}

TEST(PacerTest, APauseIsNoCreditForMore) {
  Pacer pacer(100);
  const Pacer::Instant begin{};
  Gone(pacer, begin, 100);
  EXPECT_LE(Gone(pacer, begin + std::chrono::hours(1), 10), 10);
}

TEST(PacerTest, SaysWhenTheNextMayGo) {
  Pacer pacer(10);
  const Pacer::Instant now{};
  while (pacer.Due(now)) pacer.Take(now);
  EXPECT_GT(pacer.next(), now);
  EXPECT_LE(pacer.next(), now + milliseconds(100));
  EXPECT_TRUE(pacer.Due(pacer.next()));
}

TEST(PacerTest, NoBound) {
  Pacer pacer(0);
  EXPECT_EQ(Gone(pacer, Pacer::Instant{}, 1), 100000);
}

}  // namespace
}  // namespace vramgate
