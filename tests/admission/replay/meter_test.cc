#include "admission/replay/meter.h"

#include <gtest/gtest.h>

#include "admission/replay/policy.h"

namespace vramgate {
namespace {

Instant At(double s) {
  return {static_cast<int64_t>(s * 1e9)};
}

TEST(MeterTest, AveragesOverTimeAndOverTheTimeQueued) {
  Meter meter(1, 100);
  meter.Occupy(0, 50);
  meter.Advance(At(1));
  meter.Wait(0);
  meter.Occupy(0, 30);
  meter.Advance(At(2));
  meter.StopWaiting(0);
  meter.Occupy(0, -80);
  meter.Advance(At(4));
  EXPECT_DOUBLE_EQ(meter.utilization(), (0.5 + 0.8) / 4);
  EXPECT_DOUBLE_EQ(meter.utilization_while_queued().value_or(-1), 0.8);
  EXPECT_DOUBLE_EQ(meter.queued_s(), 1);
  EXPECT_FALSE(meter.FairnessGap()) << "one tenant has nobody to be compared with";
}

TEST(MeterTest, NobodyEverWaited) {
  Meter meter(1, 100);
  meter.Advance(At(1));
  EXPECT_FALSE(meter.utilization_while_queued());
  EXPECT_EQ(meter.WaitQuantile_s(0.99), 0);
}

TEST(MeterTest, TheGapIsBetweenThoseThatAlwaysWanted) {
  Meter meter(3, 100);
  for (const int32_t tenant : {0, 1, 2}) meter.Wait(tenant);
  meter.Occupy(0, 40);
  meter.Occupy(1, 10);
  meter.Occupy(2, 1);
  meter.Advance(At(1));
  meter.StopWaiting(2);
  meter.Advance(At(10));
  EXPECT_DOUBLE_EQ(meter.FairnessGap().value_or(-1), 1 - 10.0 / 40) << "the third wanted for a tenth of the time only";
}

TEST(TimelineTest, SpansDoubleAndKeepTheirMeans) {
  Timeline timeline;
  for (int i = 0; i < 5000; ++i) timeline.Add(At(i), At(i + 1), i < 2500 ? 10 : 30, i);
  timeline.Waited(At(4999), 7);
  const std::vector<Timeline::Span> spans = timeline.spans();
  EXPECT_LE(spans.size(), 512u);
  double byte_s = 0;
  for (const Timeline::Span& span : spans) byte_s += span.mean_bytes * static_cast<double>(timeline.span_ns()) * 1e-9;
  EXPECT_NEAR(byte_s, 2500 * 40, 1);
  EXPECT_EQ(spans.front().most_bytes, 10);
  EXPECT_EQ(spans.back().most_waiting, 4999);
  EXPECT_EQ(spans.back().longest_wait_s, 7);
}

TEST(DecisionTimesTest, QuantilesAreWithinASixteenth) {
  FakeClock clock;
  DecisionTimes times(&clock);
  for (int64_t ns = 1; ns <= 1000; ++ns) {
    const Instant begin = times.Begin();
    clock.Advance(absl::Nanoseconds(ns));
    times.End(begin);
  }
  EXPECT_NEAR(times.Quantile(0.5), 500, 500.0 / 16);
  EXPECT_NEAR(times.Quantile(0.99), 990, 990.0 / 16);
  EXPECT_EQ(DecisionTimes(nullptr).Quantile(0.5), 0);
}

}  // namespace
}  // namespace vramgate
