#include "admission/estimator/engine_pool.h"

#include <limits>

namespace vramgate {
namespace {

// The first version of vLLM whose "tokens" are max_concurrency x max_model_len.
constexpr EngineVersion kVllmTokensAreConcurrency{0, 21};

int64_t SaturatingSum(int64_t a, int64_t b) {
  int64_t sum = 0;
  return __builtin_add_overflow(a, b, &sum) ? std::numeric_limits<int64_t>::max() : sum;
}

template <typename T>
void Take(std::optional<T>& into, const std::optional<T>& better) {
  if (better) into = better;
}

}  // namespace

std::string_view EngineKindName(EngineKind kind) {
  switch (kind) {
    case EngineKind::kUnknown:
      return "an unknown engine";
    case EngineKind::kVllm:
      return "vLLM";
    case EngineKind::kSglang:
      return "SGLang";
    case EngineKind::kTensorRtLlm:
      return "TensorRT-LLM";
    case EngineKind::kLlamaCpp:
      return "llama.cpp";
  }
  return "";
}

TokenMeaning TokenMeaningOf(EngineKind kind, const std::optional<EngineVersion>& version) {
  switch (kind) {
    case EngineKind::kUnknown:
      return TokenMeaning::kUnknown;
    case EngineKind::kVllm:
      if (!version) return TokenMeaning::kUnknown;
      return *version < kVllmTokensAreConcurrency ? TokenMeaning::kBlocksPerGroup : TokenMeaning::kConcurrency;
    case EngineKind::kSglang:
    case EngineKind::kTensorRtLlm:
    case EngineKind::kLlamaCpp:
      return TokenMeaning::kFullAttention;
  }
  return TokenMeaning::kUnknown;
}

PrintedBytes operator+(const PrintedBytes& a, const PrintedBytes& b) {
  return {SaturatingSum(a.bytes, b.bytes), SaturatingSum(a.tolerance_bytes, b.tolerance_bytes)};
}

void MergeInto(EnginePool& pool, const EnginePool& better) {
  if (better.engine != EngineKind::kUnknown) pool.engine = better.engine;
  Take(pool.version, better.version);
  if (better.blocks) pool.blocks_overridden = better.blocks_overridden;
  Take(pool.blocks, better.blocks);
  Take(pool.block_tokens, better.block_tokens);
  Take(pool.tokens, better.tokens);
  Take(pool.pool_bytes, better.pool_bytes);
  Take(pool.max_model_len, better.max_model_len);
  if (better.max_concurrency) pool.max_concurrency_tolerance = better.max_concurrency_tolerance;
  Take(pool.max_concurrency, better.max_concurrency);
  Take(pool.window_tokens, better.window_tokens);
  Take(pool.state_slots, better.state_slots);
  Take(pool.state_bytes, better.state_bytes);
  pool.hybrid = pool.hybrid || better.hybrid;
  Take(pool.weights_bytes, better.weights_bytes);
  Take(pool.activation_bytes, better.activation_bytes);
  Take(pool.non_torch_bytes, better.non_torch_bytes);
  Take(pool.cuda_graph_bytes, better.cuda_graph_bytes);
  if (!better.buffers.empty()) pool.buffers = better.buffers;
  if (!better.caches.empty()) pool.caches = better.caches;
  Take(pool.context_tokens, better.context_tokens);
  Take(pool.batch_tokens, better.batch_tokens);
  Take(pool.ubatch_tokens, better.ubatch_tokens);
  pool.token_meaning = TokenMeaningOf(pool.engine, pool.version);
}

}  // namespace vramgate
