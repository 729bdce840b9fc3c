// The sidecar, whole: config in, sockets out. It puts the parts together and takes them apart again in the right order.
//
//   absl::StatusOr<std::unique_ptr<Server>> server = Server::Start(loaded, {.ledger_path = "ledger.csv"});
//   std::cout << (*server)->ReadyLine();          // ready grpc=ADDR operator=ADDR admin=ADDR
//   ...
//   (*server)->Shutdown();                        // SIGTERM: waiters are refused, holders finish within drain.grace
//
// Used by `vramgate serve` and the end-to-end tests. Thread rule: one thread starts and shuts down.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "admission/gate/controller.h"
#include "admission/server/admin_http.h"
#include "admission/server/background.h"
#include "admission/server/config.h"
#include "admission/server/convert.h"
#include "admission/server/decision_log.h"
#include "admission/server/devices.h"
#include "admission/server/engine_watch.h"
#include "admission/server/ext_proc_ends.h"
#include "admission/server/http_door.h"
#include "admission/server/ledger.h"
#include "admission/server/metrics.h"
#include "admission/server/model_table.h"
#include "admission/server/plugin_listener.h"
#include "admission/server/recorder.h"
#include "admission/server/stream_limit.h"
#include "grpcpp/impl/codegen/service_type.h"

namespace vramgate {

struct ServerOptions {
  std::string ledger_path;  // "": no ledger
  std::string version = "unknown";
  std::vector<grpc::Service*> extra_services;  // on every caller listener: a benchmark's own; outlive the server
};

class Server {
 public:
  // Every error says what to do. Nothing is left behind where it fails.
  static absl::StatusOr<std::unique_ptr<Server>> Start(const LoadedConfig& loaded, const ServerOptions& options);
  ~Server();

  // "ready grpc=unix:/run/gate.sock,127.0.0.1:9443 operator=unix:... admin=127.0.0.1:9901", bound ports filled in; and
  // " plugin=unix:..." and " http=ADDR" where there are any.
  std::string ReadyLine() const;
  const std::vector<std::string>& grpc_addresses() const { return grpc_addresses_; }
  const std::string& operator_address() const { return operator_address_; }
  std::vector<std::string> http_addresses() const;
  const PluginListener* plugins() const { return plugins_.get(); }  // null: none is configured

  // Waiters get UNAVAILABLE at once; holders may finish for `grace`; then the streams are closed, the ledger too.
  // Idempotent. Not OK: the ledger is not complete.
  absl::Status Shutdown(absl::Duration grace);

  Controller& controller() { return *controller_; }

 private:
  struct Door;  // one listener: its services and its gRPC server

  explicit Server(const LoadedConfig& loaded);
  absl::Status Init(const ServerOptions& options);
  absl::Status OpenCallerDoors(const ServerOptions& options);
  absl::Status OpenOperatorDoor(const ServerOptions& options);
  absl::Status OpenPluginDoor();
  absl::Status OpenHttpDoors();
  absl::Status OpenAdmin(const ServerOptions& options);
  absl::Status At(std::string_view field, const absl::Status& status) const;
  std::string NotReady() const;

  // In the order they are made; taken apart in reverse.
  const LoadedConfig loaded_;
  BootClock clock_;
  std::unique_ptr<Devices> devices_;
  std::unique_ptr<ModelTable> models_;
  std::unique_ptr<DecisionLog> log_;
  std::unique_ptr<Ledger> ledger_;
  std::unique_ptr<ServerRecorder> recorder_;
  std::unique_ptr<Controller> controller_;
  std::unique_ptr<Converter> converter_;
  std::unique_ptr<StreamLimit> streams_;
  ExtProcEnds ext_proc_ends_;
  std::vector<std::shared_ptr<const GatewayCounters>>
      gateways_;  // of callers' listeners; no change once admin_ is open
  std::unique_ptr<Background> background_;
  std::unique_ptr<EngineWatch> engines_;
  std::unique_ptr<Metrics> metrics_;
  std::unique_ptr<AdminHttp> admin_;
  std::vector<std::unique_ptr<Door>> doors_;
  std::unique_ptr<PluginListener> plugins_;
  std::vector<std::unique_ptr<HttpDoor>> http_doors_;
  std::vector<std::string> grpc_addresses_;
  std::string operator_address_;
  absl::Status shut_down_;
  bool is_shut_down_ = false;
};

}  // namespace vramgate
