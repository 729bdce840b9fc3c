// Reads a GGUF file into a ModelShape, as llama.cpp would run it.
//
// Used by ReadModel. Opens the file named and the parts of it beside it, and reads their heads only; no thread rule.
// Weights are the sum of the file's own table. Nothing is looked up by a file's or model's name.
//
//   absl::StatusOr<ModelShape> shape = ReadGgufModel("models/Llama-3.1-8B-Q4_K_M.gguf");
//   if (!shape.ok()) return shape.status();
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "admission/estimator/gguf_file.h"
#include "admission/estimator/model_config.h"
#include "admission/estimator/model_shape.h"

namespace vramgate {

// The errors of ReadGgufFile, and INVALID_ARGUMENT: an architecture or a layer that is not known, unless `overrides`
// say what its KV takes; the message begins with the path and names them.
absl::StatusOr<ModelShape> ReadGgufModel(const std::string& path, const ModelOverrides& overrides = {});

// The same from a file that has been read.
absl::StatusOr<ModelShape> ShapeOfGguf(const GgufFile& file, std::string_view name_for_errors,
                                       const ModelOverrides& overrides = {});

}  // namespace vramgate
