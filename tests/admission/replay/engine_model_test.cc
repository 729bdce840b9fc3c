#include "admission/replay/engine_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "admission/rng.h"

namespace vramgate {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

// One byte a token, in blocks of four.
EngineOptions Small(int64_t pool_bytes) {
  EngineOptions options;
  options.curve = KvCurve::Linear(1, 4);
  options.pool_bytes = pool_bytes;
  options.step_tokens = 10;
  options.max_sequences = 4;
  options.step_base = absl::Milliseconds(10);
  options.step_token = absl::Milliseconds(1);
  return options;
}

TEST(EngineModelTest, ATokenAStepAfterThePrompt) {
  EngineModel engine(Small(100), VictimRule::kNewest);
  EngineEffects effects;
  ASSERT_TRUE(engine.Start(7, {.prompt_tokens = 5, .output_tokens = 3}, effects));
  EXPECT_EQ(engine.occupied_bytes(), 8) << "two blocks for five tokens";
  EXPECT_EQ(engine.BeginStep(effects), absl::Milliseconds(15)) << "base and five tokens of the prompt";
  engine.EndStep(effects);
  EXPECT_EQ(engine.emitted_tokens(), 1) << "the prompt's step emits the first";
  EXPECT_EQ(engine.BeginStep(effects), absl::Milliseconds(11));
  engine.EndStep(effects);
  EXPECT_THAT(effects.finished, IsEmpty());
  engine.BeginStep(effects);
  engine.EndStep(effects);
  EXPECT_THAT(effects.finished, ElementsAre(7));
  EXPECT_EQ(engine.emitted_tokens(), 3);
  EXPECT_EQ(engine.computed_tokens(), 5 + 2) << "the last token's KV is never computed";
  EXPECT_EQ(engine.occupied_bytes(), 0);
}

TEST(EngineModelTest, LongPromptsAreCutIntoChunksBehindDecodes) {
  EngineModel engine(Small(100), VictimRule::kNewest);
  EngineEffects effects;
  ASSERT_TRUE(engine.Start(0, {.prompt_tokens = 2, .output_tokens = 10}, effects));
  engine.BeginStep(effects);
  engine.EndStep(effects);
  ASSERT_TRUE(engine.Start(1, {.prompt_tokens = 15, .output_tokens = 1}, effects));
  ASSERT_TRUE(engine.Start(2, {.prompt_tokens = 4, .output_tokens = 1}, effects));
  EXPECT_EQ(engine.BeginStep(effects), absl::Milliseconds(20)) << "a decode and nine of the fifteen";
  engine.EndStep(effects);
  EXPECT_EQ(engine.BeginStep(effects), absl::Milliseconds(20)) << "a decode, six, and three of the four";
  engine.EndStep(effects);
  EXPECT_THAT(effects.finished, ElementsAre(1));
  engine.BeginStep(effects);
  engine.EndStep(effects);
  EXPECT_THAT(effects.finished, ElementsAre(1, 2));
}

TEST(EngineModelTest, NothingToGenerateEndsWithThePrompt) {
  EngineModel engine(Small(100), VictimRule::kNewest);
  EngineEffects effects;
  ASSERT_TRUE(engine.Start(0, {.prompt_tokens = 2, .output_tokens = 0}, effects));
  engine.BeginStep(effects);
  engine.EndStep(effects);
  EXPECT_THAT(effects.finished, ElementsAre(0));
  EXPECT_EQ(engine.emitted_tokens(), 0);
}

TEST(EngineModelTest, RefusesWhatDoesNotFit) {
  EngineModel engine(Small(12), VictimRule::kNewest);
  EngineEffects effects;
  EXPECT_FALSE(engine.Start(0, {.prompt_tokens = 13, .output_tokens = 1}, effects));
  EXPECT_TRUE(engine.Start(1, {.prompt_tokens = 5, .output_tokens = 1}, effects));
  EXPECT_FALSE(engine.Start(2, {.prompt_tokens = 5, .output_tokens = 1}, effects));
  EXPECT_EQ(engine.occupied_bytes(), 8);
}

TEST(EngineModelTest, RefusesMoreSequencesThanItRuns) {
  EngineModel engine(Small(100), VictimRule::kNewest);
  EngineEffects effects;
  for (int32_t job = 0; job < 4; ++job) {
    EXPECT_TRUE(engine.Start(job, {.prompt_tokens = 1, .output_tokens = 1}, effects));
  }
  EXPECT_FALSE(engine.Start(4, {.prompt_tokens = 1, .output_tokens = 1}, effects));
}

// Two of four tokens each in a pool of three blocks: the second cannot grow.
TEST(EngineModelTest, PreemptsTheNewestAndChargesTheRecomputation) {
  EngineModel engine(Small(12), VictimRule::kNewest);
  EngineEffects effects;
  ASSERT_TRUE(engine.Start(0, {.prompt_tokens = 4, .output_tokens = 8}, effects));
  ASSERT_TRUE(engine.Start(1, {.prompt_tokens = 4, .output_tokens = 8}, effects));
  engine.BeginStep(effects);
  engine.EndStep(effects);
  EXPECT_THAT(effects.preempted, IsEmpty());
  engine.BeginStep(effects);
  EXPECT_THAT(effects.preempted, ElementsAre(1));
  EXPECT_EQ(engine.recomputed_tokens(), 4);
  EXPECT_EQ(engine.generated(1), 1) << "what was emitted stays emitted";
  engine.EndStep(effects);
  EXPECT_EQ(engine.emitted_tokens(), 3);
}

TEST(EngineModelTest, RetractsTheOneThatGeneratedLeast) {
  EngineModel engine(Small(12), VictimRule::kFewestGenerated);
  EngineEffects effects;
  ASSERT_TRUE(engine.Start(0, {.prompt_tokens = 4, .output_tokens = 8, .generated_tokens = 0}, effects));
  ASSERT_TRUE(engine.Start(1, {.prompt_tokens = 2, .output_tokens = 8, .generated_tokens = 2}, effects));
  engine.BeginStep(effects);
  engine.EndStep(effects);
  engine.BeginStep(effects);
  EXPECT_THAT(effects.preempted, ElementsAre(0));
}

// Any load, any rule: the pool holds, tokens add up, and everybody ends.
TEST(EngineModelTest, TokensAreConservedWhateverIsPreempted) {
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    SCOPED_TRACE(seed);
    Rng rng(seed);
    const int64_t pool = 40 + static_cast<int64_t>(rng.Below(80));
    EngineModel engine(Small(pool), rng.Below(2) == 0 ? VictimRule::kNewest : VictimRule::kFewestGenerated);
    std::map<int32_t, EngineModel::Work> waiting;
    int64_t wanted = 0;
    int64_t prompts = 0;
    for (int32_t job = 0; job < 30; ++job) {
      const auto prompt = static_cast<int32_t>(1 + rng.Below(20));
      const auto output = static_cast<int32_t>(1 + rng.Below(20));
      waiting[job] = {prompt, output, 0};
      wanted += output;
      prompts += prompt;
    }
    const std::map<int32_t, EngineModel::Work> all = waiting;
    EngineEffects effects;
    int64_t occupied = 0;
    size_t finished = 0;
    for (int steps = 0; finished < all.size(); ++steps) {
      ASSERT_LT(steps, 100'000) << "somebody never ends";
      while (!waiting.empty() && engine.Start(waiting.begin()->first, waiting.begin()->second, effects)) {
        waiting.erase(waiting.begin());
      }
      ASSERT_FALSE(engine.running().empty());
      EXPECT_GT(engine.BeginStep(effects), absl::ZeroDuration());
      int64_t held = 0;
      for (const Sequence& s : engine.running()) {
        EXPECT_GE(s.kv_bytes, s.computed_tokens + s.step_tokens) << "every token computed has its place";
        held += s.kv_bytes;
      }
      EXPECT_EQ(held, engine.occupied_bytes());
      EXPECT_LE(held, pool);
      for (const int32_t job : effects.preempted) {
        waiting[job] = {all.at(job).prompt_tokens, all.at(job).output_tokens, engine.generated(job)};
      }
      effects.preempted.clear();
      engine.EndStep(effects);
      for (const EngineEffects::KvChange& change : effects.kv) occupied += change.delta_bytes;
      effects.kv.clear();
      EXPECT_EQ(occupied, engine.occupied_bytes());
      finished += effects.finished.size();
      effects.finished.clear();
    }
    EXPECT_EQ(engine.emitted_tokens(), wanted);
    // Of each sequence: the prompt, all but the last of its output, and whatever was lost, anew.
    const auto jobs = static_cast<int64_t>(all.size());
    EXPECT_EQ(engine.computed_tokens() - engine.recomputed_tokens(), prompts + wanted - jobs);
    EXPECT_EQ(occupied, 0);
  }
}

}  // namespace
}  // namespace vramgate
