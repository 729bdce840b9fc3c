// What a model is, as far as its memory goes: the sizes that the formulas multiply.
//
// Made by ParseModelConfig from a Hugging Face config.json, or filled in by hand (the inline `shape` of the config
// file, the flags of `vramgate estimate`). CostTable::Compile says which fields it misses for what was asked of it.
//
//   ModelShape shape;                  // the classical textbook model: nothing but sizes
//   shape.parameters = 72'000'000'000;
//   shape.parameter_bytes = 4;
//   shape.quantization_factor = 4;
//   shape.layers = 48, shape.heads = 32, shape.head_dim = 128, shape.hidden = 4096;
//   if (absl::Status s = shape.Validate(); !s.ok()) return s;
//
// A plain value: no thread rule, no lifetime rule. Counts are 0 where not known; an optional field that is set must be
// > 0.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "admission/estimator/dtype.h"

namespace vramgate {

// What no believable model exceeds. With these, no formula can overflow 128 bits.
inline constexpr int64_t kMaxLayers = int64_t{1} << 16;
inline constexpr int64_t kMaxWidth = int64_t{1} << 24;  // hidden, intermediate, heads, head_dim
inline constexpr int64_t kMaxExperts = int64_t{1} << 16;
inline constexpr int64_t kMaxVocab = int64_t{1} << 30;       // vocab, positions
inline constexpr int64_t kMaxParameters = int64_t{1} << 60;  // also for bytes given by hand

struct ModelShape {
  std::string family = "shape";  // the config's model_type, for words only: no formula looks at it

  // Attention: every layer keeps keys and values of every token.
  int64_t layers = 0;
  int64_t hidden = 0;
  int64_t heads = 0;
  std::optional<int64_t> kv_heads;  // absent: heads (MHA); 1 is MQA
  std::optional<int64_t> head_dim;  // absent: hidden / heads
  // Some layers keep a window of tokens only. They are priced as if they kept all: an upper bound.
  bool windowed = false;

  // Ends of the model.
  int64_t vocab = 0;
  int64_t max_positions = 0;      // longest context it was made for
  int64_t learned_positions = 0;  // rows of a learned position embedding
  int64_t rotary_dim = 0;         // elements of a head that rotary embedding turns
  bool tied_embeddings = false;   // the output head is the embedding
  bool lm_head_bias = false;

  // Inside a layer. A norm's weight counts as one vector of `hidden` elements, its bias as another.
  int64_t intermediate = 0;  // of the dense MLP
  bool gated_mlp = true;     // three matrices (SwiGLU, GeGLU) instead of two
  bool qkv_bias = false;
  bool output_bias = false;
  bool mlp_bias = false;
  int64_t layer_norms = 0;       // vectors in a layer
  int64_t final_norms = 0;       // vectors outside of the layers
  int64_t qk_norm_elements = 0;  // elements in a layer

  // Mixture of experts: `sparse_layers` layers have experts instead of the dense MLP.
  int64_t sparse_layers = 0;
  int64_t experts = 0;
  int64_t experts_per_token = 0;
  int64_t expert_intermediate = 0;
  int64_t shared_intermediate = 0;  // of the expert that every token takes; it has a gate of one vector

  // Weights. `counted`: the fields above describe every matrix, so the parameters can be counted exactly.
  bool counted = false;
  std::optional<DType> dtype;  // what the checkpoint says of itself
  std::optional<DType>
      linear_dtype;  // 8-bit checkpoints: type of the layers' matrices, one fp32 scale per output channel
  // By hand, instead of counting.
  std::optional<int64_t> parameters;
  std::optional<double> parameter_bytes;      // bytes of an original parameter; absent: those of the weights' type
  std::optional<double> quantization_factor;  // originals are stored this many times smaller; absent: 1

  // Overrides: taken as they are, whatever the fields above say.
  std::optional<int64_t> kv_bytes_per_token;  // on one device: not divided by the number of devices
  std::optional<int64_t> weights_bytes;       // all devices together
  std::optional<int64_t> activation_bytes;    // batched activation peak on one device

  int64_t KvHeads() const { return kv_heads.value_or(heads); }
  int64_t HeadDim() const { return head_dim.value_or(heads > 0 ? hidden / heads : 0); }

  // INVALID_ARGUMENT names the field that is out of range or contradicts another.
  absl::Status Validate() const;
};

}  // namespace vramgate
