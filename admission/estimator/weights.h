// What a model's matrices weigh: parameters, and bytes on one rank of a deployment.
//
// Used by CostTable. Pure functions over a validated ModelShape: no thread rule.
//
//   Slice slice{.tensor_parallel = 2, .end_layer = shape.layers()};        // one of two devices
//   Wide bytes = SliceWeightsBytes(shape, DType::kBf16, slice);
#pragma once

#include <cstdint>

#include "admission/estimator/axis.h"
#include "admission/estimator/dtype.h"
#include "admission/estimator/model_shape.h"

namespace vramgate {

// What one rank holds of a model: some of the layers, and of each matrix its share.
struct Slice {
  int tensor_parallel = 1;
  bool expert_parallel = false;  // whole experts are dealt out instead of splitting each
  int64_t begin_layer = 0;
  int64_t end_layer = 0;
  bool first = true;             // has the embedding
  bool last = true;              // has the output head, samples
  bool drafts = false;           // the last rank also has the draft layers
  bool copies = true;            // with what is made from other matrices at load
  int64_t mxfp4_pad_in = 0;      // MXFP4 kernels want inputs in multiples of it; 0: as they are
  bool torch_allocator = false;  // matrices are fused and rounded as PyTorch's caching allocator does
};

// The layers of stage `stage` of `stages` (vLLM distributed/utils.py get_pp_indices: what does not divide goes to the
// stages before the last, from the back). REQUIRES: 0 <= stage < stages <= layers.
Slice PipelineSlice(int64_t layers, int stage, int stages);

// All parameters, drafts not included. A tied output head counts once. REQUIRES: shape.counted.
Wide CountParameters(const ModelShape& shape);

// Bytes of the slice's matrices on its device: each at its format, or at `dtype`; embeddings, heads, norms, routers and
// biases at 16 bits or `dtype`, whichever is more. Split matrices are shared as vLLM's ColumnParallelLinear,
// RowParallelLinear and VocabParallelEmbedding share them. REQUIRES: shape.counted.
Wide SliceWeightsBytes(const ModelShape& shape, DType dtype, const Slice& slice);

// What PyTorch's caching allocator counts for a tensor of `bytes`: from 10 MiB on segments are multiples of 2 MiB, and
// a rest of at most 1 MiB is not split off (c10/cuda/CUDACachingAllocator.cpp: kRoundLarge, kMinLargeAlloc,
// should_split). The whole difference between a model's parameters and what vLLM logs for Qwen2.5 (0.056 of 14.25 GiB).
Wide TorchAllocatedBytes(Wide bytes);

// Tables of cosines and sines [B]: positions x dim elements each, on every device (vLLM RotaryEmbedding.cos_sin_cache).
// 0.031 GiB for 131,072 positions of 128: the gap that counting parameters alone leaves.
Wide RotaryBytes(const ModelShape& shape, DType dtype);

// Room for `adapters` LoRA adapters of `rank` on the slice [B]: for each linear matrix rank x (in + out) elements, 2 B
// each (vLLM reserves all of it at load). REQUIRES: shape.counted.
Wide LoraBytes(const ModelShape& shape, const Slice& slice, int64_t rank, int64_t adapters);

// Weights by the classical formula on one of `devices` [B]: parameters x bytes of an original / quantisation factor,
// rounded up. REQUIRES: shape.parameters.
Wide ClassicalWeightsBytes(const ModelShape& shape, DType dtype, int64_t devices);

// Bytes of an element of an activation: engines compute in 16 bits or more whatever the weights' type.
int64_t ActivationElementBytes(DType dtype);

}  // namespace vramgate
