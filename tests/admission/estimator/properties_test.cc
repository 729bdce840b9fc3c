// What holds for every shape: checked over random ones. VRAMGATE_SEED sets the seed that is printed.
#include <gtest/gtest.h>

#include <cstdlib>
#include <limits>
#include <random>

#include "admission/estimator/estimate.h"
#include "admission/estimator/pool.h"
#include "tests/admission/estimator/test_models.h"

namespace vramgate {
namespace {

constexpr int kShapes = 1000;
constexpr int64_t kMax = std::numeric_limits<int64_t>::max();

class PropertiesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const char* given = std::getenv("VRAMGATE_SEED");
    const uint64_t seed = given != nullptr ? std::strtoull(given, nullptr, 10) : 20240607;
    std::cout << "seed " << seed << "\n";
    RecordProperty("seed", std::to_string(seed));
    random_.seed(seed);
    for (const char* name : {"generic", "vllm-0.19", "vllm-0.21", "sglang", "llama.cpp", "tensorrt-llm"}) {
      engines_.push_back(Engine(name));
    }
  }

  int64_t From(int64_t low, int64_t high) { return std::uniform_int_distribution<int64_t>(low, high)(random_); }
  bool Coin() { return From(0, 1) == 1; }

  Kept AnyKept() {
    const int64_t heads = int64_t{1} << From(0, 5);
    const int64_t dim = 32 * From(1, 16);
    switch (From(0, 6)) {
      case 0:
        return {.kind = KeptKind::kWindow, .heads = heads, .key_dim = dim, .value_dim = dim, .span = From(1, 8192)};
      case 1:
        return {.kind = KeptKind::kChunk, .heads = heads, .key_dim = dim, .value_dim = dim, .span = From(1, 8192)};
      case 2:
        return {.kind = KeptKind::kLatent, .width = 512 + 64, .rope = 64};
      case 3:
        return {.kind = KeptKind::kState,
                .taps = From(0, 8),
                .conv = {SplitAxis(16, dim), SplitAxis(16, dim), Axis{0, 1, false}},
                .state = SplitAxis(16, dim * From(1, 128)),
                .wide_state = Coin()};
      case 4:
        return {.kind = KeptKind::kCompressed, .width = 512, .rope = 64, .ratio = Coin() ? 4 : 128};
      default:
        return {.kind = KeptKind::kTokens, .heads = heads, .key_dim = dim, .value_dim = 32 * From(1, 16)};
    }
  }

