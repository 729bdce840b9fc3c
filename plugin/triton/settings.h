// GateSettings: what a gate model's config.pbtxt says in `parameters`, checked. docs/triton.md lists the keys.
//
// Used by GateModel, once, when Triton loads the model.
//
//   GateSettings settings;
//   if (Error error = ReadSettings(config, &settings)) return error;     names the key, its value and what it may be
//
// Thread rule and lifetime rule: a value.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "plugin/triton/error.h"

namespace vramgate {

struct GateSettings {
  std::string model;  // the gate model's own name
  std::string target_model;
  int64_t target_version = -1;  // -1: as the target's version policy has it

  // Where the gate is, and what holds while it cannot be reached.
  std::string gate;
  int32_t when_away = VG_FAIL_CLOSED;
  int64_t local_share_bytes = 0;

  // What the gate is told.
  std::string gate_model;  // default: target_model
  std::string gate_instance;
  int64_t max_wait_ns = -1;  // -1: the sidecar's
  bool revocable = false;

  // Names, the first that a request has counts: inputs, or `NAME` and `NAME.KEY` of parameters and inputs
  // (docs/triton.md).
  std::vector<std::string> prompt_tokens;
  std::vector<std::string> prompt_text;
  std::vector<std::string> max_tokens;
  std::vector<std::string> sequences;
  std::vector<std::string> tenant;
  std::vector<std::string> priority;

  int64_t tokens_per_response = 0;  // 0: not known; else how many of the output's tokens a streamed response is

  // Limits of this model.
  int64_t starts_per_second = 0;   // 0: no bound
  int64_t most_held_requests = 0;  // waiting and running
  int64_t most_held_bytes = 0;     // of their copied inputs

  // Of the config itself.
  bool decoupled = false;
  bool batched = false;  // inputs and outputs have a batch dimension first
};

// `config` is a model's configuration as Triton serialises it. INVALID_ARG: the message names the key.
[[nodiscard]] Error ReadSettings(const nlohmann::json& config, GateSettings* settings);

}  // namespace vramgate
