#include "admission/gate/output_lengths.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

namespace vramgate {
namespace {

std::vector<float> TableOf(const OutputLengths& lengths, int64_t width = 1) {
  std::vector<float> table(2048);
  lengths.Tabulate(width, table);
  return table;
}

TEST(OutputLengthsTest, BeforeAnythingHasEndedHalfGoOnBeyondHalfOfTheCap) {
  const std::vector<float> table = TableOf(OutputLengths(1000));
  EXPECT_EQ(table[0], 1);
  EXPECT_EQ(table[300], 1);
  EXPECT_NEAR(table[600], 0.8, 0.25) << "half of those of whom nothing else is known";
  EXPECT_GT(table[1000], 0.1);
}

// All have come as far as 50 tokens, and 2 in 5 have stopped by then: what comes after is thought to be like it.
TEST(OutputLengthsTest, WhatNobodyHasReachedIsLikeWhatComesBeforeIt) {
  std::mt19937_64 random(3);
  std::geometric_distribution<int64_t> law(1.0 / 100);
  OutputLengths lengths(1024);
  for (int i = 0; i < 300; ++i) {
    const int64_t length = 1 + law(random);
    if (length > 50) {
      lengths.Enter(50);
    } else {
      lengths.Ended(length, OutputLengths::End::kStopped);
    }
  }
  const std::vector<float> table = TableOf(lengths);
  EXPECT_NEAR(table[45], std::exp(-0.45), 0.05);
  EXPECT_NEAR(table[150], std::exp(-1.5), 0.12) << "0.64, if nothing had been learned";
  EXPECT_LT(table[400], 0.2);
}

TEST(OutputLengthsTest, LearnsAGeometricLaw) {
  std::mt19937_64 random(1);
  std::geometric_distribution<int64_t> law(1.0 / 200);
  OutputLengths lengths(1024);
  for (int i = 0; i < 20'000; ++i) lengths.Ended(1 + law(random), OutputLengths::End::kStopped);
  const std::vector<float> table = TableOf(lengths);
  for (const int x : {5, 50, 200, 400, 700}) {
    EXPECT_NEAR(table[static_cast<size_t>(x)], std::exp(-x / 200.0), 0.04) << x;
  }
  for (size_t k = 1; k < table.size(); ++k) ASSERT_LE(table[k], table[k - 1]);
  EXPECT_NEAR(TableOf(lengths, 8)[50], table[400], 1e-6);
}

// Cut at 100 of a law of mean 200: what lies below 100 is learned as if nothing had been cut.
TEST(OutputLengthsTest, WhoIsCutWasAtRiskUntilThen) {
  std::mt19937_64 random(2);
  std::geometric_distribution<int64_t> law(1.0 / 200);
  OutputLengths lengths(1024);
  for (int i = 0; i < 20'000; ++i) {
    const int64_t length = 1 + law(random);
    lengths.Ended(std::min<int64_t>(length, 100),
                  length > 100 ? OutputLengths::End::kCut : OutputLengths::End::kStopped);
  }
  const std::vector<float> table = TableOf(lengths);
  EXPECT_NEAR(table[50], std::exp(-0.25), 0.04);
  EXPECT_NEAR(table[96], std::exp(-0.48), 0.04);
  EXPECT_NEAR(table[300], std::exp(-1.5), 0.07) << "beyond the cut it is thought to go on as before";
}

// The first to end are short: without those that run they would say that all are.
TEST(OutputLengthsTest, WhoRunsIsAtRisk) {
  OutputLengths lengths(1024);
  for (int i = 0; i < 30; ++i) lengths.Ended(10, OutputLengths::End::kStopped);
  EXPECT_LT(TableOf(lengths)[20], 0.2);
  for (int i = 0; i < 270; ++i) lengths.Enter(400);
  EXPECT_GT(TableOf(lengths)[20], 0.85);
  for (int i = 0; i < 270; ++i) lengths.Leave(400);
  EXPECT_LT(TableOf(lengths)[20], 0.2);
}

TEST(OutputLengthsTest, AShiftIsLearnedWithinAThousandEnds) {
  OutputLengths lengths(1024);
  for (int i = 0; i < 50'000; ++i) lengths.Ended(50, OutputLengths::End::kStopped);
  for (int i = 0; i < 1'000; ++i) lengths.Ended(800, OutputLengths::End::kStopped);
  EXPECT_NEAR(TableOf(lengths)[400], 1 - std::exp(-1), 0.05);
  for (int i = 0; i < 4'000'000; ++i) lengths.Ended(800, OutputLengths::End::kStopped);  // past the rescaling
  EXPECT_NEAR(TableOf(lengths)[400], 1, 1e-3);
}

TEST(OutputLengthsTest, AnyLengthHasABucket) {
  OutputLengths lengths(1);
  for (int64_t tokens = 0; tokens < int64_t{1} << 40; tokens = tokens * 2 + 1) {
    lengths.Ended(tokens, OutputLengths::End::kStopped);
  }
  EXPECT_EQ(lengths.samples(), 41);
  EXPECT_GE(TableOf(lengths).back(), 0);
}

}  // namespace
}  // namespace vramgate
