// A gate model's config.pbtxt need not repeat what its target's says: inputs, outputs, batching and whether it is
// decoupled are taken over where Triton lets a backend complete a config.
//
// Used by backend.cc while Triton loads a model. At the server's start Triton does not say what other models look like;
// there the config has to be whole, and plugin/triton/make_config.py writes it.
//
//   nlohmann::json config;
//   if (Error error = TakeJson(message, &config)) return error;
//   if (NeedsCompletion(config)) config = Complete(config, targets);
//
// Thread rule and lifetime rule: pure functions of values.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "plugin/triton/error.h"

namespace vramgate {

// Takes the message. INTERNAL: it is no JSON object.
[[nodiscard]] Error TakeJson(TRITONSERVER_Message* owned, nlohmann::json* out);
// The message of a config; null, and `error` set, where Triton does not take it.
[[nodiscard]] Error MakeMessage(const nlohmann::json& config, TRITONSERVER_Message** out);

// Whether it says nothing of its inputs or outputs.
bool NeedsCompletion(const nlohmann::json& config);
// `config` with what it lacks taken from `target`.
nlohmann::json Complete(nlohmann::json config, const nlohmann::json& target);

}  // namespace vramgate
