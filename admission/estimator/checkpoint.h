// The bytes that a checkpoint's tensors take once an engine has loaded them.
//
// Pure; no thread rule.
//
//   shape.checkpoint_bytes = CheckpointBytes(safetensors, shape);
#pragma once

#include <cstdint>

#include "admission/estimator/model_shape.h"
#include "admission/estimator/safetensors.h"

namespace vramgate {

// Their sum [B], all devices together, where floating-point weights are kept in the model's own type (shape.dtype)
// whatever the file has, and without what engines leave in the file: draft layers, the output head of a tied model,
// tables of rotary frequencies. Scales stay as they are.
int64_t CheckpointBytes(const Safetensors& checkpoint, const ModelShape& shape);

}  // namespace vramgate
