#include "admission/estimator/plain_shape.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace vramgate {
namespace {

absl::Status Missing(const char* field) {
  return absl::InvalidArgumentError(
      absl::StrCat(field, ": missing, but needed for the KV of a token: set it, or set kv_bytes_per_token"));
}

absl::Status CheckHeads(const PlainShape& p) {
  if (p.layers < 0 || p.layers > kMaxLayers) {
    return absl::InvalidArgumentError(absl::StrCat("layers: ", p.layers, " must be from 0 to ", kMaxLayers));
  }
  for (const auto& [name, value] : {std::pair{"kv_heads", p.kv_heads}, {"head_dim", p.head_dim}}) {
    if (value && (*value < 1 || *value > kMaxWidth)) {
      return absl::InvalidArgumentError(absl::StrCat(name, ": ", *value, " must be from 1 to ", kMaxWidth));
    }
  }
  if (p.kv_heads && p.heads > 0 && (*p.kv_heads > p.heads || p.heads % *p.kv_heads != 0)) {
    return absl::InvalidArgumentError(absl::StrCat("kv_heads: ", *p.kv_heads, " must divide heads (", p.heads,
                                                   "): query heads share KV heads evenly"));
  }
  if (!p.head_dim && p.heads > 0 && p.hidden > 0 && p.hidden % p.heads != 0) {
    return absl::InvalidArgumentError(absl::StrCat("head_dim: missing, and hidden (", p.hidden,
                                                   ") is not a multiple of heads (", p.heads, "): set head_dim"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ModelShape> ShapeOf(const PlainShape& p) {
  if (absl::Status s = CheckHeads(p); !s.ok()) return s;
  const int64_t kv_heads = p.kv_heads.value_or(p.heads);
  const int64_t head_dim = p.head_dim.value_or(p.heads > 0 ? p.hidden / p.heads : 0);
  if (!p.kv_bytes_per_token) {
    if (p.layers == 0) return Missing("layers");
    if (kv_heads == 0) return Missing("heads");
    if (head_dim == 0) return Missing("head_dim");
  }
  ModelShape shape;
  Layer layer;
  if (kv_heads > 0 && head_dim > 0) {
    layer.kept.push_back({.kind = KeptKind::kTokens, .heads = kv_heads, .key_dim = head_dim, .value_dim = head_dim});
  }
  for (int64_t i = 0; i < p.layers; ++i) shape.Add(layer);
  shape.hidden = p.hidden;
  shape.heads = p.heads;
  shape.vocab = p.vocab;
  shape.intermediate = p.intermediate;
  shape.parameters = p.parameters;
  shape.parameter_bytes = p.parameter_bytes;
  shape.quantization_factor = p.quantization_factor;
  shape.kv_bytes_per_token = p.kv_bytes_per_token;
  shape.state_bytes = p.state_bytes;
  shape.weights_bytes = p.weights_bytes;
  shape.activation_bytes = p.activation_bytes;
  if (absl::Status s = shape.Validate(); !s.ok()) return s;
  return shape;
}

}  // namespace vramgate
