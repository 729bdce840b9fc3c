// A CostTable is a model compiled for one rank of one way of running it: from then on a request's price is a few
// divisions.
//
// One per model and way, made when the model is loaded; the gate's prices, the Estimate RPC and `vramgate estimate` all
// come from here. Immutable after Compile, so any thread may price. Owns what it needs; nothing must outlive it.
//
//   absl::StatusOr<CostTable> table = CostTable::Compile(shape, {.tensor_parallel = 2});
//   if (!table.ok()) return table.status();
//   RankCost cost = table->Price(/*prompt_tokens=*/900, /*output_tokens=*/100, /*sequences=*/1);   // on each of two
#pragma once

#include <cstdint>
#include <optional>

#include "absl/status/statusor.h"
#include "admission/estimator/dtype.h"
#include "admission/estimator/engine_profile.h"
#include "admission/estimator/model_shape.h"
#include "admission/estimator/pool_layout.h"
#include "admission/estimator/weights.h"
#include "admission/types.h"

namespace vramgate {

enum class ActivationMode : uint8_t {
  kBatched,   // an engine's peak per step: fixed, charged once
  kResident,  // the classical worst case: every layer's activation of every token of the request, for as long as it
              // runs
};

struct CostOptions {
  int tensor_parallel = 1;   // devices that share each layer; KV heads are replicated below one per device
  int64_t block_tokens = 0;  // KV is taken in blocks, per sequence; 0: the profile's
  ActivationMode activation = ActivationMode::kBatched;  // an engine that is not known: kResident
  DType weights_dtype = DType::kBf16;                    // an 8-bit type keeps embeddings, head and norms at 16 bits
  DType kv_dtype = DType::kBf16;
  std::optional<double> overhead_ratio;  // of the weights; absent: what the profile measured, or kOverheadRatio
  int64_t max_batched_tokens = 8192;     // tokens of one step
  int64_t max_sequences = 1024;          // sequences of one step
  int pipeline_parallel = 1;             // stages; the table is of `stage`
  int stage = 0;
  bool expert_parallel = false;    // whole experts are dealt out to the devices
  int64_t speculative_tokens = 0;  // drafts in flight: the draft layers are loaded and keep KV, states have more rows
  int64_t context_tokens = 0;      // kCells: of the whole cache
  int64_t lora_rank = 0;           // room for max_loras adapters is made at load
  int64_t max_loras = 1;
  EngineProfile profile = GenericProfile();
};

inline constexpr double kOverheadRatio = 0.15;  // too low: the device runs full before the budget does

class CostTable {
 public:
  // INVALID_ARGUMENT: the shape or the options are impossible, or lack a field that is needed (named, with what to
  // set). OUT_OF_RANGE: a size beyond 8 EiB.
  static absl::StatusOr<CostTable> Compile(const ModelShape& shape, const CostOptions& options);

  // Bytes of one request on this rank, at its peak: KV of `sequences` copies of (prompt + output) tokens, and, in
  // resident mode, their activation. Saturates at int64's maximum (such a request never fits). Allocates nothing.
  // REQUIRES: all >= 0.
  RankCost Price(int64_t prompt_tokens, int64_t output_tokens, int64_t sequences) const;

  // KV bytes of one sequence of `tokens`: at its peak, after its prompt (kSteady), or now (kSteady of the tokens it
  // has).
  int64_t KvBytes(int64_t tokens, Phase phase) const { return layout_.Bytes(tokens, phase); }
  const PoolLayout& layout() const { return layout_; }

  // What the rank holds whatever the load [B].
  int64_t weights_bytes() const { return weights_bytes_; }        // rotary tables and absorbed copies included
  int64_t activation_bytes() const { return activation_bytes_; }  // batched: the peak; resident: 0
  int64_t overhead_bytes() const { return overhead_bytes_; }      // context + non-torch + graphs, or a share
  int64_t fixed_bytes() const { return weights_bytes_ + activation_bytes_ + overhead_bytes_; }

  // Parts of the above; 0 where the profile has not measured them.
  int64_t rotary_bytes() const { return rotary_bytes_; }
  int64_t context_bytes() const { return context_bytes_; }
  int64_t non_torch_bytes() const { return non_torch_bytes_; }
  int64_t graph_bytes() const { return graph_bytes_; }
  bool overhead_measured() const { return overhead_measured_; }

  int64_t kv_bytes_per_token() const { return layout_.bytes_per_token(); }
  int64_t activation_bytes_per_token() const { return activation_bytes_per_token_; }  // resident; batched: 0
  int64_t resident_bytes_per_token() const { return resident_bytes_per_token_; }      // whatever the mode; 0: not known
  int64_t parameters() const { return parameters_; }  // all devices together; 0: not known

  // What it was compiled from.
  const ModelShape& shape() const { return shape_; }
  const CostOptions& options() const { return options_; }

 private:
  CostTable(const ModelShape& shape, const CostOptions& options) : shape_(shape), options_(options) {}
  absl::Status CompileWeights();
  absl::Status CompileOverhead();
  absl::Status CompileKv();
  absl::Status CompileActivation();

  ModelShape shape_;
  CostOptions options_;
  Slice slice_;
  PoolLayout layout_;
  int64_t parameters_ = 0;
  int64_t weights_bytes_ = 0;
  int64_t rotary_bytes_ = 0;
  int64_t activation_bytes_ = 0;
  int64_t context_bytes_ = 0;
  int64_t non_torch_bytes_ = 0;
  int64_t graph_bytes_ = 0;
  int64_t overhead_bytes_ = 0;
  bool overhead_measured_ = false;
  int64_t activation_bytes_per_token_ = 0;
  int64_t resident_bytes_per_token_ = 0;
};

}  // namespace vramgate
