#include "admission/server/token_ratios.h"

#include <cmath>
#include <random>
#include <thread>

#include "gtest/gtest.h"

namespace vramgate {
namespace {

constexpr ModelId kModel{0};

void LearnMany(TokenRatios& ratios, int64_t times, int64_t bytes, int64_t tokens, ModelId model = kModel) {
  for (int64_t i = 0; i < times; ++i) {
    ratios.Learn(model, {.prompt_bytes = bytes, .charged_tokens = bytes, .prompt_tokens = tokens});
  }
}

TEST(TokenRatiosTest, NothingIsSaidBeforeEnoughIsKnown) {
  TokenRatios ratios(1);
  EXPECT_EQ(ratios.TokensFor(kModel, 2000), std::nullopt);
  LearnMany(ratios, TokenRatios::kLeastSamples - 1, 2000, 500);
  EXPECT_EQ(ratios.TokensFor(kModel, 2000), std::nullopt);
  LearnMany(ratios, 1, 2000, 500);
  ASSERT_TRUE(ratios.TokensFor(kModel, 2000).has_value());
  EXPECT_EQ(ratios.TokensFor(kModel, 100), std::nullopt) << "of another size nothing is known";
}

// A ratio of exactly 1/4: the bin's end and the margin come on top.
TEST(TokenRatiosTest, TheEstimateIsTheRatioWithItsMargin) {
  TokenRatios ratios(1);
  LearnMany(ratios, 1000, 2000, 500);
  EXPECT_NEAR(static_cast<double>(*ratios.TokensFor(kModel, 4000)), 1000 * TokenRatios::kMargin, 1);
}

TEST(TokenRatiosTest, FewOfThosePromptsExceedTheEstimate) {
  std::mt19937_64 random(20240501);
  std::lognormal_distribution<double> tokens_per_byte(std::log(0.25), 0.25);
  TokenRatios ratios(1);
  const auto draw = [&] { return static_cast<int64_t>(std::ceil(3000 * tokens_per_byte(random))); };
  for (int i = 0; i < 4000; ++i) LearnMany(ratios, 1, 3000, draw());
  const int64_t estimate = *ratios.TokensFor(kModel, 3000);
  int over = 0;
  for (int i = 0; i < 20'000; ++i) over += draw() > estimate ? 1 : 0;
  EXPECT_LT(over, 100) << "half a percent, before the margin";
  EXPECT_LT(estimate, 1800) << "the bound would be 3000";
}

TEST(TokenRatiosTest, NewPromptsReplaceOldOnes) {
  TokenRatios ratios(1);
  LearnMany(ratios, 20'000, 2000, 250);
  const int64_t before = *ratios.TokensFor(kModel, 2000);
  LearnMany(ratios, 200, 2000, 1000);
  EXPECT_GT(*ratios.TokensFor(kModel, 2000), 3 * before) << "a rise is heard soon";
  LearnMany(ratios, 60'000, 2000, 250);
  EXPECT_EQ(*ratios.TokensFor(kModel, 2000), before) << "and forgotten at last";
}

TEST(TokenRatiosTest, ModelsAndSizesAreApart) {
  TokenRatios ratios(2);
  LearnMany(ratios, 1000, 2000, 500, ModelId{1});
  LearnMany(ratios, 1000, 100, 90, ModelId{1});
  EXPECT_EQ(ratios.TokensFor(kModel, 2000), std::nullopt);
  EXPECT_GT(*ratios.TokensFor(ModelId{1}, 100), 90);
  EXPECT_LT(*ratios.TokensFor(ModelId{1}, 2000), 600);
}

TEST(TokenRatiosTest, WhatCannotBeIsLeftOut) {
  TokenRatios ratios(1);
  constexpr int64_t kHuge = INT64_MAX;
  for (const auto& [bytes, charged, tokens] : {std::array<int64_t, 3>{0, 1, 1},
                                               {1, 0, 1},
                                               {1, 1, 0},
                                               {-1, 1, 1},
                                               {kHuge, 1, 1},
                                               {1, kHuge, 1},
                                               {1, 1, kHuge},
                                               {1, 1, -5}}) {
    for (int64_t i = 0; i < 2 * TokenRatios::kLeastSamples; ++i) {
      ratios.Learn(kModel, {.prompt_bytes = bytes, .charged_tokens = charged, .prompt_tokens = tokens});
    }
  }
  EXPECT_EQ(ratios.TokensFor(kModel, 1), std::nullopt);
  EXPECT_EQ(ratios.TokensFor(kModel, kHuge), std::nullopt);
  LearnMany(ratios, 1000, 1, int64_t{1} << 40);  // absurd, but it can be said
  EXPECT_LE(*ratios.TokensFor(kModel, 100), 100 * 16 * 2);
}

TEST(TokenRatiosTest, HowWrongItWasIsCountedBySource) {
  TokenRatios ratios(1);
  ratios.Learn(kModel, {PromptSource::kBound, 1000, 1000, 250});
  ratios.Learn(kModel, {PromptSource::kCalibrated, 1000, 300, 330});
  const TokenRatios::View view = ratios.ViewOf(kModel);
  const auto& bound = view.ratios[static_cast<size_t>(PromptSource::kBound)];
  const auto& calibrated = view.ratios[static_cast<size_t>(PromptSource::kCalibrated)];
  EXPECT_EQ(bound.counts[2], 1);
  EXPECT_EQ(bound.sum, 0.25);
  EXPECT_EQ(calibrated.counts[7], 1) << "too few were charged";
  EXPECT_EQ(view.tokens_per_byte[1], 0);
}

TEST(TokenRatiosTest, LearnsWhileOthersAsk) {
  TokenRatios ratios(1);
  std::thread learner([&] { LearnMany(ratios, 5000, 2000, 500); });
  for (int i = 0; i < 100'000; ++i) {
    const auto tokens = ratios.TokensFor(kModel, 2000);
    EXPECT_GT(tokens.value_or(501), 500);
  }
  learner.join();
  EXPECT_GT(*ratios.TokensFor(kModel, 2000), 500);
}

}  // namespace
}  // namespace vramgate
