// The bytes of what a layer keeps, in the cache's types, on one device.
//
//   Wide token = KeptBytes(kept, {.tensor_parallel = 2, .kv_dtype = DType::kFp8}, profile);
//
// Pure functions: no thread rule.
#pragma once

#include <cstdint>

#include "admission/estimator/axis.h"
#include "admission/estimator/dtype.h"
#include "admission/estimator/engine_profile.h"
#include "admission/estimator/kept.h"

namespace vramgate {

// How a model's caches are kept.
struct PoolOptions {
  int64_t tensor_parallel = 1;
  DType kv_dtype = DType::kBf16;
  DType model_dtype = DType::kBf16;
  int64_t block_tokens = 0;  // 0: the profile's
  int64_t max_batched_tokens = 8192;
  int64_t speculative_tokens = 0;  // states keep a row for each
};

// Bytes that `kept` takes for one token (of a state: for one sequence; of a compressed cache: for one entry) on one
// device. Sources: vLLM kv_cache_interface.py (page sizes), flashmla_sparse.py (656 bytes), mamba_utils.py (states).
Wide KeptBytes(const Kept& kept, const PoolOptions& options, const EngineProfile& profile);

}  // namespace vramgate
