#include "plugin/triton/gate_clients.h"

namespace vramgate {
namespace {

void LogOfClient(void*, int32_t level, const char* message, size_t size) {
  const TRITONSERVER_LogLevel severity = level <= 0   ? TRITONSERVER_LOG_INFO
                                         : level == 1 ? TRITONSERVER_LOG_WARN
                                                      : TRITONSERVER_LOG_ERROR;
  Error(Guarded("log", [&] {
    Log(severity, "vramgate: " + std::string(message, size));
    return Error();
  }));
}

}  // namespace

GateClients::~GateClients() {
  for (const auto& [address, client] : clients_) {
    if (api_->client_destroy(client) != VG_OK) Log(TRITONSERVER_LOG_ERROR, "vramgate: a client could not be ended");
  }
}

Error GateClients::Get(const GateAddress& address, vg_client** client) {
  const std::lock_guard lock(mutex_);
  const auto [place, is_new] = clients_.try_emplace(address, nullptr);
  if (!is_new) {
    *client = place->second;
    return nullptr;
  }
  vg_client_options options = VG_CLIENT_OPTIONS_INIT;
  options.target = {place->first.target.data(), place->first.target.size()};
  options.when_away = address.when_away;
  options.local_share_bytes = address.local_share_bytes;
  options.log = &LogOfClient;
  vg_client* made = nullptr;
  const vg_code code = api_->client_create(&options, &made);
  if (code != VG_OK) {
    clients_.erase(place);
    return MakeError(TritonCode(code), "vramgate: GATE \"" + address.target + "\": " + api_->code_name(code) +
                                           "; the log says what is wrong with it");
  }
  place->second = made;
  *client = made;
  return nullptr;
}

Error FindGateApi(const vg_api** api) {
  *api = vramgate_get_api(VG_ABI_MAJOR, VG_ABI_MINOR);
  if (*api != nullptr) return nullptr;
  return MakeError(TRITONSERVER_ERROR_UNSUPPORTED, "vramgate: the plugin was linked with an older libvramgate_plugin");
}

}  // namespace vramgate
