// One kind of weight matrix: what it is for, its two sides, and how often a layer has it.
//
// The readers of model configs list a model's matrices; counting parameters, splitting them over devices and storing
// them in fewer bits are the same few lines for all of them (weights.h).
//
//   Matrix q{.name = "self_attn.q_proj", .part = Part::kAttention, .in = WholeAxis(4096), .out = SplitAxis(32, 128)};
//
// Plain values: no thread rule, no lifetime rule.
#pragma once

#include <cstdint>
#include <string>

#include "admission/estimator/axis.h"

namespace vramgate {

// Where a matrix stands. Quantised checkpoints and expert parallelism treat them apart.
enum class Part : uint8_t {
  kEmbedding,
  kHead,       // the output head
  kAttention,  // projections of attention and of latent attention
  kState,      // projections of a state-space or linear-attention mixer
  kMlp,        // of a dense layer
  kExperts,    // routed experts
  kSharedExpert,
  kRouter,
  kNorm,    // norms, scales, biases that stand alone: never quantised
  kVision,  // towers for images and sound, and their projectors
};

struct Matrix {
  std::string name;  // the module inside of its layer as Hugging Face checkpoints name it; ends: from the root
  Part part = Part::kNorm;
  Axis in;
  Axis out;
  int64_t copies = 1;  // routed experts: how many of them
  bool bias = false;   // one more element for each output, never quantised
  bool copy = false;   // made from others at load: takes memory at 16 bits or more, is no parameter
  uint8_t format = 0;  // index into ModelShape::formats: how it is stored
  friend bool operator==(const Matrix&, const Matrix&) = default;
};

}  // namespace vramgate
