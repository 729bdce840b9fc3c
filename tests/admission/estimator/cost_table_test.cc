#include "admission/estimator/cost_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <limits>
#include <new>

#include "admission/estimator/formulas.h"
#include "tests/admission/estimator/test_models.h"

// Counts what this program allocates. Sanitizers bring an operator new of their own.
#if defined(__has_feature)
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer)
#define VRAMGATE_SANITIZED
#endif
#endif
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define VRAMGATE_SANITIZED
#endif

#ifndef VRAMGATE_SANITIZED
namespace {
int64_t allocations = 0;  // by this program's operator new; the tests run on one thread
}  // namespace

// Not inlined: GCC would otherwise take malloc and operator delete for a mismatch.
__attribute__((noinline)) void* operator new(size_t size) {
  ++allocations;
  if (void* p = std::malloc(size)) return p;
  throw std::bad_alloc();
}
__attribute__((noinline)) void operator delete(void* p) noexcept {
  std::free(p);
}
__attribute__((noinline)) void operator delete(void* p, size_t) noexcept {
  std::free(p);
}
#endif

namespace vramgate {
namespace {

using ::testing::HasSubstr;

constexpr int64_t kMax = std::numeric_limits<int64_t>::max();

TEST(CostTableTest, ClassicalExample) {
  const CostTable table = Compiled(ClassicalShape(4), ClassicalOptions());
  EXPECT_EQ(table.weights_bytes(), 72'000'000'000);
  EXPECT_EQ(table.overhead_bytes(), 10'800'000'000);
  EXPECT_EQ(table.activation_bytes(), 0);  // resident: it is each request's
  EXPECT_EQ(table.fixed_bytes(), 82'800'000'000);
  EXPECT_EQ(table.kv_bytes_per_token(), 786'432);
  EXPECT_EQ(table.Price(12'000, 0, 1), (RankCost{9'437'184'000, 4'718'592'000}));
  EXPECT_EQ(Compiled(ClassicalShape(2), ClassicalOptions()).weights_bytes(), 144'000'000'000);
}

TEST(CostTableTest, KvComesInBlocksPerSequenceAndActivationByToken) {
  CostOptions options = ClassicalOptions();
  options.block_tokens = 16;
  const CostTable table = Compiled(ClassicalShape(4), options);
  const int64_t token = 786'432;
  const int64_t activation = 4096 * 48 * 2;
  EXPECT_EQ(table.Price(0, 0, 1), (RankCost{0, 0}));
  EXPECT_EQ(table.Price(1, 0, 1), (RankCost{16 * token, activation}));
  EXPECT_EQ(table.Price(10, 6, 1), (RankCost{16 * token, 16 * activation}));
  EXPECT_EQ(table.Price(10, 7, 3), (RankCost{3 * 32 * token, 3 * 17 * activation}));
  EXPECT_EQ(table.Price(12'000, 0, 1).kv_bytes, 9'437'184'000);  // 750 whole blocks
}

TEST(CostTableTest, BatchedActivationIsFixedAndRequestsPayKvOnly) {
  const CostTable table = Compiled(ReadShape("llama-3.1-8b"), {.activation = ActivationMode::kBatched});
  EXPECT_GT(table.activation_bytes(), 0);
  EXPECT_EQ(table.Price(1000, 24, 1), (RankCost{131'072 * 1024, 0}));
  EXPECT_EQ(table.fixed_bytes(), table.weights_bytes() + table.activation_bytes() + table.overhead_bytes());
}

TEST(CostTableTest, KvHeadsAreReplicatedBelowOnePerDevice) {
  const ModelShape shape = ReadShape("qwen2.5-7b");  // 28 heads, 4 KV heads: 57,344 B a token
  EXPECT_EQ(Compiled(shape, {.tensor_parallel = 2}).kv_bytes_per_token(), 57'344 / 2);
  EXPECT_EQ(Compiled(shape, {.tensor_parallel = 4}).kv_bytes_per_token(), 57'344 / 4);
  EXPECT_EQ(Compiled(shape, {.tensor_parallel = 14}).kv_bytes_per_token(), 57'344 / 4);
  const ModelShape multi_query = ReadShape("falcon-7b");
  EXPECT_EQ(Compiled(multi_query, {.tensor_parallel = 71}).kv_bytes_per_token(),
            Compiled(multi_query, {}).kv_bytes_per_token());
}

TEST(CostTableTest, OverridesAreTakenAsTheyAre) {
  const ModelShape shape = {.parameters = 1'000'000, .kv_bytes_per_token = 1234, .activation_bytes = 5678};
  const CostTable one = Compiled(shape, {.block_tokens = 1});
  EXPECT_EQ(one.weights_bytes(), 2'000'000);
  EXPECT_EQ(one.Price(10, 0, 1), (RankCost{12'340, 0}));
  EXPECT_EQ(one.activation_bytes(), 5678);
  const CostTable three = Compiled(shape, {.tensor_parallel = 3, .block_tokens = 1});
  EXPECT_EQ(three.kv_bytes_per_token(), 1234) << "KV given by hand is of one device";
  EXPECT_EQ(three.weights_bytes(), 666'667) << "weights given by hand are shared, rounded up";
  EXPECT_EQ(Compiled({.kv_bytes_per_token = 1, .weights_bytes = 10, .activation_bytes = 1}, {.tensor_parallel = 3})
                .weights_bytes(),
            4);
}

TEST(CostTableTest, AbsurdRequestsSaturate) {
  const CostTable table = Compiled(ClassicalShape(4), ClassicalOptions());
  EXPECT_EQ(table.Price(kMax, kMax, kMax), (RankCost{kMax, kMax}));
  EXPECT_EQ(table.Price(kMax, 0, 1), (RankCost{kMax, kMax}));
  EXPECT_EQ(table.Price(1, 0, kMax), (RankCost{kMax, kMax}));
  EXPECT_EQ(table.Price(kMax, kMax, 0), (RankCost{0, 0}));
  CostOptions blocks = ClassicalOptions();
  blocks.block_tokens = 1 << 30;
  EXPECT_EQ(Compiled(ClassicalShape(4), blocks).Price(kMax - 1, 0, 1).kv_bytes, kMax);
}

TEST(CostTableTest, SizesBeyondInt64AreErrors) {
  PlainShape plain = ClassicalPlain(4);
  plain.layers = kMaxLayers, plain.heads = kMaxWidth, plain.head_dim = kMaxWidth, plain.hidden = kMaxWidth;
  CostOptions blocks = ClassicalOptions();
  blocks.block_tokens = 16;
  const absl::StatusOr<CostTable> kv = CostTable::Compile(Shape(plain), blocks);
  EXPECT_EQ(kv.status().code(), absl::StatusCode::kOutOfRange) << kv.status();
  plain = ClassicalPlain(0.001);
  plain.parameters = kMaxParameters;
  plain.parameter_bytes = 1000;
  const absl::StatusOr<CostTable> weights = CostTable::Compile(Shape(plain), ClassicalOptions());
  EXPECT_EQ(weights.status().code(), absl::StatusCode::kOutOfRange) << weights.status();
  EXPECT_THAT(std::string(weights.status().message()), HasSubstr("weights"));
}

std::string CompileError(const ModelShape& shape, const CostOptions& options) {
  const absl::Status status = CostTable::Compile(shape, options).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  return std::string(status.message());
}

// The error of the textbook example after `change`.
template <typename Change>
std::string PlainError(Change change) {
  PlainShape plain = ClassicalPlain(4);
  change(plain);
  const absl::Status status = ShapeOf(plain).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  return std::string(status.message());
}

TEST(CostTableTest, NamesWhatIsMissingAndWhatToSet) {
  EXPECT_THAT(CompileError({}, {}), HasSubstr("parameters: missing"));
  EXPECT_THAT(PlainError([](PlainShape& s) { s.heads = 0; }), HasSubstr("heads: missing"));
  EXPECT_THAT(PlainError([](PlainShape& s) { s.layers = 0; }), HasSubstr("set kv_bytes_per_token"));
  CostOptions batched = ClassicalOptions();
  batched.activation = ActivationMode::kBatched;
  EXPECT_THAT(CompileError(ClassicalShape(4), batched), HasSubstr("vocab: missing"));
  PlainShape plain = ClassicalPlain(4);
  plain.vocab = 32'000;
  EXPECT_THAT(CompileError(Shape(plain), batched), HasSubstr("intermediate: missing"));
}

TEST(CostTableTest, RefusesImpossibleOptions) {
  const ModelShape shape = ClassicalShape(4);
  const auto error = [&](auto change) {
    CostOptions options = ClassicalOptions();
    change(options);
    return CompileError(shape, options);
  };
  EXPECT_THAT(error([](CostOptions& o) { o.tensor_parallel = 0; }), HasSubstr("tensor_parallel"));
  EXPECT_THAT(error([](CostOptions& o) { o.tensor_parallel = 3; }), HasSubstr("does not divide the 32 heads"));
  EXPECT_THAT(error([](CostOptions& o) { o.block_tokens = -1; }), HasSubstr("block_tokens"));
  EXPECT_THAT(error([](CostOptions& o) { o.max_batched_tokens = -1; }), HasSubstr("max_batched_tokens"));
  EXPECT_THAT(error([](CostOptions& o) { o.max_sequences = 0; }), HasSubstr("max_sequences"));
  EXPECT_THAT(error([](CostOptions& o) { o.pipeline_parallel = 0; }), HasSubstr("pipeline_parallel"));
  EXPECT_THAT(error([](CostOptions& o) { o.pipeline_parallel = 49; }), HasSubstr("more than the 48 layers"));
  EXPECT_THAT(error([](CostOptions& o) { o.stage = 1; }), HasSubstr("stage"));
  EXPECT_THAT(error([](CostOptions& o) { o.speculative_tokens = -1; }), HasSubstr("speculative_tokens"));
  EXPECT_THAT(error([](CostOptions& o) { o.weights_dtype = DType::kQ8_0; }), HasSubstr("dtype"));
  EXPECT_THAT(error([](CostOptions& o) { o.overhead_ratio = -0.1; }), HasSubstr("overhead"));
  EXPECT_THAT(error([](CostOptions& o) { o.overhead_ratio = std::numeric_limits<double>::quiet_NaN(); }),
              HasSubstr("overhead"));
}

TEST(CostTableTest, RefusesImpossibleShapes) {
  EXPECT_THAT(PlainError([](PlainShape& s) { s.layers = -1; }), HasSubstr("layers"));
  EXPECT_THAT(PlainError([](PlainShape& s) { s.layers = kMaxLayers + 1; }), HasSubstr("layers"));
  EXPECT_THAT(PlainError([](PlainShape& s) { s.kv_heads = 0; }), HasSubstr("kv_heads"));
  EXPECT_THAT(PlainError([](PlainShape& s) { s.kv_heads = 5; }), HasSubstr("must divide heads (32)"));
  EXPECT_THAT(PlainError([](PlainShape& s) { s.kv_heads = 64; }), HasSubstr("kv_heads"));
  EXPECT_THAT(PlainError([](PlainShape& s) { s.heads = -32; }), HasSubstr("heads"));
  EXPECT_THAT(PlainError([](PlainShape& s) { s.head_dim = kMax; }), HasSubstr("head_dim"));
  EXPECT_THAT(PlainError([](PlainShape& s) { s.head_dim.reset(), s.hidden = 4097; }), HasSubstr("set head_dim"));
  EXPECT_THAT(PlainError([](PlainShape& s) { s.hidden = -1; }), HasSubstr("hidden"));
  EXPECT_THAT(PlainError([](PlainShape& s) { s.parameters = 0; }), HasSubstr("parameters"));
  EXPECT_THAT(PlainError([](PlainShape& s) { s.parameter_bytes = -4; }), HasSubstr("parameter_bytes"));
  EXPECT_THAT(PlainError([](PlainShape& s) { s.quantization_factor = 0; }), HasSubstr("quantization_factor"));
  EXPECT_THAT(PlainError([](PlainShape& s) { s.kv_bytes_per_token = -1; }), HasSubstr("kv_bytes_per_token"));
  EXPECT_THAT(PlainError([](PlainShape& s) { s.weights_bytes = 0; }), HasSubstr("weights_bytes"));
}

TEST(CostTableTest, OverheadRatioIsTakenAsItIsWrittenAndRoundsUp) {
  EXPECT_TRUE(OverheadBytes(72'000'000'000, 0.15) == 10'800'000'000);
  EXPECT_TRUE(OverheadBytes(10, 0.1) == 1);
  EXPECT_TRUE(OverheadBytes(11, 0.1) == 2);
  EXPECT_TRUE(OverheadBytes(kMax, 0) == 0);
}

TEST(CostTableTest, PricingAllocatesNothing) {
#ifdef VRAMGATE_SANITIZED
  GTEST_SKIP() << "a sanitizer's operator new does not count";
#else
  const CostTable plain = Compiled(ReadShape("llama-3.1-8b"), {.activation = ActivationMode::kResident});
  const CostTable window = Compiled(ReadShape("gemma-3-4b"), {.profile = Engine("vllm-0.19")});
  const int64_t before = allocations;
  int64_t sum = 0;
  for (int64_t n = 0; n < 1000; ++n) {
    sum += plain.Price(n, n, 1).kv_bytes + window.Price(n, n, 3).kv_bytes;
    sum += window.KvBytes(n, Phase::kSteady) + window.layout().Blocks(n, Phase::kPeak);
  }
  EXPECT_EQ(allocations, before);
  EXPECT_GT(sum, 0);
  EXPECT_GT(before, 0) << "the counter does not count";
#endif
}

}  // namespace
}  // namespace vramgate
