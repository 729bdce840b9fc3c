#include "admission/estimator/model_shape.h"

#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"

namespace vramgate {
namespace {

constexpr int64_t kMaxElements = int64_t{1} << 40;  // of one side of a matrix

struct Bound {
  const char* name;
  int64_t value;
  int64_t max;
};

template <size_t kCount>
absl::Status CheckBounds(const std::array<Bound, kCount>& bounds) {
  for (const Bound& b : bounds) {
    if (b.value < 0 || b.value > b.max) {
      return absl::InvalidArgumentError(absl::StrCat(b.name, ": ", b.value, " must be from 0 to ", b.max));
    }
  }
  return absl::OkStatus();
}

bool Believable(const Axis& axis) {
  return axis.units >= 0 && axis.unit >= 0 && axis.units <= kMaxVocab && axis.unit <= kMaxVocab &&
         axis.elements() <= kMaxElements;
}

absl::Status CheckMatrices(const std::vector<Matrix>& matrices, size_t formats) {
  for (const Matrix& m : matrices) {
    if (!Believable(m.in) || !Believable(m.out) || m.copies < 0 || m.copies > kMaxExperts || m.format >= formats) {
      return absl::InvalidArgumentError(absl::StrCat(m.name, ": a matrix larger than any believable model has"));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckKept(const Kept& k) {
  if (absl::Status s = CheckBounds(std::array<Bound, 7>{{{"kv_heads", k.heads, kMaxWidth},
                                                         {"head_dim", k.key_dim, kMaxWidth},
                                                         {"v_head_dim", k.value_dim, kMaxWidth},
                                                         {"kv_lora_rank", k.width, kMaxWidth},
                                                         {"qk_rope_head_dim", k.rope, k.width},
                                                         {"sliding_window", k.span, kMaxVocab},
                                                         {"conv_kernel", k.taps, kMaxWidth}}});
      !s.ok()) {
    return s;
  }
  const bool axes = Believable(k.state) && std::all_of(k.conv.begin(), k.conv.end(), Believable);
  if (!axes || k.ratio < 1 || k.ratio > kMaxVocab) {
    return absl::InvalidArgumentError("state: larger than any believable model has");
  }
  return absl::OkStatus();
}

absl::Status CheckLayer(const Layer& layer, size_t formats) {
  if (absl::Status s = CheckMatrices(layer.matrices, formats); !s.ok()) return s;
  for (const Kept& k : layer.kept) {
    if (absl::Status s = CheckKept(k); !s.ok()) return s;
  }
  return absl::OkStatus();
}

absl::Status CheckParts(const ModelShape& m) {
  for (const std::vector<Layer>* layers : {&m.kinds, &m.drafts}) {
    for (const Layer& layer : *layers) {
      if (absl::Status s = CheckLayer(layer, m.formats.size()); !s.ok()) return s;
    }
  }
  for (const std::vector<Matrix>* ends : {&m.first, &m.last, &m.every}) {
    if (absl::Status s = CheckMatrices(*ends, m.formats.size()); !s.ok()) return s;
  }
  for (const RotaryTable& table : m.rotary) {
    if (absl::Status s = CheckBounds(std::array<Bound, 2>{
            {{"max_position_embeddings", table.positions, kMaxVocab}, {"rotary_dim", table.dim, kMaxWidth}}});
        !s.ok()) {
      return s;
    }
  }
  for (const uint16_t kind : m.stack) {
    if (kind >= m.kinds.size()) return absl::InvalidArgumentError("layers: a kind that is not described");
  }
  return absl::OkStatus();
}

absl::Status CheckOptionals(const ModelShape& m) {
  const std::array<std::pair<const char*, std::optional<int64_t>>, 6> counts = {{
      {"parameters", m.parameters},
      {"kv_bytes_per_token", m.kv_bytes_per_token},
      {"state_bytes", m.state_bytes},
      {"weights_bytes", m.weights_bytes},
      {"activation_bytes", m.activation_bytes},
      {"checkpoint_bytes", m.checkpoint_bytes},
  }};
  for (const auto& [name, value] : counts) {
    if (value.has_value() && (*value < 1 || *value > kMaxParameters)) {
      return absl::InvalidArgumentError(absl::StrCat(name, ": ", *value, " must be from 1 to ", kMaxParameters));
    }
  }
  const std::array<std::pair<const char*, std::optional<double>>, 2> factors = {{
      {"parameter_bytes", m.parameter_bytes},
      {"quantization_factor", m.quantization_factor},
  }};
  for (const auto& [name, value] : factors) {
    if (value.has_value() && !(*value >= 0.001 && *value <= 1000)) {  // also refuses NaN
      return absl::InvalidArgumentError(absl::StrCat(name, ": ", *value, " must be from 0.001 to 1000"));
    }
  }
  if (m.dtype.has_value() && (!IsPlain(*m.dtype) || DTypeBytes(*m.dtype) < 2)) {
    return absl::InvalidArgumentError(
        absl::StrCat("dtype: ", std::string(DTypeName(*m.dtype)), " is not what a whole model is kept in"));
  }
  return absl::OkStatus();
}

}  // namespace

void ModelShape::Add(const Layer& layer) {
  const auto same = std::find(kinds.begin(), kinds.end(), layer);
  stack.push_back(static_cast<uint16_t>(same - kinds.begin()));
  if (same == kinds.end()) kinds.push_back(layer);
}

absl::Status ModelShape::Validate() const {
  if (absl::Status s = CheckBounds(std::array<Bound, 8>{{
          {"layers", layers(), kMaxLayers},
          {"hidden", hidden, kMaxWidth},
          {"heads", heads, kMaxWidth},
          {"vocab", vocab, kMaxVocab},
          {"max_positions", max_positions, kMaxVocab},
          {"intermediate", intermediate, kMaxWidth},
          {"experts_per_token", experts_per_token, kMaxExperts},
          {"expert_intermediate", expert_intermediate, kMaxWidth},
      }});
      !s.ok()) {
    return s;
  }
  if (absl::Status s = CheckParts(*this); !s.ok()) return s;
  return CheckOptionals(*this);
}

}  // namespace vramgate
