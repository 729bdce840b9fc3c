// Reads a Hugging Face config.json into a ModelShape.
//
// Used by ReadModel and by tests. Pure; no thread rule. What the text says is not trusted: at most 4 MiB, bounded
// nesting, every number checked. Nothing is looked up by name: the file's own name, its directory and `_name_or_path`
// have no effect.
//
//   absl::StatusOr<ModelShape> shape = ParseModelConfig(text, "config.json", {});
//   if (!shape.ok()) return shape.status();
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "admission/estimator/model_shape.h"

namespace vramgate {

// What is known better than from the config. With KV and weights both given, a model_type that is not known is let in.
struct ModelOverrides {
  std::optional<int64_t> kv_bytes_per_token;  // on one device
  std::optional<int64_t> state_bytes;         // of a sequence, on one device
  std::optional<int64_t> weights_bytes;       // all devices together
  std::optional<int64_t> parameters;          // instead of weights_bytes, at the weights' type
  std::optional<int64_t> activation_bytes;    // batched peak on one device
  std::optional<std::string> quantization;    // where the checkpoint is not quantized: ApplyQuantization
  std::string quantization_file;              // text of the checkpoint's hf_quant_config.json; "": none
};

// INVALID_ARGUMENT: not a config, a value that cannot be, or a kind of model that is not known (the message names the
// overrides that would let it in); messages begin with `name_for_errors`.
absl::StatusOr<ModelShape> ParseModelConfig(std::string_view json, std::string_view name_for_errors,
                                            const ModelOverrides& overrides = {});

}  // namespace vramgate
