// What a running engine says of its own memory: the pool it keeps KV in, and what the rest of its card went to.
//
// Made by the readers of start-up logs (engine_log.h) and of metric pages (metrics_page.h); read by reconcile.h. Bytes
// are of one rank: of several ranks' figures the least pool and the largest rest are kept, as the worst rank decides.
// Plain values: no thread rule, no lifetime rule.
//
//   EnginePool pool = log_reader.pool();
//   MergeInto(pool, page.pool);                    // the page knows better what it has
//   if (pool.blocks) std::cout << *pool.blocks << " blocks of " << pool.block_tokens.value_or(0) << " tokens";
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace vramgate {

enum class EngineKind : uint8_t { kUnknown, kVllm, kSglang, kTensorRtLlm, kLlamaCpp };
std::string_view EngineKindName(EngineKind kind);  // "vLLM", "SGLang", ...

struct EngineVersion {
  int major = 0;
  int minor = 0;
  friend auto operator<=>(const EngineVersion&, const EngineVersion&) = default;
};

// What an engine's "tokens" count. For a model whose layers all keep every token it makes no difference; for others
// "tokens" of an unknown meaning say nothing.
enum class TokenMeaning : uint8_t {
  kUnknown,
  kBlocksPerGroup,  // blocks // groups of layers x block_tokens (vLLM up to 0.20)
  kConcurrency,     // max_concurrency x max_model_len (vLLM from 0.21, vllm#43308)
  kFullAttention,   // places for tokens in the layers that keep every token (SGLang, TensorRT-LLM, llama.cpp)
};
// The meaning that a version gives it.
TokenMeaning TokenMeaningOf(EngineKind kind, const std::optional<EngineVersion>& version);

// A size as it was printed. The true one is within the tolerance: half of the last digit.
struct PrintedBytes {
  int64_t bytes = 0;
  int64_t tolerance_bytes = 0;
  friend bool operator==(const PrintedBytes&, const PrintedBytes&) = default;
};
PrintedBytes operator+(const PrintedBytes& a, const PrintedBytes& b);

// One of llama.cpp's buffers: "CUDA0 KV buffer size = 512.00 MiB".
struct EngineBuffer {
  enum class Kind : uint8_t { kModel, kKv, kState, kCompute, kOutput };
  Kind kind = Kind::kModel;
  std::string device;  // "CUDA0", "CPU_Mapped", ...
  PrintedBytes size;
};

// One of llama.cpp's caches: full attention, sliding window, or recurrent state.
struct EngineCache {
  bool recurrent = false;
  int64_t cells = 0;    // of one stream
  int64_t streams = 1;  // recurrent: 1
  int64_t layers = 0;
  PrintedBytes size;  // all streams
};

struct EnginePool {
  EngineKind engine = EngineKind::kUnknown;
  std::optional<EngineVersion> version;

  // The pool.
  std::optional<int64_t> blocks;        // block ids
  bool blocks_overridden = false;       // fewer or more than fit, by the operator's wish: pool_bytes is not theirs
  std::optional<int64_t> block_tokens;  // tokens in a block, of layers that keep every token
  std::optional<int64_t> tokens;        // as the engine says it: see token_meaning
  TokenMeaning token_meaning = TokenMeaning::kUnknown;
  std::optional<PrintedBytes> pool_bytes;  // KV of one rank
  std::optional<int64_t> max_model_len;
  std::optional<double> max_concurrency;  // requests of max_model_len at once
  double max_concurrency_tolerance = 0;
  std::optional<int64_t> window_tokens;     // places in the layers that keep a window (SGLang)
  std::optional<int64_t> state_slots;       // sequences whose recurrent state fits (SGLang, llama.cpp)
  std::optional<PrintedBytes> state_bytes;  // of all slots
  bool hybrid = false;                      // the engine says that its layers differ: padding, states, windows

  // The rest of the card.
  std::optional<PrintedBytes> weights_bytes;
  std::optional<PrintedBytes> activation_bytes;
  std::optional<PrintedBytes> non_torch_bytes;
  std::optional<PrintedBytes> cuda_graph_bytes;

  // llama.cpp: every buffer and cache it names.
  std::vector<EngineBuffer> buffers;
  std::vector<EngineCache> caches;
  std::optional<int64_t> context_tokens;  // n_ctx
  std::optional<int64_t> batch_tokens;    // n_batch
  std::optional<int64_t> ubatch_tokens;   // n_ubatch

  // Whether anything that bounds requests is known.
  bool KnowsCapacity() const { return blocks || tokens || pool_bytes || max_concurrency; }
};

// Takes over into `pool` whatever `better` knows, and gives "tokens" the meaning that follows from both.
void MergeInto(EnginePool& pool, const EnginePool& better);

}  // namespace vramgate
