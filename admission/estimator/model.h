// Reads a model from wherever it is: a Hugging Face directory, a config.json, or a GGUF file.
//
// Used by the config loader and by `vramgate estimate`. Opens the files named and no other; no thread rule.
//
//   absl::StatusOr<ModelShape> shape = ReadModel("models/llama-3.1-8b", {});
//   if (!shape.ok()) return shape.status();
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "admission/estimator/model_config.h"
#include "admission/estimator/model_shape.h"

namespace vramgate {

// A directory: its config.json, and the headers of its safetensors for exact weights where it has them. NOT_FOUND: no
// such file. INVALID_ARGUMENT: what ParseModelConfig says, or a file that is not what it should be; messages begin with
// the path.
absl::StatusOr<ModelShape> ReadModel(const std::string& path, const ModelOverrides& overrides = {});

}  // namespace vramgate
