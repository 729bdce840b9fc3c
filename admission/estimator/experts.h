// Layers with routed experts: which layers have them, and what they are made of.
//
//   ExpertSizes e{.experts = 64, .per_token = 8, .intermediate = 1408, .shared = 2816, .dense_layers = 1};
//   StackExperts(fields, decoder, e, spans, shape);
//
// Used by the readers of families. Confined to one thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "admission/estimator/decoder.h"

namespace vramgate {

struct ExpertSizes {
  int64_t experts = 0;
  int64_t per_token = 0;
  int64_t intermediate = 0;  // of one expert
  int64_t shared = 0;        // of the experts that every token takes, together; 0: none
  bool shared_gate = false;  // one vector that gates it
  bool router_bias = false;
  bool bias = false;  // of the experts' matrices
  bool gated = true;
  bool shared_gated = true;
  int64_t latent = 0;         // experts work on a projection of so many elements; 0: on the hidden state
  std::string block = "mlp";  // the module that holds them
  std::string shared_name = "shared_experts";
  std::vector<bool> dense;  // one for each layer: has the dense MLP instead; empty: none has
};

// Experts, their router and the shared expert.
void AddExperts(Layer& layer, int64_t hidden, const ExpertSizes& e);

// The dense MLP or the experts, whichever layer `i` has.
void AddMlpOrExperts(Layer& layer, const Decoder& d, const ExpertSizes& e, int64_t i);

// A decoder whose layers differ in the tokens they keep and in having experts. `spans`: empty for all tokens.
void StackExperts(JsonFields& f, const Decoder& d, const ExpertSizes& e, const std::vector<Span>& spans, ModelShape& s);

// Sizes of a step; call where layers are added by hand.
void NoteExperts(const ExpertSizes& e, ModelShape& s);

// The first `count` layers dense; layers outside of every `step`-th dense.
std::vector<bool> FirstDense(int64_t layers, int64_t count);

}  // namespace vramgate
