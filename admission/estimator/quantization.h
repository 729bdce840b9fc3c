// Which matrices of a checkpoint are stored in fewer bits, and how: what quantization_config says.
//
// Known: fp8 (by channel and by 128 x 128 blocks), fbgemm_fp8, compressed-tensors (8 and 4 bits, by channel and group),
// GPTQ, AWQ, modelopt (FP8, NVFP4, mixed), MXFP4. Exceptions are lists of module names, of globs, or of regular
// expressions ("re:..."), as each tool writes them.
//
//   ReadQuantization(fields, shape);            // sets Matrix::format where it applies
//   ApplyQuantization("fp8", shape);            // what an engine does at load for --quantization fp8
//
// Confined to one thread.
#pragma once

#include <string_view>

#include "absl/status/status.h"
#include "admission/estimator/json_fields.h"
#include "admission/estimator/model_shape.h"

namespace vramgate {

// Errors stick to `f`: a method that is not known, with the way out.
void ReadQuantization(JsonFields& f, ModelShape& shape);

// The same from a checkpoint's hf_quant_config.json.
void ReadQuantizationFile(JsonFields& f, std::string_view json, ModelShape& shape);

// INVALID_ARGUMENT: not a format that an engine makes at load, or known here ("fp8", "int8", "gptq", "awq", "mxfp4",
// "nvfp4"); lists the names.
absl::Status ApplyQuantization(std::string_view name, ModelShape& shape);

}  // namespace vramgate
