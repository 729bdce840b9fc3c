// The parts that decoders are made of, as the readers of families put them together: attention, MLPs, experts, ends.
//
// Used by the readers in families_*.cc only. Confined to one thread.
//
//   Decoder d = ReadDecoder(fields, {});
//   for (int64_t i = 0; i < d.layers; ++i) {
//     Layer layer;
//     AddAttention(layer, d.hidden, d.attention);
//     AddMlp(layer, d.hidden, d.intermediate, {.part = Part::kMlp, .name = "mlp"});
//     shape.Add(layer);
//   }
//   Finish(d, shape);
#pragma once

#include <cstdint>
#include <string>

#include "admission/estimator/json_fields.h"
#include "admission/estimator/model_shape.h"

namespace vramgate {

// Attention of one layer, before devices share it.
struct AttentionSizes {
  int64_t heads = 0;
  int64_t kv_heads = 0;
  int64_t head_dim = 0;
  int64_t value_dim = 0;  // 0: head_dim
  bool qkv_bias = false;
  bool output_bias = false;
  bool gated_output = false;   // the query projection also makes a gate of its size
  bool one_key_value = false;  // values are the keys: one projection (Gemma 4's global layers)
  int64_t norms = 0;           // elements of query and key norms
};

// Which tokens a layer keeps.
struct Span {
  KeptKind kind = KeptKind::kTokens;
  int64_t tokens = 0;
};

struct MlpSizes {
  Part part = Part::kMlp;
  std::string name = "mlp";
  bool gated = true;  // three matrices (SwiGLU, GeGLU) instead of two
  bool bias = false;
  int64_t copies = 1;  // experts
};

// What a config says of the whole model; the defaults of its family where it does not.
struct Decoder {
  int64_t layers = 0;
  int64_t hidden = 0;
  AttentionSizes attention;
  int64_t intermediate = 0;
  int64_t vocab = 0;
  int64_t max_positions = 0;
  double stretch = 1;  // a scaled rotary table has so many times max_positions rows
  double rotary = 1;   // part of a head that rotary embedding turns; 0: none
  bool tied = false;
  int64_t norms = 2;  // vectors of `hidden` in a layer: a norm's weight is one, its bias another
  int64_t final_norms = 1;
  int64_t learned_positions = 0;  // rows of a learned position embedding
  bool head_bias = false;
  bool gated_mlp = true;
  bool mlp_bias = false;
};

// A missing or null number of KV heads means one per head; a missing, null or 0 head_dim, hidden / heads. `defaults`
// gives what a config may leave out. `with_mlp`: intermediate_size must be there.
Decoder ReadDecoder(JsonFields& f, const Decoder& defaults, bool with_mlp = true);

// An error for more layers than a model can have: call it before a loop over them.
void CheckLayers(JsonFields& f, int64_t layers);

void AddAttention(Layer& layer, int64_t hidden, const AttentionSizes& a, Span span = {});
void AddMlp(Layer& layer, int64_t hidden, int64_t intermediate, const MlpSizes& sizes);
void AddNorms(Layer& layer, int64_t vectors, int64_t width);
// A router of `experts` outputs, with a bias each where the family has one.
void AddRouter(Layer& layer, const std::string& name, int64_t hidden, int64_t experts, bool bias = false);
Matrix Norm(const std::string& name, int64_t elements);
Matrix Linear(const std::string& name, Part part, Axis in, Axis out, bool bias = false);

// Embedding, output head, final norms and rotary tables; the sizes of a step. Call after the layers are added.
void Finish(const Decoder& d, ModelShape& shape);

// A kind of layer that is not known: the error names the overrides that would let the model in.
void FailKind(JsonFields& f, const char* key, const std::string& kind);

// The list of one name for each layer at `key`; empty where absent; an error where its length is not `layers`.
std::vector<std::string> LayerNames(JsonFields& f, const char* key, int64_t layers);

}  // namespace vramgate
