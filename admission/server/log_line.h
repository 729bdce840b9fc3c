// A line of the log as it is written: one JSON object, UTF-8 whatever came in, ending in a newline.
//
//   LogLines lines(gate_config);
//   lines.OfDecision(wall_time, decision, sampled)
//     {"time":"2024-05-01T12:00:00.000Z","level":"info","event":"granted","lease":"leases/...","request_id":"r-1",
//      "tenant":"team-a","model":"llama","instance":"a","bytes":1073741824,"waited_ms":12.5,"sampled":100}
//   lines.OfMessage(wall_time, LogLevel::kInfo, "listening on 127.0.0.1:9901")
//     {"time":"2024-05-01T12:00:00.000Z","level":"info","event":"message","message":"listening on 127.0.0.1:9901"}
//
// Used by the DecisionLog. Thread rule: immutable, any thread. Lifetime rule: none, the names are copied.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/time/time.h"
#include "admission/decision.h"
#include "admission/gate/gate_config.h"
#include "admission/types.h"

namespace vramgate {

enum class LogLevel : uint8_t { kDebug, kInfo, kWarning, kError };
std::string_view LogLevelName(LogLevel level);

// Rejects, expiries, revokes and aborts are warnings, the rest is information.
LogLevel LevelOf(const Decision& decision);

class LogLines {
 public:
  explicit LogLines(const GateConfig& config);

  // `sampled` n > 0: the line stands for n like it. `bytes` is the total over the instance's devices; "" and 0 are left
  // out.
  std::string OfDecision(absl::Time time, const Decision& decision, int sampled) const;
  static std::string OfMessage(absl::Time time, LogLevel level, std::string_view message);
  // Says that `lines` before it are missing.
  static std::string OfDropped(absl::Time time, int64_t lines);

 private:
  struct Instance {
    std::string name;
    int64_t devices = 0;
  };
  std::vector<std::string> models_;  // by ModelId
  std::vector<Instance> instances_;  // by InstanceId
};

}  // namespace vramgate
