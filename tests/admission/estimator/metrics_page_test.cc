// Metric pages: real ones from tests/data/engines, and pages that are none.
#include "admission/estimator/metrics_page.h"

#include <cmath>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include "admission/estimator/metrics_text.h"

namespace vramgate {
namespace {

using testing::HasSubstr;

std::string FileText(const std::string& name) {
  std::ifstream file(std::string(VRAMGATE_TEST_DATA "/engines/") + name);
  EXPECT_TRUE(file.good()) << name;
  return std::string(std::istreambuf_iterator<char>(file), {});
}

MetricsPage Read(const std::string& text) {
  const absl::StatusOr<MetricsPage> page = ReadMetricsPage(text);
  EXPECT_TRUE(page.ok()) << page.status();
  return page.value_or(MetricsPage{});
}

TEST(MetricsPageTest, VllmIdle) {
  const MetricsPage page = Read(FileText("vllm_0.32_idle.prom"));
  EXPECT_EQ(page.pool.engine, EngineKind::kVllm);
  EXPECT_EQ(page.pool.blocks, 16384);
  EXPECT_EQ(page.pool.block_tokens, 128);
  EXPECT_EQ(page.pool.tokens, 2097152);
  EXPECT_EQ(page.pool.token_meaning, TokenMeaning::kUnknown) << "a page names no version";
  EXPECT_DOUBLE_EQ(*page.pool.max_concurrency, 1024);
  EXPECT_FALSE(page.pool.blocks_overridden);
  EXPECT_EQ(page.used_ratio, 0.0);
  EXPECT_EQ(page.running, 0.0);
  EXPECT_EQ(page.waiting, 0.0);
}

TEST(MetricsPageTest, VllmWithBlocksOverridden) {
  const MetricsPage page = Read(FileText("vllm_0.32_after_preempt.prom"));
  EXPECT_EQ(page.pool.blocks, 256);
  EXPECT_EQ(page.pool.block_tokens, 32);
  EXPECT_TRUE(page.pool.blocks_overridden);
}

TEST(MetricsPageTest, VllmEnginesTogether) {
  const MetricsPage page = Read(
      "vllm:cache_config_info{block_size=\"16\",engine=\"0\",num_gpu_blocks=\"900\",num_gpu_blocks_override=\"None\"} "
      "1\n"
      "vllm:cache_config_info{block_size=\"16\",engine=\"1\",num_gpu_blocks=\"880\",num_gpu_blocks_override=\"None\"} "
      "1\n"
      "vllm:gpu_cache_usage_perc{engine=\"0\"} 0.25\nvllm:gpu_cache_usage_perc{engine=\"1\"} 0.5\n");
  EXPECT_EQ(page.pool.blocks, 880);
  EXPECT_EQ(page.used_ratio, 0.5);
}

TEST(MetricsPageTest, VllmThatDoesNotKnowItsBlocksYet) {
  const MetricsPage page = Read(
      "vllm:cache_config_info{block_size=\"16\",num_gpu_blocks=\"None\"} 1\n"
      "vllm:kv_cache_usage_perc 0\n");
  EXPECT_FALSE(page.pool.blocks);
  EXPECT_FALSE(page.pool.KnowsCapacity());
}

TEST(MetricsPageTest, SglangRanksShowTheSame) {
  const MetricsPage page = Read(FileText("sglang_tp2.prom"));
  EXPECT_EQ(page.pool.engine, EngineKind::kSglang);
  EXPECT_EQ(page.pool.tokens, 1'000'000);
  EXPECT_EQ(page.pool.token_meaning, TokenMeaning::kFullAttention);
  EXPECT_EQ(page.pool.block_tokens, 16);
  EXPECT_EQ(page.used_ratio, 0.3);
  EXPECT_EQ(page.running, 3.0);
  // Without a ratio, from what is used.
  EXPECT_EQ(Read("sglang:max_total_num_tokens 200\nsglang:num_used_tokens 50\n").used_ratio, 0.25);
}

TEST(MetricsPageTest, TritonWithTensorRtLlm) {
  const MetricsPage page = Read(FileText("triton_tensorrt_llm.prom"));
  EXPECT_EQ(page.pool.engine, EngineKind::kTensorRtLlm);
  EXPECT_EQ(page.pool.blocks, 6239);
  EXPECT_EQ(page.pool.block_tokens, 64);
  EXPECT_DOUBLE_EQ(*page.used_ratio, 1560.0 / 6239);
  EXPECT_EQ(page.device_used_bytes, 7451181056);
  EXPECT_EQ(page.device_total_bytes, 16944988160);
}

TEST(MetricsPageTest, OtherPagesAreNotMistaken) {
  EXPECT_EQ(ReadMetricsPage("<html><body>404</body></html>").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ReadMetricsPage("node_load1 0.5\n").status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ReadMetricsPage("").status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ReadMetricsPage("vllm:num_requests_running 3\n").status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST(MetricsPageTest, FiguresThatCannotBeAreRefused) {
  for (const char* page :
       {"vllm:kv_cache_usage_perc 1.5\n", "vllm:kv_cache_usage_perc -0.1\n", "vllm:kv_cache_usage_perc +Inf\n",
        "sglang:max_total_num_tokens 1.5\n", "sglang:max_total_num_tokens 1e300\n",
        "nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type=\"max\"} -1\n"}) {
    const absl::Status status = ReadMetricsPage(page).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << page;
    EXPECT_THAT(std::string(status.message()), HasSubstr("cannot be"));
  }
  // Rounding beyond all is all; a gauge that is not a number is not known.
  EXPECT_EQ(Read("vllm:kv_cache_usage_perc 1.0004\n").used_ratio, 1.0);
  EXPECT_FALSE(Read("sglang:max_total_num_tokens 5\nsglang:token_usage NaN\n").used_ratio);
  EXPECT_FALSE(Read("vllm:kv_cache_usage_perc 0\nvllm:cache_config_info{num_gpu_blocks=\"5x\"} 1\n").pool.blocks);
}

std::vector<MetricSample> Samples(const std::string& text) {
  std::vector<MetricSample> samples;
  const absl::Status status = ForEachSample(text, [&](const MetricSample& sample) { samples.push_back(sample); });
  EXPECT_TRUE(status.ok()) << status;
  return samples;
}

TEST(MetricsTextTest, ReadsTheFormat) {
  const std::string text =
      "# HELP a b\n# TYPE a gauge\n\n"
      "plain 1\n"
      "  spaced\t{ a = \"x\" , b=\"\" , }  -2.5e3  1395066363000\r\n"
      "escaped{a=\"q\\\"b\\\\n\\nend,}\"} NaN\n"
      "inf:x +Inf\n"
      "last -Inf";
  const std::vector<MetricSample> samples = Samples(text);
  ASSERT_EQ(samples.size(), 5u);
  EXPECT_EQ(samples[0].name, "plain");
  EXPECT_EQ(samples[0].value, 1);
  EXPECT_EQ(samples[1].value, -2500);
  EXPECT_EQ(samples[1].label("a"), "x");
  EXPECT_EQ(samples[1].labels.size(), 2u);
  EXPECT_EQ(samples[2].label("a"), "q\"b\\n\nend,}");
  EXPECT_EQ(samples[2].label("none"), "");
  EXPECT_TRUE(std::isnan(samples[2].value));
  EXPECT_TRUE(std::isinf(samples[3].value) && samples[3].value > 0);
  EXPECT_TRUE(std::isinf(samples[4].value) && samples[4].value < 0);
}

TEST(MetricsTextTest, RefusesWhatIsNotOfIt) {
  for (const char* line : {"1abc 1", "a", "a ", "a b", "a 1 2 3", "a 1x", "a{ 1", "a{b} 1", "a{b=c} 1", "a{b=\"c} 1",
                           "a{b=\"c\" d=\"e\"} 1", "a{b=\"\\x\"} 1", "a{b:c=\"d\"} 1", "a 0x10", "a infinity", "a --1",
                           "a 1e999", "{a=\"b\"} 1", "a{,} 1"}) {
    const absl::Status status = ForEachSample(std::string("good 1\n") + line + "\n", [](const MetricSample&) {});
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << line;
    EXPECT_THAT(std::string(status.message()), HasSubstr("line 2")) << line;
  }
}

TEST(MetricsTextTest, IsBounded) {
  const auto ignore = [](const MetricSample&) {};
  EXPECT_FALSE(ForEachSample(std::string(kMaxPageBytes + 1, '\n'), ignore).ok());
  EXPECT_TRUE(ForEachSample(std::string(kMaxPageBytes, '\n'), ignore).ok());
  EXPECT_FALSE(ForEachSample("a{b=\"" + std::string(kMaxPageLineBytes, 'x') + "\"} 1", ignore).ok());
  std::string labels = "a{";
  for (size_t i = 0; i <= kMaxSampleLabels; ++i) labels += "l" + std::to_string(i) + "=\"\",";
  EXPECT_FALSE(ForEachSample(labels + "} 1", ignore).ok());
}

TEST(MetricsTextTest, TornPagesDoNoHarm) {
  const std::string page = FileText("vllm_0.32_after_preempt.prom") + FileText("triton_tensorrt_llm.prom");
  constexpr uint32_t kSeed = 7;
  std::mt19937 random(kSeed);
  int refused = 0;
  for (int round = 0; round < 1000; ++round) {
    std::string torn = page;
    for (int edit = 0; edit < 3; ++edit) torn[random() % torn.size()] = static_cast<char>(random());
    torn.resize(torn.size() - random() % 100);
    const absl::StatusOr<MetricsPage> read = ReadMetricsPage(torn);
    refused += !read.ok();
    if (!read.ok()) continue;
    SCOPED_TRACE(testing::Message() << "seed " << kSeed << " round " << round);
    EXPECT_GE(read->used_ratio.value_or(0), 0);
    EXPECT_LE(read->used_ratio.value_or(0), 1);
  }
  EXPECT_GT(refused, 0);
}

}  // namespace
}  // namespace vramgate
