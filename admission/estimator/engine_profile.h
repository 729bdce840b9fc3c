// How one engine, at one version, lays memory out: block sizes, what it reserves for windows and states, what a step
// and a process take beside, and what its log lines mean.
//
// A profile is a file (admission/estimator/profiles/NAME.json, built into the program; or any path given as --engine):
// adding one needs no code. Every number in it has its source beside it.
//
//   absl::StatusOr<EngineProfile> profile = FindEngineProfile("vllm-0.19");
//   profile->pool;                      // PoolKind::kBlockIds
//
// A plain value: no thread rule, no lifetime rule.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "admission/estimator/dtype.h"

namespace vramgate {

enum class PoolKind : uint8_t {
  kBytes,     // every kind of layer takes what it needs
  kBlockIds,  // one pool of equal blocks, layers grouped so that a block of any group has the same size (vLLM)
  kCells,     // allocated whole at start for every slot (llama.cpp)
};

// What "tokens" in an engine's report of its pool counts.
enum class TokensMeaning : uint8_t {
  kBlocksOverGroups,        // num_blocks / groups x block size (vLLM up to 0.20)
  kConcurrencyTimesLength,  // max_concurrency x max_model_len (vLLM from 0.21)
  kPool,                    // pool bytes / bytes of a token
};

struct EngineProfile {
  // Context, libraries and communicators on a card, measured for so many devices that share a model.
  struct Overhead {
    int tensor_parallel = 1;
    bool pipeline = false;        // measured with pipeline_parallel > 1
    int64_t context_bytes = 0;    // before the weights; outside of the engine's own accounting
    int64_t non_torch_bytes = 0;  // more of it by the time the pool is made
  };
  // Defaults of a step by the card's size: the first entry that the card reaches.
  struct Step {
    int64_t min_device_bytes = 0;
    int64_t max_batched_tokens = 0;
    int64_t max_sequences = 0;
  };
  // Families and types that rows of measured starts back: quality EXACT.
  struct Measured {
    std::vector<std::string> families;
    std::vector<std::string> weights;  // names of element types or formats
    std::vector<DType> kv;
  };
  // CUDA graphs: base + layers x per_layer, more for experts and for latent attention.
  struct Graphs {
    int64_t base_bytes = 0;
    int64_t layer_bytes = 0;
    int64_t experts_bytes = 0;
    int64_t latent_bytes = 0;
  };

  std::string name;
  std::string engine;  // vllm, sglang, llama.cpp, tensorrt-llm, generic
  std::vector<std::string> aliases;

  // Pool.
  PoolKind pool = PoolKind::kBytes;
  int64_t block_tokens = 16;
  int64_t index_block_tokens = 0;     // beside an indexer; 0: block_tokens
  double max_group_stretch = 1.5;     // kBlockIds: kinds whose layer counts differ less are padded to the larger
  int64_t state_block_multiple = 16;  // kBlockIds: blocks grow in such steps until a state fits one
  int64_t state_block_multiple_latent = 64;
  int64_t state_blocks = 1;             // kBlockIds: of each state; 2 where the one before is kept for shared prefixes
  int64_t window_cells_multiple = 256;  // kCells
  bool step_in_window = true;           // a window holds the step's tokens too while a prompt is read
  int64_t extra_window_blocks = 0;      // a window may begin inside of a block
  bool encoder_holds_step = false;      // cross attention reserves a step's tokens, not the encoder's length
  std::optional<DType> state_dtype;     // of every state; absent: what the model says, else its own type
  bool latent_fp8_is_ds_mla = false;    // fp8 KV of sparse MLA: 656 bytes an entry

  // Step and process.
  bool load_tables = true;       // rotary tables and latent attention's copies are made at load
  int64_t mxfp4_pad_in = 0;      // Slice::mxfp4_pad_in
  bool torch_allocator = false;  // weights are tensors of PyTorch: TorchAllocatedBytes
  std::vector<Step> steps;
  std::optional<double> sampler_bytes;  // of each logit beside its own element; absent: no such model of a step
  bool ggml_compute = false;            // the step is llama.cpp's compute buffer
  std::vector<Overhead> overheads;      // empty: overhead is a share of the weights
  std::optional<Graphs> graphs;
  bool graphs_in_pool = false;    // the pool is what is left after graphs too
  double utilization = 0.9;       // default share of the card
  double pool_share = 1;          // of what is left after weights (TensorRT-LLM)
  bool context_in_share = false;  // the share also holds the context
  TokensMeaning tokens = TokensMeaning::kPool;
  std::vector<Measured> measured;

  // The row for so many devices, or the nearest below it; null without a table.
  const Overhead* OverheadFor(int tensor_parallel, int pipeline_parallel) const;
  const Step& StepFor(int64_t device_bytes) const;
};

// By name or alias ("vllm" is the newest), or the path of a file. NOT_FOUND: lists the names, or no such file.
// INVALID_ARGUMENT: the file is not a profile; names the field.
absl::StatusOr<EngineProfile> FindEngineProfile(std::string_view name_or_path);
absl::StatusOr<EngineProfile> ParseEngineProfile(std::string_view json, std::string_view name_for_errors);

// "generic, llama.cpp, ...".
std::string EngineProfileNames();

// Exact bytes, no habits of any engine: what is priced where nothing is said.
const EngineProfile& GenericProfile();

}  // namespace vramgate
