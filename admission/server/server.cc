#include "admission/server/server.h"

#include <algorithm>
#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "admission/server/address.h"
#include "admission/server/admission_service.h"
#include "admission/server/durations.h"
#include "admission/server/engines.h"
#include "admission/server/ext_proc_service.h"
#include "admission/server/grpc_door.h"
#include "admission/server/metrics.h"
#include "admission/server/operator_service.h"
#include "admission/units.h"
#include "grpcpp/ext/proto_server_reflection_plugin.h"
#include "grpcpp/health_check_service_interface.h"

namespace vramgate {
namespace {

constexpr absl::Duration kCloseStreamsWithin = absl::Seconds(1);
// Of the plugin socket; no honest message comes near.
constexpr int64_t kMostFrameBytes = int64_t{64} << 20;

constexpr int kAnyLocalUser = 0660;
constexpr int kOwnerOnly = 0600;

DecisionLog::Options LogOptions(const v1::Log& config) {
  DecisionLog::Options options;
  options.level = static_cast<LogLevel>(config.level() - v1::Log::DEBUG);  // the same order
  options.grants = config.grants() == v1::Log::ALL    ? DecisionLog::Grants::kAll
                   : config.grants() == v1::Log::NONE ? DecisionLog::Grants::kNone
                                                      : DecisionLog::Grants::kSampled;
  return options;
}

bool TrustsCost(const v1::Config& config, const std::string& address) {
  return std::find(config.trusted_cost().begin(), config.trusted_cost().end(), address) != config.trusted_cost().end();
}

bool TrustsHeaders(const v1::Listener& listener) {
  if (listener.has_trust_headers()) return listener.trust_headers();
  const absl::StatusOr<Address> address = ParseAddress(listener.address());
  return address.ok() && address->is_unix();
}

}  // namespace

struct Server::Door {
  std::unique_ptr<AdmissionServiceImpl> admission;
  std::unique_ptr<ExtProcServiceImpl> ext_proc;
  std::unique_ptr<OperatorServiceImpl> operations;
  std::unique_ptr<GrpcDoor> grpc;  // goes first
};

Server::Server(const LoadedConfig& loaded) : loaded_(loaded) {}

absl::StatusOr<std::unique_ptr<Server>> Server::Start(const LoadedConfig& loaded, const ServerOptions& options) {
  std::unique_ptr<Server> server(new Server(loaded));
  if (absl::Status status = server->Init(options); !status.ok()) return status;
  return server;
}

absl::Status Server::Init(const ServerOptions& options) {
  const v1::Config& config = loaded_.config;
  absl::StatusOr<ModelTable> models = ModelTable::Load(loaded_);
  if (!models.ok()) return models.status();
  models_ = std::make_unique<ModelTable>(*std::move(models));
  absl::StatusOr<std::unique_ptr<Devices>> devices = Devices::Open(loaded_);
  if (!devices.ok()) return devices.status();
  devices_ = *std::move(devices);
  if (absl::Status status = CheckFits(loaded_, *models_, devices_->budgets()); !status.ok()) return status;
  if (!options.ledger_path.empty()) {
    absl::StatusOr<std::unique_ptr<Ledger>> ledger = Ledger::Open(options.ledger_path);
    if (!ledger.ok()) return ledger.status();
    ledger_ = *std::move(ledger);
  }
  GateConfig gate = MakeGateConfig(config, *models_, devices_->budgets());
  gate.ledger = ledger_ != nullptr;
  log_ = std::make_unique<DecisionLog>(gate, clock_, LogOptions(config.log()));
  recorder_ = std::make_unique<ServerRecorder>(ledger_.get(), log_.get());
  controller_ = std::make_unique<Controller>(gate, clock_, recorder_.get());
  converter_ = std::make_unique<Converter>(*models_, *controller_, config);
  streams_ = std::make_unique<StreamLimit>(config.limits().streams());
  for (size_t d = 0; d < devices_->size(); ++d) log_->Say(LogLevel::kInfo, devices_->Describe(d));
  const auto say = [this](bool warning, std::string_view line) {
    log_->Say(warning ? LogLevel::kWarning : LogLevel::kInfo, line);
  };
  background_ = std::make_unique<Background>(*controller_, *devices_, say);
  engines_ = std::make_unique<EngineWatch>(*controller_, EnginesToWatch(loaded_, *models_, controller_->fleet()), say);
  grpc::EnableDefaultHealthCheckService(true);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  if (absl::Status status = OpenCallerDoors(options); !status.ok()) return status;
  if (absl::Status status = OpenOperatorDoor(options); !status.ok()) return status;
  if (absl::Status status = OpenPluginDoor(); !status.ok()) return status;
  if (absl::Status status = OpenHttpDoors(); !status.ok()) return status;
  return OpenAdmin(options);
}

// An error with the place in the config that it is about.
absl::Status Server::At(std::string_view field, const absl::Status& status) const {
  return absl::Status(status.code(), absl::StrCat(loaded_.Where(field), ": ", status.message()));
}

absl::Status Server::OpenCallerDoors(const ServerOptions& options) {
  const v1::Config& config = loaded_.config;
  for (int i = 0; i < config.listeners().grpc_size(); ++i) {
    const v1::Listener& listener = config.listeners().grpc(i);
    const std::string field = absl::StrCat("listeners.grpc[", i, "]");
    absl::StatusOr<std::unique_ptr<GrpcDoor>> grpc = GrpcDoor::Open(listener.address(), kAnyLocalUser);
    if (!grpc.ok()) return At(field, grpc.status());
    auto door = std::make_unique<Door>();
    door->grpc = *std::move(grpc);
    const Caller caller{.id = static_cast<uint32_t>(i + 1),
                        .trusted_cost = TrustsCost(config, listener.address()),
                        .trusted_headers = TrustsHeaders(listener)};
    door->admission = std::make_unique<AdmissionServiceImpl>(*controller_, *converter_, *streams_, caller);
    door->ext_proc = std::make_unique<ExtProcServiceImpl>(*controller_, *converter_, *streams_, caller, config,
                                                          ext_proc_ends_, door->grpc->entrance());
    gateways_.push_back(door->ext_proc->counters());
    std::vector<grpc::Service*> services = {door->admission.get(), door->ext_proc.get()};
    services.insert(services.end(), options.extra_services.begin(), options.extra_services.end());
    if (absl::Status status = door->grpc->Serve(services, config.limits()); !status.ok()) return At(field, status);
    door->grpc->SetHealthy({"", "vramgate.v1.AdmissionService", ExtProcServiceImpl::kHealthName});
    grpc_addresses_.push_back(door->grpc->bound());
    doors_.push_back(std::move(door));
  }
  return absl::OkStatus();
}

absl::Status Server::OpenOperatorDoor(const ServerOptions& options) {
  constexpr std::string_view kField = "listeners.operator";
  absl::StatusOr<std::unique_ptr<GrpcDoor>> grpc = GrpcDoor::Open(loaded_.config.listeners().operator_(), kOwnerOnly);
  if (!grpc.ok()) return At(kField, grpc.status());
  auto door = std::make_unique<Door>();
  door->grpc = *std::move(grpc);
  door->operations = std::make_unique<OperatorServiceImpl>(*controller_, *converter_, options.version);
  if (absl::Status status = door->grpc->Serve({door->operations.get()}, loaded_.config.limits()); !status.ok()) {
    return At(kField, status);
  }
  operator_address_ = door->grpc->bound();
  doors_.push_back(std::move(door));
  return absl::OkStatus();
}

absl::Status Server::OpenPluginDoor() {
  const v1::Config& config = loaded_.config;
  if (!config.listeners().has_plugin()) return absl::OkStatus();
  // The listener that comes after those of gRPC.
  const Caller caller{.id = static_cast<uint32_t>(config.listeners().grpc_size() + 1), .trusted_cost = true};
  absl::StatusOr<std::unique_ptr<PluginListener>> plugins = PluginListener::Start(
      config.listeners().plugin(),
      {.controller = *controller_,
       .converter = *converter_,
       .streams = *streams_,
       .caller = caller,
       .most_frame_bytes = static_cast<size_t>(std::min(config.limits().message_bytes().value(), kMostFrameBytes)),
       .say = [this](bool warning, std::string_view line) {
         log_->Say(warning ? LogLevel::kWarning : LogLevel::kInfo, line);
       }});
  if (!plugins.ok()) return At("listeners.plugin", plugins.status());
  plugins_ = *std::move(plugins);
  return absl::OkStatus();
}

absl::Status Server::OpenHttpDoors() {
  const v1::Config& config = loaded_.config;
  for (int i = 0; i < config.listeners().http_size(); ++i) {
    const std::string& address = config.listeners().http(i).address();
    // The listeners that come after those of gRPC and the plugin socket.
    const Caller caller{.id = static_cast<uint32_t>(config.listeners().grpc_size() + 2 + i),
                        .trusted_cost = TrustsCost(config, address)};
    absl::StatusOr<std::unique_ptr<HttpDoor>> door = HttpDoor::Start(
        address, {.controller = *controller_, .converter = *converter_, .caller = caller, .config = config});
    if (!door.ok()) return At(absl::StrCat("listeners.http[", i, "]"), door.status());
    http_doors_.push_back(*std::move(door));
  }
  return absl::OkStatus();
}

absl::Status Server::OpenAdmin(const ServerOptions& options) {
  const absl::StatusOr<Address> address = ParseAddress(loaded_.config.listeners().admin());
  if (!address.ok()) return address.status();
  metrics_ = std::make_unique<Metrics>(
      *controller_, Metrics::Options{.build = {{"version", options.version}},
                                     .log_dropped = [this] { return log_->dropped(); },
                                     .drifts = [this] { return Drifts(*engines_); },
                                     .prompts = [this](ModelId model) { return converter_->PromptRatios(model); },
                                     .gateways = [this] { return gateways_; },
                                     .plugins = [this] { return plugins_ == nullptr ? 0 : plugins_->connections(); },
                                     .ext_proc = &ext_proc_ends_});
  AdminPages pages(*controller_, {.metrics = [this] { return MetricsText(*metrics_); },
                                  .not_ready = [this] { return NotReady(); },
                                  .config_yaml = [this] { return ConfigToYaml(loaded_.config); },
                                  .config_json = [this] { return ConfigToJson(loaded_.config); }});
  absl::StatusOr<std::unique_ptr<AdminHttp>> admin =
      AdminHttp::Start({.host = address->host, .port = address->port}, std::move(pages));
  if (!admin.ok()) return At("listeners.admin", admin.status());
  admin_ = *std::move(admin);
  return absl::OkStatus();
}

// Why callers should be sent elsewhere; "" while they should not.
std::string Server::NotReady() const {
  const Snapshot snapshot = controller_->GetSnapshot();
  if (snapshot.draining) return "draining";
  for (const Snapshot::AccountView& view : snapshot.accounts) {
    if (view.account.stale) return absl::StrCat(view.account.name, ": no fresh reading");
  }
  if (ledger_ != nullptr && !ledger_->status().ok()) return std::string(ledger_->status().message());
  return "";
}

std::string Server::ReadyLine() const {
  const std::string plugin = plugins_ == nullptr ? "" : absl::StrCat(" plugin=", plugins_->address());
  return absl::StrCat("ready grpc=", absl::StrJoin(grpc_addresses_, ","), " operator=", operator_address_,
                      " admin=", admin_->address(), plugin,
                      http_doors_.empty() ? "" : " http=", absl::StrJoin(http_addresses(), ","));
}

std::vector<std::string> Server::http_addresses() const {
  std::vector<std::string> addresses;
  for (const auto& door : http_doors_) addresses.push_back(door->address());
  return addresses;
}

absl::Status Server::Shutdown(absl::Duration grace) {
  if (std::exchange(is_shut_down_, true)) return shut_down_;
  for (const auto& door : doors_) door->grpc->SetUnhealthy();
  controller_->Drain();
  if (!controller_->WaitUntilIdle(grace)) {
    log_->Say(LogLevel::kWarning,
              absl::StrCat("drain.grace is over: ", controller_->GetSnapshot().held, " holders are cut off"));
    for (const auto& door : doors_) {
      if (door->ext_proc != nullptr) door->ext_proc->LetGo();
    }
  }
  const auto deadline = std::chrono::system_clock::now() + absl::ToChronoMilliseconds(kCloseStreamsWithin);
  for (const auto& door : doors_) door->grpc->StopAccepting();
  for (const auto& door : doors_) door->grpc->Shutdown(deadline);
  doors_.clear();
  if (plugins_ != nullptr) plugins_->Stop();
  for (const auto& door : http_doors_) door->Stop();
  admin_.reset();
  engines_->Stop();
  background_->Stop();
  controller_->Stop();
  if (ledger_ != nullptr) shut_down_ = ledger_->Close();
  log_->Close();
  return shut_down_;
}

Server::~Server() {
  if (controller_ == nullptr) return;
  // A start that failed half-way has nothing to drain.
  if (admin_ == nullptr) {
    doors_.clear();
    plugins_.reset();
    http_doors_.clear();
    if (engines_ != nullptr) engines_->Stop();
    if (background_ != nullptr) background_->Stop();
    controller_->Stop();
    if (ledger_ != nullptr) (void)ledger_->Close();
    return;
  }
  (void)Shutdown(absl::ZeroDuration());
}

}  // namespace vramgate
