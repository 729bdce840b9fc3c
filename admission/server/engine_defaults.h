// What a model's config leaves to its engine: filled in from the engine's profile, so that `check` prints what is used.
//
//   for (v1::Model& model : *loaded.config.mutable_models()) FillEngineDefaults(loaded, model);
//
// Used by the loader of configs. Opens a profile's file where the config names one; no thread rule.
#pragma once

#include <string>

#include "admission/server/config.h"

namespace vramgate {

// Sets block_tokens, activation, max_batched_tokens, max_sequences and, where the profile has not measured it,
// overhead_ratio, unless the file says them. An engine that is not known is left for who needs it: ModelTable refuses
// it.
void FillEngineDefaults(const LoadedConfig& loaded, v1::Model& model);

// The name, or the path of a profile's file from where the config is.
std::string EngineOf(const LoadedConfig& loaded, const v1::Model& model);

}  // namespace vramgate
