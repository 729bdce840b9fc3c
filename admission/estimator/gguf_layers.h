// What each layer of a model in GGUF keeps for a request in llama.cpp, and the sizes that activation needs.
//
// Used by gguf_config.h. Pure; no thread rule. The weights are the file's own count, and no formula's.
//
//   absl::StatusOr<GgufModel> model = ReadGgufLayers(file, "m.gguf");
//   if (!model.ok()) return model.status();
//   for (const GgufLayer& layer : model->layers) elements_per_token += layer.kv_heads * (layer.key_dim +
//   layer.value_dim);
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "admission/estimator/gguf_arch.h"
#include "admission/estimator/gguf_file.h"

namespace vramgate {

struct GgufLayer {
  // Attention, in elements of the cache's type. No KV heads: none, or it uses an earlier layer's.
  int64_t kv_heads = 0;
  int64_t key_dim = 0;
  int64_t value_dim = 0;
  bool is_latent = false;     // MLA: one latent of key_dim, from which keys and values are views
  int64_t rope_dim = 0;       // of a latent: how many of its elements have the position
  int64_t window_tokens = 0;  // 0: all
  bool is_chunked = false;    // the window is a chunk of the context
  int64_t index_dim = 0;      // of the DSA indexer's key; 0: none
  // State of a sequence, in f32 elements.
  GgufState state = GgufState::kNone;
  int64_t conv_elements = 0;
  int64_t state_elements = 0;
};

struct GgufModel {
  std::string architecture;
  std::vector<GgufLayer> layers;  // without those of a draft
  int64_t draft_layers = 0;       // of next-token prediction, after the others
  int64_t hidden = 0;
  int64_t heads = 0;  // the most that a layer has
  int64_t vocab = 0;
  int64_t context_tokens = 0;  // 0: not said
  int64_t intermediate = 0;    // the widest dense MLP
  int64_t experts = 0;         // 0: no MoE
  int64_t experts_used = 0;
  int64_t dense_layers = 0;         // before the first of the MoE layers
  int64_t expert_intermediate = 0;  // of one
  int64_t shared_intermediate = 0;  // of those that every token takes
  // State space and delta layers, for who divides them over devices.
  int64_t conv_kernel = 0;
  int64_t state_inner = 0;
  int64_t state_size = 0;
  int64_t state_groups = 0;
  int64_t state_heads = 0;
  // Weights. llama.cpp leaves the token embedding on the CPU; where it is tied, the device has a copy as output.
  int64_t weights_bytes = 0;    // all tensors
  int64_t embedding_bytes = 0;  // of token_embd.weight
  bool is_tied = false;
};

// INVALID_ARGUMENT: an architecture that is not known, or keys that are not of its kind: the message begins with `name`
// and names the overrides that would let it in.
absl::StatusOr<GgufModel> ReadGgufLayers(const GgufFile& file, std::string_view name);

}  // namespace vramgate
