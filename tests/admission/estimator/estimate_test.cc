#include "admission/estimator/estimate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "tests/admission/estimator/test_models.h"

namespace vramgate {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

Estimate Card(const CostTable& table, const Load& load) {
  const absl::StatusOr<Estimate> card = EstimateCard(table, load);
  EXPECT_TRUE(card.ok()) << card.status();
  return card.ok() ? *card : Estimate{};
}

std::vector<std::string> Names(const Estimate& e) {
  std::vector<std::string> names;
  for (const Term& t : e.terms) names.push_back(t.name);
  return names;
}

int64_t Sum(const Estimate& e, int64_t concurrency) {
  int64_t sum = 0;
  for (const Term& t : e.terms) sum += t.bytes * (t.per_request ? concurrency : 1);
  return sum;
}

TEST(EstimateTest, ClassicalTotals) {
  const CostTable table = Compiled(ClassicalShape(4), ClassicalOptions());
  const Estimate one = Card(table, {.prompt_tokens = 12'000});
  EXPECT_EQ(one.total_bytes, 96'955'776'000);
  EXPECT_EQ(one.quality, Quality::kUpperBound);

  const Estimate many = Card(table, {.prompt_tokens = 11'000, .output_tokens = 1'000, .concurrency = 32});
  EXPECT_EQ(many.weights_bytes, 72'000'000'000);
  EXPECT_EQ(many.overhead_bytes, 10'800'000'000);
  EXPECT_EQ(many.kv_bytes, 32 * 9'437'184'000);
  EXPECT_EQ(many.kv_bytes_per_request, 9'437'184'000);
  EXPECT_EQ(many.activation_bytes, 32 * 4'718'592'000);
  EXPECT_EQ(many.activation_bytes_per_request, 4'718'592'000);
  EXPECT_EQ(many.total_bytes, 535'784'832'000);
  EXPECT_THAT(Names(many), ElementsAre("weights", "overhead", "kv", "activation"));
  EXPECT_EQ(Sum(many, 32), many.total_bytes);
}

TEST(EstimateTest, TermsOfARealModelAddUpAndSayTheirFormula) {
  const CostTable table = Compiled(ReadShape("llama-3.1-8b"), {.tensor_parallel = 2});
  const Estimate e = Card(table, {.prompt_tokens = 1000, .output_tokens = 24, .sequences = 2, .concurrency = 3});
  EXPECT_THAT(Names(e), ElementsAre("weights", "rotary_cache", "activation", "overhead", "kv"));
  EXPECT_EQ(Sum(e, 3), e.total_bytes);
  EXPECT_EQ(e.kv_bytes_per_request, 2 * 65'536 * 1024);
  EXPECT_EQ(e.activation_bytes_per_request, 0);
  EXPECT_EQ(e.activation_bytes, table.activation_bytes());
  EXPECT_EQ(e.quality, Quality::kProfile);
  EXPECT_EQ(e.terms[0].bytes + e.terms[1].bytes, e.weights_bytes);
  EXPECT_THAT(e.terms[0].formula, HasSubstr("8030261248 parameters x 2 B (bf16)"));
  EXPECT_THAT(e.terms[4].formula, HasSubstr("32 layers x 4 KV heads"));
  EXPECT_THAT(e.terms[4].formula, HasSubstr("x (128 + 128) x bf16) x 1024 tokens in blocks of 16 x 2 sequences"));
}

TEST(EstimateTest, APatternThatIsNotKnownIsSaidToBeABound) {
  ModelShape shape = ReadShape("llama-3.1-8b");
  EXPECT_EQ(Card(Compiled(shape, {}), {.prompt_tokens = 1}).quality, Quality::kProfile);
  shape.bounded = true;
  EXPECT_EQ(Card(Compiled(shape, {}), {.prompt_tokens = 1}).quality, Quality::kUpperBound);
  shape.kv_bytes_per_token = 1000;
  EXPECT_EQ(Card(Compiled(shape, {}), {.prompt_tokens = 1}).quality, Quality::kProfile);
}

TEST(EstimateTest, ExactIsSaidOnlyWhereRowsBackFamilyEngineAndTypes) {
  const ModelShape llama = ReadShape("llama-3.1-8b");
  const auto quality = [](const ModelShape& shape, CostOptions options) {
    if (options.profile.name == "generic") options.profile = Engine("vllm-0.19");
    return Card(Compiled(shape, options), {.prompt_tokens = 1}).quality;
  };
  EXPECT_EQ(quality(llama, {}), Quality::kExact);
  EXPECT_EQ(quality(llama, {.kv_dtype = DType::kFp8}), Quality::kExact);
  EXPECT_EQ(quality(llama, {.kv_dtype = DType::kInt8}), Quality::kProfile);
  EXPECT_EQ(quality(llama, {.overhead_ratio = 0.1}), Quality::kProfile) << "not what was measured";
  EXPECT_EQ(quality(llama, {.pipeline_parallel = 2}), Quality::kProfile);
  EXPECT_EQ(quality(llama, {.profile = Engine("vllm-0.21")}), Quality::kProfile) << "another engine's rows";
  EXPECT_EQ(quality(llama, {.activation = ActivationMode::kResident}), Quality::kUpperBound);
  EXPECT_EQ(quality(ReadShape("olmo-7b"), {}), Quality::kProfile) << "no row of this family";
  ModelShape by_hand = llama;
  by_hand.activation_bytes = 1;
  EXPECT_EQ(quality(by_hand, {}), Quality::kProfile);
}

TEST(EstimateTest, RefusesImpossibleLoadsAndSumsBeyondInt64) {
  const CostTable table = Compiled(ClassicalShape(4), ClassicalOptions());
  const int64_t max = std::numeric_limits<int64_t>::max();
  const auto code = [&](const Load& load) { return EstimateCard(table, load).status().code(); };
  EXPECT_EQ(code({.prompt_tokens = -1}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({.output_tokens = -1}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({.sequences = 0}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({.concurrency = std::numeric_limits<int64_t>::min()}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({.prompt_tokens = max, .output_tokens = max}), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(code({.prompt_tokens = max / 4}), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(code({.prompt_tokens = 1000, .concurrency = max}), absl::StatusCode::kOutOfRange);
}

}  // namespace
}  // namespace vramgate
