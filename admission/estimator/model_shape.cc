#include "admission/estimator/model_shape.h"

#include <array>
#include <cmath>

#include "absl/strings/str_cat.h"

namespace vramgate {
namespace {

struct Bound {
  const char* name;
  int64_t value;
  int64_t max;
};

absl::Status CheckCounts(const ModelShape& s) {
  const std::array<Bound, 16> bounds = {{
      {"layers", s.layers, kMaxLayers},
      {"hidden", s.hidden, kMaxWidth},
      {"heads", s.heads, kMaxWidth},
      {"vocab", s.vocab, kMaxVocab},
      {"max_positions", s.max_positions, kMaxVocab},
      {"learned_positions", s.learned_positions, kMaxVocab},
      {"rotary_dim", s.rotary_dim, kMaxWidth},
      {"intermediate", s.intermediate, kMaxWidth},
      {"layer_norms", s.layer_norms, kMaxWidth},
      {"final_norms", s.final_norms, kMaxWidth},
      {"qk_norm_elements", s.qk_norm_elements, int64_t{1} << 50},
      {"sparse_layers", s.sparse_layers, s.layers},
      {"experts", s.experts, kMaxExperts},
      {"experts_per_token", s.experts_per_token, s.experts},
      {"expert_intermediate", s.expert_intermediate, kMaxWidth},
      {"shared_intermediate", s.shared_intermediate, kMaxWidth},
  }};
  for (const Bound& b : bounds) {
    if (b.value < 0 || b.value > b.max) {
      return absl::InvalidArgumentError(absl::StrCat(b.name, ": ", b.value, " must be from 0 to ", b.max));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckOptionals(const ModelShape& s) {
  const std::array<std::pair<const char*, std::optional<int64_t>>, 6> counts = {{
      {"kv_heads", s.kv_heads},
      {"head_dim", s.head_dim},
      {"parameters", s.parameters},
      {"kv_bytes_per_token", s.kv_bytes_per_token},
      {"weights_bytes", s.weights_bytes},
      {"activation_bytes", s.activation_bytes},
  }};
  for (const auto& [name, value] : counts) {
    const int64_t max = name == counts[0].first || name == counts[1].first ? kMaxWidth : kMaxParameters;
    if (value.has_value() && (*value < 1 || *value > max)) {
      return absl::InvalidArgumentError(absl::StrCat(name, ": ", *value, " must be from 1 to ", max));
    }
  }
  const std::array<std::pair<const char*, std::optional<double>>, 2> factors = {{
      {"parameter_bytes", s.parameter_bytes},
      {"quantization_factor", s.quantization_factor},
  }};
  for (const auto& [name, value] : factors) {
    if (value.has_value() && !(*value >= 0.001 && *value <= 1000)) {  // also refuses NaN
      return absl::InvalidArgumentError(absl::StrCat(name, ": ", *value, " must be from 0.001 to 1000"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ModelShape::Validate() const {
  if (absl::Status s = CheckCounts(*this); !s.ok()) return s;
  if (absl::Status s = CheckOptionals(*this); !s.ok()) return s;
  if (kv_heads.has_value() && heads > 0 && (*kv_heads > heads || heads % *kv_heads != 0)) {
    return absl::InvalidArgumentError(
        absl::StrCat("kv_heads: ", *kv_heads, " must divide heads (", heads, "): query heads share KV heads evenly"));
  }
  if (!head_dim.has_value() && heads > 0 && hidden > 0 && hidden % heads != 0) {
    return absl::InvalidArgumentError(absl::StrCat("head_dim: missing, and hidden (", hidden,
                                                   ") is not a multiple of heads (", heads, "): set head_dim"));
  }
  if (dtype.has_value() && DTypeBytes(*dtype) < 2) {
    return absl::InvalidArgumentError(
        absl::StrCat("dtype: ", std::string(DTypeName(*dtype)),
                     " is not what a whole model is kept in: set linear_dtype for its matrices"));
  }
  return absl::OkStatus();
}

}  // namespace vramgate
