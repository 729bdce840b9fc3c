#include "admission/estimator/metrics_page.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "admission/estimator/engine_log_words.h"
#include "admission/estimator/metrics_text.h"
#include "admission/estimator/text_scanner.h"

namespace vramgate {
namespace {

constexpr double kMostRatio = 1.001;  // rounding beyond all is forgiven
constexpr double kMaxGauge = 1e15;

class PageReader {
 public:
  void Sample(const MetricSample& sample) {
    const std::string_view name = sample.name;
    if (name.starts_with("vllm:")) return Vllm(sample);
    if (name.starts_with("sglang:")) return Sglang(sample);
    if (name.starts_with("nv_trt_llm_") || name.starts_with("trtllm_")) return TensorRtLlm(sample);
    if (name == "nv_gpu_memory_used_bytes" || name == "nv_gpu_memory_total_bytes") Triton(sample);
  }

  absl::StatusOr<MetricsPage> Page() && {
    if (!fault_.empty()) return absl::InvalidArgumentError(fault_);
    Finish();
    if (!page_.pool.KnowsCapacity() && !page_.used_ratio && !page_.device_used_bytes) {
      return absl::FailedPreconditionError(
          "says nothing of a KV pool: it is no page of vLLM, SGLang, TensorRT-LLM or Triton");
    }
    return std::move(page_);
  }

 private:
  void Fail(const MetricSample& sample) {
    if (!fault_.empty()) return;
    fault_ = absl::StrCat(absl::string_view(sample.name.data(), sample.name.size()), ": ", sample.value, " cannot be");
  }

  void Vllm(const MetricSample& sample) {
    page_.pool.engine = EngineKind::kVllm;
    if (sample.name == "vllm:cache_config_info") {
      CountLabel(sample, "num_gpu_blocks", page_.pool.blocks);
      // Newer versions name the block of the layers that keep every token apart from the least block of all layers.
      const bool effective = !sample.label("effective_attention_block_size").empty();
      CountLabel(sample, effective ? "effective_attention_block_size" : "block_size", page_.pool.block_tokens);
      CountLabel(sample, "kv_cache_size_tokens", page_.pool.tokens);
      std::optional<int64_t> wanted;
      CountLabel(sample, "num_gpu_blocks_override", wanted);
      page_.pool.blocks_overridden = page_.pool.blocks_overridden || wanted;
      double concurrency = 0;
      double half_digit = 0;
      if (TextScanner(sample.label("kv_cache_max_concurrency")).Decimal(&concurrency, &half_digit)) {
        KeepLeast(page_.pool.max_concurrency, concurrency);  // Python prints every digit: exact
      }
    } else if (sample.name == "vllm:kv_cache_usage_perc" || sample.name == "vllm:gpu_cache_usage_perc") {
      Ratio(sample, page_.used_ratio);
    } else if (sample.name == "vllm:num_requests_running") {
      Gauge(sample, page_.running);
    } else if (sample.name == "vllm:num_requests_waiting") {
      Gauge(sample, page_.waiting);
    }
  }

  // Every rank of an engine shows the same: the least or the highest is that of all.
  void Sglang(const MetricSample& sample) {
    page_.pool.engine = EngineKind::kSglang;
    if (sample.name == "sglang:max_total_num_tokens") {
      Count(sample, page_.pool.tokens);
    } else if (sample.name == "sglang:page_size") {
      Count(sample, page_.pool.block_tokens);
    } else if (sample.name == "sglang:context_len") {
      Count(sample, page_.pool.max_model_len);
    } else if (sample.name == "sglang:token_usage") {
      Ratio(sample, page_.used_ratio);
    } else if (sample.name == "sglang:num_used_tokens") {
      Gauge(sample, used_);
    } else if (sample.name == "sglang:num_running_reqs" && sample.label("priority").empty()) {
      Gauge(sample, page_.running);
    } else if (sample.name == "sglang:num_queue_reqs" && sample.label("priority").empty()) {
      Gauge(sample, page_.waiting);
    }
  }

  void TensorRtLlm(const MetricSample& sample) {
    page_.pool.engine = EngineKind::kTensorRtLlm;
    if (sample.name == "nv_trt_llm_kv_cache_block_metrics") {
      const std::string_view type = sample.label("kv_cache_block_type");
      if (type == "max") Count(sample, page_.pool.blocks);
      if (type == "tokens_per") Count(sample, page_.pool.block_tokens);
      if (type == "used") Gauge(sample, used_);
    } else if (sample.name == "nv_trt_llm_request_metrics") {
      const std::string_view type = sample.label("request_type");
      if (type == "scheduled") Gauge(sample, page_.running);
      if (type == "waiting") Gauge(sample, page_.waiting);
    } else if (sample.name == "trtllm_kv_cache_utilization") {
      Ratio(sample, page_.used_ratio);
    }
  }

  void Triton(const MetricSample& sample) {
    std::optional<double> bytes;
    Gauge(sample, bytes);
    if (!bytes) return;
    const auto whole = static_cast<int64_t>(*bytes);
    if (sample.name == "nv_gpu_memory_used_bytes") {
      page_.device_used_bytes = std::max(page_.device_used_bytes.value_or(0), whole);
    } else {
      page_.device_total_bytes = std::max(page_.device_total_bytes.value_or(0), whole);
    }
  }

  // What stands in for what a page does not say itself.
  void Finish() {
    EnginePool& pool = page_.pool;
    pool.token_meaning = TokenMeaningOf(pool.engine, pool.version);
    const std::optional<int64_t> places = pool.engine == EngineKind::kSglang ? pool.tokens : pool.blocks;
    if (!page_.used_ratio && used_ && places && *places > 0) {
      page_.used_ratio = std::min(1.0, *used_ / static_cast<double>(*places));
    }
  }

  static void CountLabel(const MetricSample& sample, std::string_view label, std::optional<int64_t>& least) {
    TextScanner scan(sample.label(label));  // "None" where it is not known
    int64_t count = 0;
    if (scan.Count(&count) && scan.rest().empty() && count > 0) KeepLeast(least, count);
  }

  // A gauge that is not a number is not known yet.
  void Gauge(const MetricSample& sample, std::optional<double>& most) {
    if (std::isnan(sample.value)) return;
    if (sample.value < 0 || sample.value > kMaxGauge) return Fail(sample);
    most = std::max(most.value_or(0), sample.value);
  }

  void Ratio(const MetricSample& sample, std::optional<double>& most) {
    if (sample.value > kMostRatio) return Fail(sample);
    Gauge(sample, most);
    if (most) most = std::min(*most, 1.0);
  }

  void Count(const MetricSample& sample, std::optional<int64_t>& least) {
    if (std::isnan(sample.value) || sample.value == 0) return;
    if (sample.value < 0 || sample.value > kMaxGauge || sample.value != std::floor(sample.value)) return Fail(sample);
    KeepLeast(least, static_cast<int64_t>(sample.value));
  }

  MetricsPage page_;
  std::optional<double> used_;  // in the unit of the pool's places
  std::string fault_;
};

}  // namespace

absl::StatusOr<MetricsPage> ReadMetricsPage(std::string_view text) {
  PageReader reader;
  if (absl::Status status = ForEachSample(text, [&](const MetricSample& sample) { reader.Sample(sample); });
      !status.ok()) {
    return status;
  }
  return std::move(reader).Page();
}

}  // namespace vramgate
