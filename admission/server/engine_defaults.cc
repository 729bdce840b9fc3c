#include "admission/server/engine_defaults.h"

#include <algorithm>

#include "admission/estimator/cost_table.h"
#include "admission/estimator/engine_profile.h"

namespace vramgate {
namespace {

constexpr double kDefaultRisk = 1e-3;

}  // namespace

std::string EngineOf(const LoadedConfig& loaded, const v1::Model& model) {
  return model.engine().find('/') == std::string::npos ? model.engine() : loaded.Resolve(model.engine());
}

void FillEngineDefaults(const LoadedConfig& loaded, v1::Model& model) {
  const absl::StatusOr<EngineProfile> found = FindEngineProfile(EngineOf(loaded, model));
  const EngineProfile& profile = found.ok() ? *found : GenericProfile();
  const EngineProfile::Step& step = profile.steps.front();
  // A profile whose blocks depend on the model's layers sets them itself.
  const bool fixed_blocks = profile.index_block_tokens == 0 && profile.pool != PoolKind::kCells;
  if (!model.has_block_tokens() && fixed_blocks) model.set_block_tokens(static_cast<int32_t>(profile.block_tokens));
  if (!model.has_max_batched_tokens()) model.set_max_batched_tokens(step.max_batched_tokens);
  if (!model.has_max_sequences()) model.set_max_sequences(step.max_sequences);
  if (!model.has_overhead_ratio() && !model.has_overhead_bytes() && profile.overheads.empty()) {
    model.set_overhead_ratio(kOverheadRatio);
  }
  if (model.activation() == v1::Model::ACTIVATION_UNSPECIFIED) {
    model.set_activation(profile.engine == "generic" ? v1::Model::RESIDENT : v1::Model::BATCHED);
  }
  if (model.assurance() == v1::Model::STATISTICAL && !model.has_risk()) model.set_risk(kDefaultRisk);
  const bool counts_steps = model.assurance() == v1::Model::LOCKSTEP || model.assurance() == v1::Model::STATISTICAL;
  if (counts_steps && !model.steps().has_prompt_tokens()) {
    const int64_t beside_decodes = model.max_batched_tokens() - model.max_sequences();
    model.mutable_steps()->set_prompt_tokens(std::max<int64_t>(1, beside_decodes));
  }
}

}  // namespace vramgate
