// Mixers that carry a state instead of keys: Mamba-1, Mamba-2, gated DeltaNet, KDA, lightning attention, short
// convolution.
//
// Each adds its projections and what it keeps of a sequence. Formulas: the state shapes of vLLM
// (model_executor/layers/mamba/mamba_utils.py) and the models' published code.
//
//   AddMamba2(layer, hidden, {.heads = 64, .head_dim = 64, .groups = 8, .state = 128, .kernel = 4});
//
// Used by the readers of families. Confined to one thread.
#pragma once

#include <cstdint>
#include <optional>

#include "admission/estimator/decoder.h"

namespace vramgate {

struct Mamba1Sizes {
  int64_t inner = 0;  // channels: expand x hidden
  int64_t state = 16;
  int64_t rank = 0;  // of the time step
  int64_t kernel = 4;
  bool bias = false;
  bool conv_bias = true;
};
void AddMamba1(Layer& layer, int64_t hidden, const Mamba1Sizes& m);

struct Mamba2Sizes {
  int64_t heads = 0;
  int64_t head_dim = 0;
  int64_t groups = 1;
  int64_t state = 128;
  int64_t kernel = 4;
  bool bias = false;
  bool conv_bias = true;
  std::optional<DType> state_dtype;
};
void AddMamba2(Layer& layer, int64_t hidden, const Mamba2Sizes& m);

struct DeltaNetSizes {
  int64_t key_heads = 0;
  int64_t key_dim = 0;
  int64_t value_heads = 0;
  int64_t value_dim = 0;
  int64_t kernel = 4;
  std::optional<DType> state_dtype;
};
void AddDeltaNet(Layer& layer, int64_t hidden, const DeltaNetSizes& m);

// KDA: keys, queries and values have a convolution each; the state is always fp32.
void AddKda(Layer& layer, int64_t hidden, int64_t heads, int64_t head_dim, int64_t kernel);

// Lightning attention: heads x dim^2 in fp32.
void AddLightning(Layer& layer, int64_t hidden, int64_t heads, int64_t head_dim);

// A gated convolution over `kernel` tokens.
void AddShortConv(Layer& layer, int64_t hidden, int64_t channels, int64_t kernel, bool bias);

// The type in which a config says states are kept; absent where it does not say, or says "auto".
std::optional<DType> ReadStateDType(JsonFields& f);

}  // namespace vramgate
