// What holds for every shape: checked over random ones. The seed is printed and may be set: VRAMGATE_SEED=7
// ./properties_test
#include <gtest/gtest.h>

#include <cstdlib>
#include <limits>
#include <random>

#include "admission/estimator/estimate.h"
#include "tests/admission/estimator/test_models.h"

namespace vramgate {
namespace {

constexpr int kShapes = 2000;
constexpr int64_t kMax = std::numeric_limits<int64_t>::max();

class PropertiesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const char* given = std::getenv("VRAMGATE_SEED");
    const uint64_t seed = given != nullptr ? std::strtoull(given, nullptr, 10) : 20240607;
    std::cout << "seed " << seed << "\n";
    RecordProperty("seed", std::to_string(seed));
    random_.seed(seed);
  }

  int64_t From(int64_t low, int64_t high) { return std::uniform_int_distribution<int64_t>(low, high)(random_); }
  bool Coin() { return From(0, 1) == 1; }

  // A believable decoder, dense or sparse, whose heads can be split over up to 16 devices.
  ModelShape Shape() {
    ModelShape s;
    s.layers = From(1, 128);
    s.kv_heads = int64_t{1} << From(0, 5);
    s.heads = *s.kv_heads * 16 * From(1, 4);
    s.head_dim = 8 * From(1, 32);
    s.hidden = 64 * From(1, 256);
    s.vocab = From(1, 300'000);
    s.intermediate = From(1, 40'000);
    s.max_positions = From(0, 1'000'000);
    s.rotary_dim = Coin() ? *s.head_dim : 0;
    s.tied_embeddings = Coin(), s.gated_mlp = Coin(), s.qkv_bias = Coin(), s.output_bias = Coin(), s.mlp_bias = Coin();
    s.layer_norms = From(0, 4), s.final_norms = From(0, 2);
    if (Coin()) {
      s.sparse_layers = From(1, s.layers);
      s.experts = From(1, 256);
      s.experts_per_token = From(1, s.experts);
      s.expert_intermediate = From(1, 10'000);
      s.shared_intermediate = Coin() ? From(1, 10'000) : 0;
    }
    if (Coin()) s.linear_dtype = DType::kFp8;
    s.counted = true;
    return s;
  }

  CostOptions Options() {
    return {.tensor_parallel = 1,
            .block_tokens = int64_t{1} << From(0, 8),
            .activation = Coin() ? ActivationMode::kResident : ActivationMode::kBatched,
            .weights_dtype = Coin() ? DType::kBf16 : DType::kFp32,
            .kv_dtype = Coin() ? DType::kFp8 : DType::kBf16,
            .max_batched_tokens = From(1, 65'536),
            .max_sequences = From(1, 2048)};
  }

  std::mt19937_64 random_;
};

TEST_F(PropertiesTest, MoreTokensNeverCostLess) {
  for (int i = 0; i < kShapes; ++i) {
    const CostTable table = Compiled(Shape(), Options());
    const int64_t prompt = From(0, 100'000), output = From(0, 10'000), more = From(0, 100);
    const RankCost less = table.Price(prompt, output, 1);
    const RankCost longer_prompt = table.Price(prompt + more, output, 1);
    EXPECT_LE(less.kv_bytes, longer_prompt.kv_bytes);
    EXPECT_LE(less.activation_bytes, longer_prompt.activation_bytes);
    EXPECT_EQ(longer_prompt, table.Price(prompt, output + more, 1)) << "a token costs the same on either side";
    EXPECT_GE(less.kv_bytes, (prompt + output) * table.kv_bytes_per_token());
  }
}

TEST_F(PropertiesTest, ABatchIsTheSumOfItsRequests) {
  for (int i = 0; i < kShapes; ++i) {
    const CostTable table = Compiled(Shape(), Options());
    const int64_t prompt = From(0, 100'000), output = From(0, 10'000), n = From(1, 64);
    const RankCost one = table.Price(prompt, output, 1);
    EXPECT_EQ(table.Price(prompt, output, n), (RankCost{n * one.kv_bytes, n * one.activation_bytes}));
    const absl::StatusOr<Estimate> card = EstimateCard(table, {prompt, output, 1, n});
    ASSERT_TRUE(card.ok()) << card.status();
    EXPECT_EQ(card->total_bytes, table.fixed_bytes() + n * (one.kv_bytes + one.activation_bytes));
  }
}

TEST_F(PropertiesTest, SplittingNeverMakesMemoryVanish) {
  for (int i = 0; i < kShapes; ++i) {
    const ModelShape shape = Shape();
    CostOptions options = Options();
    const CostTable whole = Compiled(shape, options);
    options.tensor_parallel = 1 << From(0, 4);
    const int64_t devices = options.tensor_parallel;
    const CostTable part = Compiled(shape, options);
    const int64_t prompt = From(0, 100'000), output = From(0, 10'000);
    EXPECT_GE(part.Price(prompt, output, 1).kv_bytes * devices, whole.Price(prompt, output, 1).kv_bytes);
    EXPECT_GE(part.Price(prompt, output, 1).activation_bytes * devices,
              whole.Price(prompt, output, 1).activation_bytes);
    EXPECT_GE(part.weights_bytes() * devices, whole.weights_bytes());
    EXPECT_GE(part.activation_bytes() * devices, whole.activation_bytes());
    EXPECT_LE(part.weights_bytes(), whole.weights_bytes()) << "and a part is never more than the whole";
    EXPECT_LE(part.kv_bytes_per_token(), whole.kv_bytes_per_token());
  }
}

TEST_F(PropertiesTest, FewerBitsNeverTakeMore) {
  for (int i = 0; i < kShapes; ++i) {
    ModelShape shape = Shape();
    shape.linear_dtype.reset();
    shape.hidden += 64;  // a scale of 4 bytes a channel pays off where a channel has more than 4 elements
    shape.intermediate += 8, shape.expert_intermediate += shape.sparse_layers > 0 ? 8 : 0;
    shape.shared_intermediate += shape.shared_intermediate > 0 ? 8 : 0;
    CostOptions options = Options();
    options.weights_dtype = options.kv_dtype = DType::kBf16;
    const CostTable wide = Compiled(shape, options);
    options.weights_dtype = options.kv_dtype = DType::kFp8;
    const CostTable narrow = Compiled(shape, options);
    EXPECT_LE(narrow.weights_bytes(), wide.weights_bytes());
    EXPECT_EQ(2 * narrow.kv_bytes_per_token(), wide.kv_bytes_per_token());
    EXPECT_EQ(narrow.activation_bytes(), wide.activation_bytes()) << "engines compute in 16 bits";
  }
}

TEST_F(PropertiesTest, TwiceTheLayersAreTwiceTheKv) {
  for (int i = 0; i < kShapes; ++i) {
    ModelShape shape = Shape();
    const CostOptions options = Options();
    const CostTable once = Compiled(shape, options);
    shape.layers *= 2;
    const CostTable twice = Compiled(shape, options);
    EXPECT_EQ(twice.kv_bytes_per_token(), 2 * once.kv_bytes_per_token());
    EXPECT_EQ(twice.activation_bytes_per_token(), 2 * once.activation_bytes_per_token());
    EXPECT_GT(twice.weights_bytes(), once.weights_bytes());
  }
}

// Any field at any size: an error or a table, and whatever a table is asked, no negative and nothing wrapped.
TEST_F(PropertiesTest, AbsurdSizesNeverOverflow) {
  const auto any = [this](int64_t max) {
    return std::uniform_int_distribution<int64_t>(0, max)(random_) >> From(0, 60);
  };
  int refused = 0;
  for (int i = 0; i < kShapes; ++i) {
    ModelShape s;
    s.layers = any(kMaxLayers), s.hidden = any(kMaxWidth), s.heads = any(kMaxWidth),
    s.head_dim = 1 + any(kMaxWidth - 1);
    s.vocab = any(kMaxVocab), s.max_positions = any(kMaxVocab), s.rotary_dim = any(kMaxWidth),
    s.intermediate = any(kMaxWidth);
    s.sparse_layers = Coin() ? s.layers : 0, s.experts = any(kMaxExperts), s.experts_per_token = s.experts;
    s.expert_intermediate = any(kMaxWidth), s.shared_intermediate = any(kMaxWidth),
    s.learned_positions = any(kMaxVocab);
    s.counted = true;
    CostOptions options = Options();
    options.max_batched_tokens = options.max_sequences = 1 << 30;
    const absl::StatusOr<CostTable> table = CostTable::Compile(s, options);
    if (!table.ok()) {
      ++refused;
      continue;
    }
    EXPECT_GE(table->weights_bytes(), table->rotary_cache_bytes());
    EXPECT_GE(table->fixed_bytes(), table->weights_bytes());
    const int64_t prompt = any(kMax), output = any(kMax), n = 1 + any(kMax - 1);
    const RankCost cost = table->Price(prompt, output, n);
    EXPECT_GE(cost.kv_bytes, 0);
    EXPECT_GE(cost.activation_bytes, 0);
    EXPECT_GE(cost.kv_bytes, table->Price(prompt / 2, output / 2, n / 2).kv_bytes);
    const absl::StatusOr<Estimate> card = EstimateCard(*table, {prompt, output, n, n});
    if (card.ok()) {
      EXPECT_GE(card->total_bytes, table->fixed_bytes());
    }
  }
  EXPECT_GT(refused, 0);
  EXPECT_LT(refused, kShapes);
}

}  // namespace
}  // namespace vramgate
