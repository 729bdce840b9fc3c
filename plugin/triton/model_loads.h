// ModelLoads: the models of this process whose fixed bytes the gate has admitted, so that each is given back once, when
// the last copy has gone.
//
// Used by repo_agent.cc, as the state that Triton keeps for the agent.
//
//   LoadTarget target;
//   if (Error error = ReadLoadTarget(parameters, &target)) return error;
//   if (Error error = loads.Load(target, &copy)) return error;   Triton must not load it
//   ... loads.Complete(copy); ... loads.Unload(copy);            it is loaded; it failed to load, or is unloaded
//
// Thread rule: from any thread; calls wait for the gate, those for one model one after the other. Lifetime rule: ends
// its clients.
#pragma once

#include <map>
#include <mutex>
#include <string>

#include "plugin/triton/gate_clients.h"

namespace vramgate {

// What `model_repository_agents { agents { name: "vramgate" parameters ... } }` says of one model. docs/triton.md lists
// the keys.
struct LoadTarget {
  GateAddress gate{.target = "unix:/run/vramgate/plugin.sock"};
  std::string name;      // Triton's
  std::string model;     // as the gate's config names it
  std::string instance;  // "": its only one
  int64_t timeout_ns = 0;
  bool reload = false;  // a second copy may be loaded beside the first, though its bytes are counted once
};

// `name` is Triton's, the default of MODEL. INVALID_ARG names the key.
[[nodiscard]] Error ReadLoadTarget(const std::map<std::string, std::string>& parameters, const std::string& name,
                                   LoadTarget* target);

class ModelLoads {
 public:
  explicit ModelLoads(const vg_api* api) : clients_(api) {}

  // One that Triton loads, or has loaded; 0: none.
  using Copy = uint64_t;

  // Null: admitted, `copy` says as which. UNAVAILABLE: its fixed bytes do not fit now, or a copy is loaded that a
  // reload would double. Triton loads a model once at a time, so an earlier copy of the same name that never was
  // completed has failed, whether Triton said so (2.41 does not) or not: its bytes are this one's.
  [[nodiscard]] Error Load(const LoadTarget& target, Copy* copy);
  void Complete(Copy copy);
  // Nothing happens where its bytes are another's by now.
  void Unload(Copy copy);

 private:
  struct Loaded {
    LoadTarget target;
    bool complete = false;
  };

  // REQUIRES: mutex_ is held.
  Error AskLocked(const LoadTarget& target);

  GateClients clients_;
  std::mutex mutex_;               // held while the gate is asked, so that a load and an unload do not cross
  std::map<Copy, Loaded> copies_;  // guarded by mutex_: of this process
  Copy last_ = 0;                  // guarded by mutex_
};

}  // namespace vramgate
