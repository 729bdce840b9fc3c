// A model from a few sizes, without a file: the inline `shape` of the config and the flags of `vramgate estimate`.
//
//   PlainShape plain{.parameters = 72'000'000'000, .layers = 48, .heads = 32, .head_dim = 128, .hidden = 4096};
//   absl::StatusOr<ModelShape> shape = ShapeOf(plain);       // every layer keeps keys and values of every token
//
// Plain values and a pure function: no thread rule, no lifetime rule.
#pragma once

#include <cstdint>
#include <optional>

#include "absl/status/statusor.h"
#include "admission/estimator/model_shape.h"

namespace vramgate {

struct PlainShape {
  std::optional<int64_t> parameters;
  std::optional<double> parameter_bytes;
  std::optional<double> quantization_factor;
  int64_t layers = 0;
  int64_t heads = 0;
  std::optional<int64_t> kv_heads;  // absent: heads (MHA); 1 is MQA
  std::optional<int64_t> head_dim;  // absent: hidden / heads
  int64_t hidden = 0;
  int64_t intermediate = 0;
  int64_t vocab = 0;
  // Overrides of ModelShape.
  std::optional<int64_t> kv_bytes_per_token;
  std::optional<int64_t> state_bytes;
  std::optional<int64_t> weights_bytes;
  std::optional<int64_t> activation_bytes;
};

// INVALID_ARGUMENT: a field is out of range, contradicts another, or is missing for the KV of a token and not
// overridden; the message begins with it.
absl::StatusOr<ModelShape> ShapeOf(const PlainShape& plain);

}  // namespace vramgate
