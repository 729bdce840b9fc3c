// A gate small enough to follow by hand: device 0 of 10 GiB, model `llama` with the dynamic instance `a`.
#pragma once

#include <string_view>

#include "admission/gate/controller.h"
#include "admission/gate/gate_config.h"
#include "admission/units.h"

namespace vramgate {

inline GateConfig SmallGate() {
  GateConfig config;
  config.devices = {{.id = "0", .capacity_bytes = 10 * kGiB, .ceiling_bytes = 10 * kGiB}};
  config.models = {{.name = "llama", .instances = {{.name = "a", .devices = {0}, .fixed_bytes = kGiB}}}};
  return config;
}

// The views are the caller's.
inline Request Asks(std::string_view request_id, int64_t bytes, std::string_view tenant = "") {
  Request request{.request_id = request_id, .tenant = tenant};
  request.costs[0] = {.kv_bytes = bytes};
  request.tokens = 100;
  request.drain = absl::Seconds(10);
  return request;
}

}  // namespace vramgate
