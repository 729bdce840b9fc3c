// The bytes of one thing each: weights, KV, activation, overhead. Every formula says its source and its units.
//
// Used by CostTable, which is the only way to a price: no other file multiplies sizes. Pure functions: no thread rule.
// All take a validated ModelShape; within its limits no product exceeds 128 bits, so the arithmetic is done there and
// narrowed once.
//
//   Wide bytes = KvBytesPerToken(shape, DType::kBf16, /*tensor_parallel=*/2);   // on each of two devices
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "admission/estimator/dtype.h"
#include "admission/estimator/model_shape.h"

namespace vramgate {

__extension__ using Wide = __int128;

// `value` as int64, or OUT_OF_RANGE naming `what`.
absl::StatusOr<int64_t> Narrow(Wide value, const char* what);

// a * b and a + b, at most int64's maximum. REQUIRES: both >= 0.
int64_t SaturatingMultiply(int64_t a, int64_t b);
int64_t SaturatingAdd(int64_t a, int64_t b);

// Parameters that one of `tensor_parallel` devices holds, by how they are stored.
struct ParameterCounts {
  Wide linear = 0;          // matrices of the layers: what 8-bit formats store in 8 bits
  Wide linear_outputs = 0;  // their output channels: one scale each in 8-bit formats
  Wide rest = 0;            // embeddings, output head, norms, biases, routers: 16 bits or more
  Wide total() const { return linear + rest; }
};

// Counts every matrix [parameters/device]. Devices share heads, MLP columns and the vocabulary; norms, biases of
// row-parallel matrices, position embeddings and routers are on each (vLLM's ColumnParallelLinear, RowParallelLinear,
// VocabParallelEmbedding). REQUIRES: shape.counted.
ParameterCounts CountParameters(const ModelShape& shape, int tensor_parallel);

// Weights on one device [B]: counted parameters at their types. 8-bit matrices have one fp32 scale per output channel.
// REQUIRES: shape.counted.
Wide CountedWeightsBytes(const ModelShape& shape, DType dtype, int tensor_parallel);

// Weights on one device by the classical formula [B]: parameters x bytes of an original / quantisation factor, rounded
// up. REQUIRES: shape.parameters.
Wide ClassicalWeightsBytes(const ModelShape& shape, DType dtype, int tensor_parallel);

// The table of cosines and sines that rotary embedding reads [B]: max_positions x rotary_dim elements, on each device
// (vLLM RotaryEmbedding.cos_sin_cache). 0.031 GiB for 131,072 positions of 128: the gap that counting parameters alone
// leaves.
Wide RotaryCacheBytes(const ModelShape& shape, DType dtype);

// KV heads on one device: replicated, not split, below one per device (vLLM `get_num_kv_heads`); rounded up where they
// do not divide.
int64_t KvHeadsPerDevice(const ModelShape& shape, int tensor_parallel);

// Key and value bytes of one token, all layers, on one device [B/token]: 2 x layers x KV heads x head dim x element
// (Transformer Math; vLLM FullAttentionSpec.page_size_bytes / block_size).
Wide KvBytesPerToken(const ModelShape& shape, DType kv_dtype, int tensor_parallel);

// Bytes of an element of an activation: engines compute in 16 bits or more whatever the weights' type.
int64_t ActivationElementBytes(DType dtype);

// Worst-case activation of one token, everything resident [B/token]: hidden x layers x element. Not divided over
// devices: the hidden state is on each.
Wide ResidentActivationBytesPerToken(const ModelShape& shape, DType dtype);

// Peak activation of one step of a batching engine on one device [B]: the larger of what the widest MLP and the sampler
// hold.
//   MLP      = T x b x (3 x intermediate / devices + 4 x hidden)
//   experts  = T x b x (k x (max(2 x expert / devices, hidden) + expert / devices) + hidden), a workspace the sampler
//   does not free sampler  = min(S, T) x vocab x (13 + b) + T x hidden x b + experts
// with T tokens and S sequences in a step and b bytes an element. Terms read from vLLM's code, the constant 13 + b
// fitted to the profiled peaks of vLLM 0.19 on H100 (within 7 % there).
Wide BatchedActivationBytes(const ModelShape& shape, DType dtype, int tensor_parallel, int64_t batched_tokens,
                            int64_t sequences);

// `ratio` x `weights_bytes`, rounded up [B]: contexts, communicators, graphs, workspaces. The ratio is taken to nine
// decimals, so that 0.15 means 0.15.
Wide OverheadBytes(int64_t weights_bytes, double ratio);

}  // namespace vramgate
