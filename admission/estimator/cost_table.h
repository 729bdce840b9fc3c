// A CostTable is a model compiled for one way of running it: from then on a request's price is a few multiplications.
//
// One per model and number of devices, made when the model is loaded; the gate's prices, the Estimate RPC and `vramgate
// estimate` all come from here. Immutable after Compile, so any thread may price. Owns what it needs; nothing must
// outlive it.
//
//   absl::StatusOr<CostTable> table = CostTable::Compile(shape, {.tensor_parallel = 2});
//   if (!table.ok()) return table.status();
//   RankCost cost = table->Price(/*prompt_tokens=*/900, /*output_tokens=*/100, /*sequences=*/1);   // on each of the
//   two devices
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "admission/estimator/dtype.h"
#include "admission/estimator/model_shape.h"
#include "admission/types.h"

namespace vramgate {

enum class ActivationMode : uint8_t {
  kBatched,   // an engine's peak per step: fixed, charged once
  kResident,  // the classical worst case: every layer's activation of every token of the request, for as long as it
              // runs
};

struct CostOptions {
  int tensor_parallel = 1;    // devices of the instance; KV heads are replicated below one per device
  int64_t block_tokens = 16;  // KV is taken in blocks, per sequence: larger wastes more at a sequence's end
  ActivationMode activation = ActivationMode::kBatched;  // an engine that is not known: kResident
  DType weights_dtype = DType::kBf16;                    // an 8-bit type keeps embeddings, head and norms at 16 bits
  DType kv_dtype = DType::kBf16;
  double overhead_ratio = 0.15;       // of the weights; too low: the device runs full before the budget does
  int64_t max_batched_tokens = 8192;  // tokens of one step; kBatched only
  int64_t max_sequences = 1024;       // sequences of one step; kBatched only
};

class CostTable {
 public:
  // INVALID_ARGUMENT: the shape or the options are impossible, or lack a field that is needed (named, with what to
  // set). OUT_OF_RANGE: a size beyond 8 EiB.
  static absl::StatusOr<CostTable> Compile(const ModelShape& shape, const CostOptions& options);

  // Bytes of one request on one device: KV of `sequences` copies of (prompt + output) tokens, each rounded up to
  // blocks, and, in resident mode, their activation. Saturates at int64's maximum (such a request never fits).
  // Allocates nothing. REQUIRES: all >= 0.
  RankCost Price(int64_t prompt_tokens, int64_t output_tokens, int64_t sequences) const;

  // What the instance holds on each of its devices whatever the load [B].
  int64_t weights_bytes() const { return weights_bytes_; }        // rotary cache included
  int64_t activation_bytes() const { return activation_bytes_; }  // batched: the peak; resident: 0
  int64_t overhead_bytes() const { return overhead_bytes_; }
  int64_t fixed_bytes() const { return weights_bytes_ + activation_bytes_ + overhead_bytes_; }

  int64_t rotary_cache_bytes() const { return rotary_cache_bytes_; }
  int64_t kv_bytes_per_token() const { return kv_bytes_per_token_; }
  int64_t activation_bytes_per_token() const { return activation_bytes_per_token_; }  // resident; batched: 0
  int64_t parameters() const { return parameters_; }  // all devices together; 0: not known

  // What it was compiled from.
  const ModelShape& shape() const { return shape_; }
  const CostOptions& options() const { return options_; }

 private:
  CostTable(const ModelShape& shape, const CostOptions& options) : shape_(shape), options_(options) {}
  absl::Status CompileWeights();
  absl::Status CompileKv();
  absl::Status CompileActivation();

  ModelShape shape_;
  CostOptions options_;
  int64_t parameters_ = 0;
  int64_t weights_bytes_ = 0;
  int64_t rotary_cache_bytes_ = 0;
  int64_t activation_bytes_ = 0;
  int64_t overhead_bytes_ = 0;
  int64_t kv_bytes_per_token_ = 0;
  int64_t activation_bytes_per_token_ = 0;
};

}  // namespace vramgate
