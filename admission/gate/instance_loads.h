// Which instances are loaded: their fixed bytes are charged, and they take requests. One that is being unloaded takes
// no more, and its fixed bytes stay charged until its last lease has ended.
//
// Used by the Gate, which changes it, and the Dispatch. Thread rule: the Gate's thread.
#pragma once

#include <cstdint>
#include <vector>

#include "admission/gate/gate_config.h"
#include "admission/types.h"

namespace vramgate {

class InstanceLoads {
 public:
  enum class State : uint8_t { kUnloaded, kLoaded, kUnloading };

  explicit InstanceLoads(const GateConfig& config) {
    for (const ModelSpec& model : config.models) {
      for (const InstanceSpec& instance : model.instances)
        loads_.push_back({instance.loaded ? State::kLoaded : State::kUnloaded});
    }
  }

  State state(InstanceId id) const { return loads_[Index(id)].state; }
  bool takes(InstanceId id) const { return state(id) == State::kLoaded; }
  void Set(InstanceId id, State state) { loads_[Index(id)].state = state; }

  void Granted(InstanceId id) { ++loads_[Index(id)].leases; }
  // True: it was the last one of an instance that is being unloaded.
  bool Ended(InstanceId id) { return --loads_[Index(id)].leases == 0 && state(id) == State::kUnloading; }
  int64_t leases(InstanceId id) const { return loads_[Index(id)].leases; }

 private:
  struct Load {
    State state = State::kLoaded;
    int64_t leases = 0;  // held or lingering
  };
  std::vector<Load> loads_;  // by instance
};

}  // namespace vramgate
