// What a step and a process take beside weights and KV: activation, overhead. Every formula says its source and units.
//
// Used by CostTable. Pure functions over a validated ModelShape: no thread rule.
//
//   Wide bytes = BatchedActivationBytes(shape, DType::kBf16, profile, {.batched_tokens = 8192, .sequences = 1024});
#pragma once

#include <cstdint>

#include "admission/estimator/axis.h"
#include "admission/estimator/dtype.h"
#include "admission/estimator/engine_profile.h"
#include "admission/estimator/model_shape.h"

namespace vramgate {

// One step of an engine on one rank.
struct StepShape {
  int64_t tensor_parallel = 1;
  bool last_stage = true;      // of a pipeline: samples
  int64_t batched_tokens = 1;  // T
  int64_t sequences = 1;       // S
  int64_t context_tokens = 0;  // kCells: cells of the whole cache
  bool narrow_kv = false;      // the cache is stored in blocks that a step unpacks
};

// Worst-case activation of one token, everything resident [B/token]: hidden x layers x element. Not divided over
// devices: the hidden state is on each.
Wide ResidentActivationBytesPerToken(const ModelShape& shape, DType dtype);

// Peak activation of one step of a batching engine on one device [B]: the larger of what the widest MLP and the sampler
// hold.
//   MLP      = T x b x (3 x intermediate / devices + 4 x hidden)
//   experts  = T x b x (k x (max(2 x expert / devices, hidden) + expert / devices) + hidden), a workspace the sampler
//              does not free
//   sampler  = min(S, T) x vocab x (c + b) + T x hidden x b + experts; on the last stage of a pipeline
//   + T x hidden x b for inputs as embeddings; + 2 x T x hidden x b for what another stage sends on
// with b bytes an element and the profile's c. Terms read from vLLM's code, c = 13 fitted to the profiled peaks of vLLM
// 0.19 on H100 (within 7 % there).
Wide BatchedActivationBytes(const ModelShape& shape, DType dtype, const EngineProfile& profile, const StepShape& step);

// llama.cpp's compute buffer with flash attention [B]: 16 x hidden x T, a mask of 3 x T B for each cell, logits of all
// slots but the first in fp32, and 2.25 x hidden B for each cell of a quantised cache. Fitted to logged buffers.
Wide GgmlComputeBytes(const ModelShape& shape, const StepShape& step);

// CUDA graphs on one device [B], by the profile's fit: a base, so much for each layer of the rank, more for experts and
// for latent attention.
int64_t GraphBytes(const ModelShape& shape, const EngineProfile::Graphs& graphs, int64_t layers);

// `ratio` x `weights_bytes`, rounded up [B]: contexts, communicators, graphs, workspaces. The ratio is taken to nine
// decimals, so that 0.15 means 0.15.
Wide OverheadBytes(int64_t weights_bytes, double ratio);

}  // namespace vramgate
