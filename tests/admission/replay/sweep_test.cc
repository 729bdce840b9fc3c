#include "admission/replay/sweep.h"

#include <gtest/gtest.h>

#include "tests/admission/replay/inputs.h"

namespace vramgate {
namespace {

void Resize(ReplayInput& input, int64_t kv_tokens) {
  input.engine.pool_bytes = input.engine.curve.bytes(kv_tokens);
  input.gate.devices[0].capacity_bytes = input.gate.devices[0].ceiling_bytes = input.engine.pool_bytes;
  input.gate.models[0].instances[0].pool_bytes = input.engine.pool_bytes;
}

TEST(SweepTest, FindsLimitsThatMeetTheTargetAndNoSmallerOnes) {
  const ReplayInput input = InputOf(Slice("azure2023_conv_1500", 500), 30'000, 1024, 2);
  for (const char* policy : {"worst_case", "oracle"}) {
    SCOPED_TRACE(policy);
    const SweepResult found = Sweep({FindPolicy(policy)}, input, 2.0, Resize, nullptr);
    ASSERT_TRUE(found.kv_tokens);
    EXPECT_LE(found.with_pool.wait_p99_s, 2.0);
    EXPECT_EQ(found.with_pool.rejected, 0);
    ReplayInput smaller = input;
    Resize(smaller, *found.kv_tokens * 9 / 10);
    EXPECT_GT(Replayed(policy, smaller).wait_p99_s, 2.0);

    ASSERT_TRUE(found.queue_requests);
    EXPECT_LE(found.with_queue.wait_p99_s, 2.0);
    EXPECT_GT(found.with_queue.rejected, 0) << "this pool is too small for all of them";
    ReplayInput longer = input;
    longer.gate.queue.max_requests = *found.queue_requests + 1;
    EXPECT_GT(Replayed(policy, longer).wait_p99_s, 2.0);
  }
}

TEST(SweepTest, AQueueThatIsNeverTooLongIsLeftAlone) {
  const ReplayInput input = InputOf(Slice("azure2023_conv_1500", 50), 1'000'000, 1024, 1);
  const SweepResult found = Sweep({FindPolicy("worst_case")}, input, 1.0, Resize, nullptr);
  EXPECT_EQ(found.queue_requests, 50);
  EXPECT_EQ(found.with_queue.rejected, 0);
}

// The risk that is found meets the target; the next smaller one does not.
TEST(SweepTest, FindsTheLeastRiskThatMeetsTheTarget) {
  const ReplayInput input = InputOf(Slice("azure2023_conv_1500", 1500), 30'000, 1024, 2);
  const PolicyKind* statistical = FindPolicy("statistical");
  const double least_s = Replay({statistical, kSweepRisks.front()}, input, {}).wait_p99_s;
  const double most_s = Replay({statistical, kSweepRisks.back()}, input, {}).wait_p99_s;
  ASSERT_LT(most_s, least_s);
  const SweepResult found = Sweep({statistical, 1e-3}, input, (most_s + least_s) / 2, Resize, nullptr);
  ASSERT_TRUE(found.risk);
  EXPECT_LE(found.with_risk.wait_p99_s, found.target_wait_s);
  EXPECT_GT(*found.risk, kSweepRisks.front());
  EXPECT_EQ(found.with_risk.rejected, 0);
  EXPECT_FALSE(Sweep({FindPolicy("lockstep")}, input, most_s, Resize, nullptr).risk) << "it takes none";
}

}  // namespace
}  // namespace vramgate
