// How long a wait will be: what is told, what becomes of it, and who is refused for it.
#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <string>

#include "tests/admission/gate/gate_fixture.h"

namespace vramgate {
namespace {

// One request at a time fits, and each takes ten seconds; the next arrives a second after the last was granted.
class GateForecastTest : public testing::Test {
 protected:
  static GateConfig OneAtATime() {
    GateConfig config = OneDevice(100);
    config.queue.max_wait = absl::Minutes(10);
    return config;
  }
  void Run(TestGate& gate, int rounds) {
    gate.Admit(Ask("0", 60), 0);
    for (int i = 1; i <= rounds; ++i) {
      gate.Admit(Ask(std::to_string(i), 60), 10.0 * i - 9);
      gate.End(std::to_string(i - 1), 10.0 * i);
    }
    now_s_ = 10.0 * rounds + 1;
  }
  double now_s_ = 0;
};

Request By(Request request, double deadline_s) {
  request.deadline = At(deadline_s);
  return request;
}

TEST_F(GateForecastTest, AWaitIsToldAndComparedWithWhatItCameTo) {
  TestGate gate(OneAtATime());
  Run(gate, 40);
  gate.Admit(Ask("next", 60), now_s_);
  const std::optional<absl::Duration> told = gate.gate().Position(gate.ref("next"), At(now_s_)).estimated_wait;
  ASSERT_TRUE(told.has_value());
  EXPECT_NEAR(absl::ToDoubleSeconds(*told), 9, 2);
  const Said said = gate.End("40", now_s_ + 9);
  ASSERT_THAT(said, Grants("next"));
  for (const Said::Word& word : said.words) {
    if (word.decision.kind != Decision::Kind::kAnswer) continue;
    ASSERT_TRUE(word.decision.estimated_wait.has_value());
    EXPECT_NEAR(absl::ToDoubleSeconds(*word.decision.estimated_wait), absl::ToDoubleSeconds(*told), 1e-3);
  }
  EXPECT_GT(gate.gate().wait_errors(ModelId{0}).waits(), 35);
}

TEST_F(GateForecastTest, WhoseDeadlineComesBeforeItsTurnIsRefusedAtOnce) {
  TestGate gate(OneAtATime());
  Run(gate, 60);
  const Said said = gate.Admit(By(Ask("hurried", 60), now_s_ + 1), now_s_);
  ASSERT_THAT(said, Refuses(Outcome::kRejectedDeadlineInfeasible, "hurried"));
  ASSERT_TRUE(said.words[0].decision.retry_after.has_value());
  EXPECT_NEAR(absl::ToDoubleSeconds(*said.words[0].decision.retry_after), 9, 2);
  EXPECT_THAT(gate.Admit(By(Ask("patient", 60), now_s_ + 30), now_s_), SaysNothing()) << "it may come in time";
  EXPECT_THAT(gate.End("60", now_s_ + 9), Grants("patient"));
}

TEST_F(GateForecastTest, NobodyIsRefusedForAnEstimateThatNothingIsKnownOf) {
  TestGate gate(OneAtATime());
  Run(gate, 10);
  EXPECT_THAT(gate.Admit(By(Ask("hurried", 60), now_s_ + 1), now_s_), SaysNothing());
  EXPECT_THAT(gate.Advance(now_s_ + 1), Refuses(Outcome::kDeadline, "hurried"));
}

TEST_F(GateForecastTest, EarlyRejectionCanBeTurnedOff) {
  GateConfig config = OneAtATime();
  config.queue.early_rejection = false;
  TestGate gate(config);
  Run(gate, 60);
  EXPECT_THAT(gate.Admit(By(Ask("hurried", 60), now_s_ + 1), now_s_), SaysNothing());
}

TEST(WaitErrorsTest, FollowsTheQuantilesOfTheRatio) {
  std::mt19937_64 random(1);
  std::normal_distribution<double> spread(1, 0.5);  // of the logarithm: the median is twice what was estimated
  WaitErrors errors;
  EXPECT_EQ(errors.median(), 1);
  EXPECT_EQ(errors.low(), 0);
  double median = 0;
  double low = 0;
  for (int i = 0; i < 4000; ++i) {
    errors.Over(absl::Seconds(10), absl::Seconds(10) * std::exp2(spread(random)));
    if (i < 1000) continue;
    median += std::log2(errors.median()) / 3000;
    low += std::log2(errors.low()) / 3000;
  }
  EXPECT_NEAR(median, 1, 0.1);
  EXPECT_NEAR(low, 1 - 1.2816 * 0.5, 0.15);
}

TEST(WaitErrorsTest, WhoGaveUpSaysOnlyThatItWouldHaveBeenLonger) {
  WaitErrors errors;
  for (int i = 0; i < 100; ++i) errors.Over(absl::Seconds(10), absl::Seconds(10));
  const double before = errors.median();
  for (int i = 0; i < 100; ++i) errors.AtLeast(absl::Seconds(10), absl::Seconds(1));
  EXPECT_EQ(errors.median(), before);
  for (int i = 0; i < 100; ++i) errors.AtLeast(absl::Seconds(10), absl::Seconds(40));
  EXPECT_GT(errors.median(), 2 * before);
}

}  // namespace
}  // namespace vramgate