  // A believable decoder of one to four kinds of layer, whose heads can be split over up to 16 devices.
  ModelShape Shape() {
    ModelShape s;
    s.hidden = 64 * From(1, 256);
    s.heads = 32 * From(1, 4);
    s.vocab = From(1000, 300'000);
    s.intermediate = From(128, 40'000);
    s.tied_embeddings = Coin();
    if (Coin()) s.rotary.push_back({.positions = From(0, 1'000'000), .dim = 128});
    const int64_t kinds = From(1, 4);
    for (int64_t k = 0; k < kinds; ++k) {
      Layer layer{.kept = {AnyKept()}};
      layer.matrices.push_back({"self_attn.q_proj", Part::kAttention, WholeAxis(s.hidden), SplitAxis(s.heads, 128)});
      layer.matrices.push_back({"mlp.down_proj", Part::kMlp, SplitAxis(s.intermediate), WholeAxis(s.hidden)});
      if (Coin()) {
        layer.matrices.push_back(
            {"mlp.experts", Part::kExperts, WholeAxis(s.hidden), SplitAxis(From(128, 4096)), From(2, 256)});
        s.experts_per_token = 2, s.expert_intermediate = 1024;
      }
      const int64_t layers = From(1, 40);
      for (int64_t i = 0; i < layers; ++i) s.Add(layer);
    }
    s.first.push_back({"embed_tokens", Part::kEmbedding, SplitAxis(s.vocab), WholeAxis(s.hidden)});
    s.last.push_back({"lm_head", Part::kHead, WholeAxis(s.hidden), SplitAxis(s.vocab)});
    s.counted = true;
    return s;
  }

  CostOptions Options() {
    CostOptions o{.activation = Coin() ? ActivationMode::kResident : ActivationMode::kBatched,
                  .weights_dtype = Coin() ? DType::kBf16 : DType::kFp32,
                  .kv_dtype = Coin() ? DType::kFp8 : DType::kBf16,
                  .max_batched_tokens = From(1, 65'536),
                  .max_sequences = From(1, 2048),
                  .profile = engines_[static_cast<size_t>(From(0, static_cast<int64_t>(engines_.size()) - 1))]};
    if (Coin()) o.block_tokens = int64_t{1} << From(0, 8);
    return o;
  }

  std::vector<EngineProfile> engines_;
  std::mt19937_64 random_;
};

TEST_F(PropertiesTest, MoreTokensNeverCostLessAndThePeakIsNeverBelowTheSteady) {
  for (int i = 0; i < kShapes; ++i) {
    const CostTable table = Compiled(Shape(), Options());
    const int64_t prompt = From(0, 100'000), output = From(0, 10'000), more = From(0, 100);
    const RankCost less = table.Price(prompt, output, 1);
    const RankCost longer = table.Price(prompt + more, output, 1);
    EXPECT_LE(less.kv_bytes, longer.kv_bytes);
    EXPECT_LE(less.activation_bytes, longer.activation_bytes);
    EXPECT_EQ(longer, table.Price(prompt, output + more, 1)) << "a token costs the same on either side";
    const int64_t tokens = prompt + output;
    EXPECT_LE(table.KvBytes(tokens, Phase::kSteady), table.KvBytes(tokens + more, Phase::kSteady));
    EXPECT_GE(table.KvBytes(tokens, Phase::kPeak), table.KvBytes(tokens, Phase::kSteady));
    EXPECT_GE(table.KvBytes(tokens, Phase::kSteady), 0);
    EXPECT_LE(table.layout().Blocks(tokens, Phase::kSteady), table.layout().Blocks(tokens, Phase::kPeak));
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
    if (options.profile.pool == PoolKind::kBlockIds)
      options.profile = GenericProfile();     // blocks of ids change with it
    options.profile.torch_allocator = false;  // rounds each device's tensors by itself
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
  }
}

TEST_F(PropertiesTest, SplittingAPoolOfIdsNeverMakesMemoryVanish) {
  for (const char* name : {"llama-3.1-8b", "gemma-2-9b", "gemma-3-12b", "qwen3.5-27b", "deepseek-v3", "jamba-v0.1",
                           "gpt-oss-20b", "llama-4-scout", "kimi-linear-48b", "qwen3-next-80b-a3b"}) {
    SCOPED_TRACE(name);
    const ModelShape shape = ReadShape(name);
    const CostTable whole = Compiled(shape, {.profile = Engine("vllm-0.19")});
    for (const int devices : {2, 4, 8}) {
      const CostTable part = Compiled(shape, {.tensor_parallel = devices, .profile = Engine("vllm-0.19")});
      const int64_t tokens = From(1, 100'000);
      EXPECT_GE(part.KvBytes(tokens, Phase::kPeak) * devices, whole.KvBytes(tokens, Phase::kPeak));
    }
  }
}

TEST_F(PropertiesTest, LatentsAreWholeOnEveryDevice) {
  for (int i = 0; i < kShapes; ++i) {
    ModelShape shape = Shape();
    for (Layer& layer : shape.kinds) layer.kept = {{.kind = KeptKind::kLatent, .width = 576, .rope = 64}};
    CostOptions options = Options();
    const CostTable one = Compiled(shape, options);
    options.tensor_parallel = 1 << From(1, 4);
    const CostTable many = Compiled(shape, options);
    const int64_t tokens = From(0, 100'000);
    EXPECT_EQ(one.kv_bytes_per_token(), many.kv_bytes_per_token());
    EXPECT_EQ(one.KvBytes(tokens, Phase::kPeak), many.KvBytes(tokens, Phase::kPeak));
  }
}

TEST_F(PropertiesTest, AWindowCostsTheSamePastItsCap) {
  for (int i = 0; i < kShapes; ++i) {
    ModelShape shape = Shape();
    const int64_t span = From(1, 8192);
    for (Layer& layer : shape.kinds) {
      layer.kept = {{.kind = KeptKind::kWindow, .heads = 8, .key_dim = 128, .value_dim = 128, .span = span}};
    }
    const CostOptions options = Options();
    const CostTable table = Compiled(shape, options);
    const int64_t past = span + options.max_batched_tokens + 1024 + From(0, 100'000);
    for (const Phase phase : {Phase::kPeak, Phase::kSteady}) {
      EXPECT_EQ(table.KvBytes(past, phase), table.KvBytes(past + From(0, 1'000'000), phase));
      EXPECT_GE(table.KvBytes(past, phase), table.KvBytes(From(0, past), phase));
    }
  }
}

TEST_F(PropertiesTest, FewerBitsNeverTakeMore) {
  for (int i = 0; i < kShapes; ++i) {
    const ModelShape shape = Shape();
    CostOptions options = Options();
    options.profile = GenericProfile();
    options.weights_dtype = options.kv_dtype = DType::kBf16;
    const CostTable wide = Compiled(shape, options);
    options.weights_dtype = DType::kFp8;
    const CostTable narrow = Compiled(shape, options);
    EXPECT_LE(narrow.weights_bytes(), wide.weights_bytes());
    EXPECT_EQ(narrow.activation_bytes(), wide.activation_bytes()) << "engines compute in 16 bits";
    const int64_t tokens = From(0, 100'000);
    for (const DType kv :
         {DType::kFp8, DType::kInt8, DType::kFp8TokenHead, DType::kInt8TokenHead, DType::kInt4TokenHead, DType::kNvfp4,
          DType::kQ8_0, DType::kQ5_1, DType::kQ5_0, DType::kQ4_1, DType::kQ4_0}) {
      options.kv_dtype = kv;
      const CostTable cache = Compiled(shape, options);
      EXPECT_LE(cache.kv_bytes_per_token(), wide.kv_bytes_per_token()) << DTypeName(kv);
      EXPECT_LE(cache.KvBytes(tokens, Phase::kPeak), wide.KvBytes(tokens, Phase::kPeak)) << DTypeName(kv);
    }
  }
}

TEST_F(PropertiesTest, TwiceTheLayersAreTwiceTheKv) {
  for (int i = 0; i < kShapes; ++i) {
    ModelShape shape = Shape();
    const CostOptions options = Options();
    const CostTable once = Compiled(shape, options);
    const std::vector<uint16_t> stack = shape.stack;
    shape.stack.insert(shape.stack.end(), stack.begin(), stack.end());
    const CostTable twice = Compiled(shape, options);
    // An entry of several tokens makes a fraction of a byte of each, rounded up for each kind of layer.
    EXPECT_LE(twice.kv_bytes_per_token(), 2 * once.kv_bytes_per_token());
    EXPECT_GE(twice.kv_bytes_per_token(), 2 * once.kv_bytes_per_token() - 4);
    EXPECT_EQ(twice.activation_bytes_per_token(), 2 * once.activation_bytes_per_token());
    EXPECT_GT(twice.weights_bytes(), once.weights_bytes());
    const int64_t tokens = From(0, 100'000);
    EXPECT_EQ(twice.KvBytes(tokens, Phase::kPeak), 2 * once.KvBytes(tokens, Phase::kPeak));
  }
}

TEST_F(PropertiesTest, ATokenInsideOfABlockIsFree) {
  for (int i = 0; i < kShapes; ++i) {
    ModelShape shape = Shape();
    for (Layer& layer : shape.kinds) {
      layer.kept = {{.kind = KeptKind::kTokens, .heads = 8, .key_dim = 128, .value_dim = 128}};
    }
    CostOptions options = Options();
    if (options.profile.pool == PoolKind::kCells) options.profile = GenericProfile();
    const int64_t block = options.block_tokens = int64_t{1} << From(1, 8);
    const CostTable table = Compiled(shape, options);
    const int64_t first = From(0, 1000) * block + 1;
    EXPECT_EQ(table.KvBytes(first, Phase::kPeak), table.KvBytes(first + From(0, block - 1), Phase::kPeak));
    EXPECT_EQ(table.KvBytes(first + block, Phase::kPeak) - table.KvBytes(first, Phase::kPeak),
              block * table.kv_bytes_per_token());
  }
}

// Any field at any size: an error or a table, and whatever a table is asked, no negative and nothing wrapped.
TEST_F(PropertiesTest, AbsurdSizesNeverOverflow) {
  const auto any = [this](int64_t max) {
    return std::uniform_int_distribution<int64_t>(0, max)(random_) >> From(0, 60);
  };
  int refused = 0;
  for (int i = 0; i < kShapes; ++i) {
    ModelShape s = Shape();
    s.hidden = any(kMaxWidth), s.vocab = any(kMaxVocab), s.intermediate = any(kMaxWidth);
    s.experts_per_token = any(kMaxExperts), s.expert_intermediate = any(kMaxWidth);
    for (Layer& layer : s.kinds) {
      for (Kept& k : layer.kept) {
        k.heads = any(kMaxWidth), k.key_dim = any(kMaxWidth), k.value_dim = any(kMaxWidth), k.width = any(kMaxWidth);
        k.rope = any(std::max<int64_t>(k.width, 1)), k.span = any(kMaxVocab), k.ratio = 1 + any(kMaxVocab);
        k.taps = any(kMaxWidth), k.state = SplitAxis(any(kMaxVocab), any(kMaxVocab));
      }
      for (Matrix& m : layer.matrices) {
        m.in = WholeAxis(any(kMaxVocab)), m.out = SplitAxis(any(kMaxVocab), any(kMaxWidth)),
        m.copies = any(kMaxExperts);
      }
    }
    CostOptions options = Options();
    options.max_batched_tokens = options.max_sequences = 1 << 30;
    options.speculative_tokens = any(1024), options.lora_rank = any(65'536);
    options.block_tokens = any(1 << 30);
    const absl::StatusOr<CostTable> table = CostTable::Compile(s, options);
    if (!table.ok()) {
      ++refused;
      continue;
    }
    EXPECT_GE(table->weights_bytes(), table->rotary_bytes());
    EXPECT_GE(table->fixed_bytes(), table->weights_bytes());
    const int64_t prompt = any(kMax), output = any(kMax), n = 1 + any(kMax - 1);
    const RankCost cost = table->Price(prompt, output, n);
    EXPECT_GE(cost.activation_bytes, 0);
    EXPECT_GE(cost.kv_bytes, table->Price(prompt / 2, output / 2, n / 2).kv_bytes);
    EXPECT_GE(CellPoolBytes(*table, prompt, n, Coin()), 0);
    EXPECT_GE(PoolBytes(*table, prompt, 1), 0);
    EXPECT_GE(MakePool(*table, prompt, any(1 << 30)).tokens, 0);
    const absl::StatusOr<Estimate> card = EstimateCard(*table, {prompt, output, n, n});
    EXPECT_TRUE(!card.ok() || card->total_bytes >= table->fixed_bytes());
  }
  EXPECT_GT(refused, 0);
  EXPECT_LT(refused, kShapes);
}

}  // namespace
}  // namespace vramgate
