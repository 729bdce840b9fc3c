// The encoder of images beside a language model: its matrices count, its tokens are ordinary tokens of the prompt.
//
//   AddVisionTower(outer_fields, {.merge = 2}, shape);
//
// Used by the reader of configs. Confined to one thread.
#pragma once

#include <cstdint>

#include "admission/estimator/json_fields.h"
#include "admission/estimator/model_shape.h"

namespace vramgate {

// How a family joins its tower to the text model.
struct VisionHabit {
  enum class Projector : uint8_t {
    kNone,
    kLinear,  // tower width -> text width
    kMlp,     // tower width -> text width -> text width
    kMerger,  // merge^2 patches -> as many -> text width; one more for each deepstack layer
  };
  Projector projector = Projector::kMlp;
  int64_t merge = 1;            // side of the square of patches that becomes one token
  bool gated = false;           // MLPs of three matrices
  bool split_attention = true;  // devices share its attention
  // The family's own tower, where a config leaves it out: layers, width, MLP width; 0: none is assumed.
  int64_t default_layers = 0;
  int64_t default_width = 0;
  int64_t default_inner = 0;
};

// Reads `vision_config`. A config without one has the habit's default tower, or none. A tower whose sizes are not all
// there leaves the shape not counted: its weights must then come from the checkpoint's files or by hand.
void AddVisionTower(JsonFields& outer, const VisionHabit& habit, ModelShape& shape);

}  // namespace vramgate
