#include "admission/estimator/checkpoint.h"

#include <string>
#include <string_view>

#include "absl/strings/numbers.h"
#include "absl/strings/string_view.h"
#include "admission/estimator/arithmetic.h"
#include "admission/estimator/weights.h"

namespace vramgate {
namespace {

bool Has(std::string_view name, std::string_view part) {
  return name.find(part) != std::string_view::npos;
}

// "...layers.61.mlp..." of a model of 61 layers belongs to a draft.
bool IsDraft(std::string_view name, int64_t layers) {
  if (name.substr(0, 4) == "mtp." || Has(name, ".mtp.")) return true;
  constexpr std::string_view kLayers = "model.layers.";
  const size_t at = name.find(kLayers);
  if (at == std::string_view::npos || layers == 0) return false;
  const std::string_view rest = name.substr(at + kLayers.size());
  int64_t number = 0;
  const std::string digits(rest.substr(0, rest.find('.')));
  return absl::SimpleAtoi(digits, &number) && number >= layers;
}

bool IsSkipped(std::string_view name, const ModelShape& shape) {
  if (Has(name, "rotary_emb.inv_freq") || Has(name, ".masked_bias")) return true;
  if (shape.tied_embeddings && Has(name, "lm_head.weight")) return true;
  return IsDraft(name, shape.layers());
}

bool IsFloat(std::string_view type) {
  return type == "F64" || type == "F32" || type == "F16" || type == "BF16";
}

}  // namespace

int64_t CheckpointBytes(const Safetensors& checkpoint, const ModelShape& shape) {
  const int64_t element = ActivationElementBytes(shape.dtype.value_or(DType::kBf16));
  int64_t sum = 0;
  for (const SafetensorsTensor& tensor : checkpoint.tensors) {
    if (IsSkipped(tensor.name, shape)) continue;
    const bool weights = IsFloat(tensor.type->name) && !Has(tensor.name, "scale");
    sum = SaturatingAdd(sum, weights ? SaturatingMultiply(tensor.elements, element) : tensor.bytes);
  }
  return sum;
}

}  // namespace vramgate
