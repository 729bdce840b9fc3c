// GateClients: the connections of a whole process to its gates, one for each address and policy, made when first asked
// for and ended with the plugin.
//
// Used by the backend (TRITONBACKEND_Initialize to Finalize) and by the repository agent, as the state that Triton
// keeps for them.
//
//   vg_client* client = nullptr;
//   if (Error error = clients.Get({.target = "unix:/run/vramgate/plugin.sock"}, &client)) return error;
//
// Thread rule: from any thread; ended from none of the clients' callbacks. Lifetime rule: clients live as long as this
// does; all callbacks that they owe are made before the destructor returns.
#pragma once

#include <map>
#include <mutex>
#include <string>
#include <tuple>

#include "plugin/c/vramgate_plugin.h"
#include "plugin/triton/error.h"

namespace vramgate {

struct GateAddress {
  std::string target;
  int32_t when_away = VG_FAIL_CLOSED;
  int64_t local_share_bytes = 0;

  friend auto operator<=>(const GateAddress&, const GateAddress&) = default;
};

class GateClients {
 public:
  explicit GateClients(const vg_api* api) : api_(api) {}
  ~GateClients();
  GateClients(const GateClients&) = delete;
  GateClients& operator=(const GateClients&) = delete;

  // INVALID_ARG: the address is none. An absent sidecar is no error.
  [[nodiscard]] Error Get(const GateAddress& address, vg_client** client);
  const vg_api& api() const { return *api_; }

 private:
  const vg_api* api_;
  std::mutex mutex_;
  std::map<GateAddress, vg_client*> clients_;  // guarded by mutex_
};

// The table of the library that is linked in; UNSUPPORTED where it is older than this plugin, which a build of one tree
// cannot be.
[[nodiscard]] Error FindGateApi(const vg_api** api);

}  // namespace vramgate
