// What the config says of gateways (docs/gateways.md), worked out once: how long a request may be held so that its
// answer comes before the gateway gives up, which phases are asked for, and what the end of a stream means.
//
//   const ExtProcOptions options = ExtProcOptionsOf(config);
//   request.max_wait = std::min(request.max_wait, options.longest_wait);
//
// Used by the ext_proc service. Plain value: any thread.
#pragma once

#include <optional>

#include "absl/time/time.h"
#include "vramgate/v1/config.pb.h"

namespace vramgate {

struct ExtProcOptions {
  // An end after the response headers frees at once; else it lingers.
  bool finished_frees = true;
  bool low_latency = false;     // no response headers are asked for
  bool response_usage = false;  // response bodies are

  // A waiter has its answer by then: a margin before the gateway's timeout, which is what both clocks, a busy machine
  // and the way back may take.
  absl::Duration longest_wait = absl::InfiniteDuration();
  // The longer timeout that a gateway is asked for once, when a request is queued. nullopt: it grants none.
  std::optional<absl::Duration> hold_timeout;
};

ExtProcOptions ExtProcOptionsOf(const v1::Config& config);

}  // namespace vramgate
