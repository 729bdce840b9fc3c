// Reads the page that an engine shows to Prometheus: how large its KV pool is, and how much of it is in use.
//
//   absl::StatusOr<MetricsPage> page = ReadMetricsPage(text);
//   if (page.ok() && page->used_ratio) ...  // of page->pool.blocks
//
// Known: vLLM (`vllm:cache_config_info`, `vllm:kv_cache_usage_perc`, before 0.10 `vllm:gpu_cache_usage_perc`), SGLang
// (`sglang:max_total_num_tokens`, `sglang:token_usage`), TensorRT-LLM behind Triton
// (`nv_trt_llm_kv_cache_block_metrics`) or trtllm-serve (`trtllm_kv_cache_utilization`), Triton's own view of its
// cards. A page of several engines or ranks gives the least pool and the highest use. Pure function, no thread rule.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "absl/status/statusor.h"
#include "admission/estimator/engine_pool.h"

namespace vramgate {

struct MetricsPage {
  EnginePool pool;
  std::optional<double> used_ratio;  // of the pool, 0 to 1: blocks that requests hold, shared ones counted once
  std::optional<double> running;     // requests
  std::optional<double> waiting;
  std::optional<int64_t> device_used_bytes;   // Triton: of the card that is fullest
  std::optional<int64_t> device_total_bytes;  // and how large it is
};

// INVALID_ARGUMENT: not a page of the text format, or a figure that cannot be. FAILED_PRECONDITION: a page, but it says
// nothing of a pool: no engine that is known.
absl::StatusOr<MetricsPage> ReadMetricsPage(std::string_view text);

}  // namespace vramgate
