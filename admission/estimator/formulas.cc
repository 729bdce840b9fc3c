#include "admission/estimator/formulas.h"

#include <algorithm>
#include <cmath>

#include "admission/estimator/arithmetic.h"
#include "admission/estimator/weights.h"

namespace vramgate {
namespace {

bool HasLatent(const ModelShape& shape) {
  return std::any_of(shape.kinds.begin(), shape.kinds.end(), [](const Layer& layer) {
    return std::any_of(layer.kept.begin(), layer.kept.end(), [](const Kept& k) { return k.kind == KeptKind::kLatent; });
  });
}

}  // namespace

Wide ResidentActivationBytesPerToken(const ModelShape& s, DType dtype) {
  return Wide{s.hidden} * s.layers() * ActivationElementBytes(dtype);
}

Wide BatchedActivationBytes(const ModelShape& s, DType dtype, const EngineProfile& profile, const StepShape& step) {
  const Wide element = ActivationElementBytes(dtype);
  const Wide tokens = step.batched_tokens * element;
  const Wide mlp = tokens * (3 * CeilDivide(s.intermediate, step.tensor_parallel) + 4 * s.hidden);
  Wide peak = mlp;
  if (step.last_stage) {
    Wide experts = 0;
    if (s.experts_per_token > 0) {
      const Wide expert = CeilDivide(s.expert_intermediate, step.tensor_parallel);
      experts = tokens * (s.experts_per_token * (std::max<Wide>(2 * expert, s.hidden) + expert) + s.hidden);
    }
    const auto logit = static_cast<Wide>(std::llround(profile.sampler_bytes.value_or(0) * 1000)) + element * 1000;
    const Wide sampler =
        Wide{std::min(step.sequences, step.batched_tokens)} * s.vocab * logit / 1000 + tokens * s.hidden + experts;
    peak = std::max(peak, sampler);
  } else {
    peak += 2 * tokens * s.hidden;
  }
  return peak + (s.multimodal ? tokens * s.hidden : 0);
}

Wide GgmlComputeBytes(const ModelShape& s, const StepShape& step) {
  const Wide tokens = step.batched_tokens;
  const Wide cells = step.context_tokens;
  return 16 * tokens * s.hidden + 3 * tokens * cells + (step.narrow_kv ? cells * s.hidden * 9 / 4 : 0) +
         Wide{s.vocab} * tokens * 4 * (std::max<int64_t>(step.sequences, 1) - 1);
}

int64_t GraphBytes(const ModelShape& s, const EngineProfile::Graphs& graphs, int64_t layers) {
  int64_t bytes = SaturatingAdd(graphs.base_bytes, SaturatingMultiply(graphs.layer_bytes, layers));
  if (s.experts_per_token > 0) bytes = SaturatingAdd(bytes, graphs.experts_bytes);
  if (HasLatent(s)) bytes = SaturatingAdd(bytes, graphs.latent_bytes);
  return bytes;
}

Wide OverheadBytes(int64_t weights_bytes, double ratio) {
  constexpr Wide kBillion = 1'000'000'000;
  return CeilDivide(Wide{weights_bytes} * std::llround(ratio * 1e9), kBillion);
}

}  // namespace vramgate
