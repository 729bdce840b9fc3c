// What a model is, as far as its memory goes: its layers, each with its matrices and what it keeps of a sequence.
//
// Made by ReadModel from a Hugging Face config, a checkpoint or a GGUF file, or by PlainShape from a few sizes (the
// inline `shape` of the config file, the flags of `vramgate estimate`). CostTable::Compile prices it for one way of
// running it and says what is missing for that.
//
//   absl::StatusOr<ModelShape> shape = ReadModel("models/llama-3.1-8b", {});
//   shape->layers();                    // 32
//   shape->kinds[shape->stack[0]];      // what the first layer is made of
//
// A plain value: no thread rule, no lifetime rule. Counts are 0 where not known; an optional that is set is > 0.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "admission/estimator/dtype.h"
#include "admission/estimator/kept.h"
#include "admission/estimator/matrix.h"
#include "admission/estimator/weight_format.h"

namespace vramgate {

// What no believable model exceeds. With these, no formula can overflow 128 bits.
inline constexpr int64_t kMaxLayers = 4096;
inline constexpr int64_t kMaxWidth = int64_t{1} << 24;  // hidden, intermediate, heads, head_dim
inline constexpr int64_t kMaxExperts = int64_t{1} << 16;
inline constexpr int64_t kMaxVocab = int64_t{1} << 30;       // vocab, positions
inline constexpr int64_t kMaxParameters = int64_t{1} << 60;  // also for bytes given by hand

struct Layer {
  std::vector<Kept> kept;        // usually one; none: a layer that attends to nothing, or shares another layer's
  std::vector<Matrix> matrices;  // empty: not counted
  friend bool operator==(const Layer&, const Layer&) = default;
};

// A table of cosines and sines that rotary embedding reads, on each device.
struct RotaryTable {
  int64_t positions = 0;
  int64_t dim = 0;
  int64_t element_bytes = 0;  // 0: that of an activation
};

struct ModelShape {
  std::string family = "shape";  // the config's model_type, for words only: no formula looks at it

  // The layers from first to last: `stack[i]` is the index of layer i's kind.
  std::vector<Layer> kinds;
  std::vector<uint16_t> stack;
  std::vector<Layer> drafts;  // layers of a multi-token predictor, used only when speculation is on

  // Outside of the layers: on the first rank of a pipeline, on its last, and on every one.
  std::vector<Matrix> first;
  std::vector<Matrix> last;
  std::vector<Matrix> every;
  std::vector<RotaryTable> rotary;  // on every rank
  bool tied_embeddings = false;     // the output head is the embedding: a rank that has both has it once

  int64_t hidden = 0;
  int64_t heads = 0;  // query heads: devices that share the model must divide them
  int64_t vocab = 0;
  int64_t max_positions = 0;  // longest context it was made for

  // What a step of a batching engine holds: the widest dense MLP, or the experts of a token.
  int64_t intermediate = 0;
  int64_t experts_per_token = 0;
  int64_t expert_intermediate = 0;
  bool multimodal = false;  // inputs are embeddings beside token ids

  // Weights.
  bool counted = false;                                  // the matrices above are all of them
  std::optional<DType> dtype;                            // what the checkpoint says of itself
  std::vector<WeightFormat> formats = {WeightFormat{}};  // by Matrix::format; the first is "as the dtype says"
  std::optional<int64_t> checkpoint_bytes;               // what the files of a checkpoint hold: exact, before splitting
  // By hand, instead of counting.
  std::optional<int64_t> parameters;
  std::optional<double> parameter_bytes;      // bytes of an original parameter; absent: those of the weights' type
  std::optional<double> quantization_factor;  // originals are stored this many times smaller; absent: 1

  bool bounded = false;  // some layer's pattern is not known and is priced as its dearest kind: an upper bound

  // Overrides: taken as they are, whatever the layers say.
  std::optional<int64_t> kv_bytes_per_token;  // on one device: not divided by the number of devices
  std::optional<int64_t> state_bytes;         // of a sequence, on one device
  std::optional<int64_t> weights_bytes;       // all devices together
  std::optional<int64_t> activation_bytes;    // batched activation peak on one device

  int64_t layers() const { return static_cast<int64_t>(stack.size()); }

  // Appends `layer` to the stack; equal layers share a kind.
  void Add(const Layer& layer);

  // INVALID_ARGUMENT names the field that is out of range or contradicts another.
  absl::Status Validate() const;
};

}  // namespace vramgate
