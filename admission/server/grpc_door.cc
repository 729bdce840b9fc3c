#include "admission/server/grpc_door.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "grpcpp/health_check_service_interface.h"
#include "grpcpp/server_builder.h"

namespace vramgate {
namespace {

// A peer that says nothing is asked after 5 s and given up 5 s later: a dead one's streams end within 15 s.
constexpr int kKeepaliveMs = 5000;

void SetLimits(const v1::Limits& limits, grpc::ServerBuilder& builder) {
  builder.SetMaxReceiveMessageSize(static_cast<int>(limits.message_bytes().value()));
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, limits.streams());
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  // Gateways ping as often as they like: Envoy every 10 s by the shipped config.
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 1000);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PING_STRIKES, 0);
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);  // a port in use is an error, not a share
}

}  // namespace

absl::StatusOr<std::unique_ptr<GrpcDoor>> GrpcDoor::Open(const std::string& text, int mode) {
  const absl::StatusOr<Address> address = ParseAddress(text);
  if (!address.ok()) return address.status();
  std::unique_ptr<GrpcDoor> door(new GrpcDoor(text));
  if (!address->is_unix()) return door;
  absl::StatusOr<std::unique_ptr<UnixDoor>> entrance = UnixDoor::Listen(address->unix_path, mode);
  if (!entrance.ok()) return entrance.status();
  door->entrance_ = *std::move(entrance);
  return door;
}

GrpcDoor::~GrpcDoor() {
  StopAccepting();
  Shutdown(std::chrono::system_clock::now());
}

absl::Status GrpcDoor::Serve(const std::vector<grpc::Service*>& services, const v1::Limits& limits) {
  grpc::ServerBuilder builder;
  SetLimits(limits, builder);
  int port = 0;
  if (entrance_ == nullptr) builder.AddListeningPort(bound_, grpc::InsecureServerCredentials(), &port);
  for (grpc::Service* service : services) builder.RegisterService(service);
  server_ = builder.BuildAndStart();
  if (server_ == nullptr || (entrance_ == nullptr && port == 0)) {
    return absl::UnavailableError(
        absl::StrCat(bound_, ": cannot listen there: is the address in use, or not this machine's?"));
  }
  if (entrance_ != nullptr) {
    entrance_->Serve(*server_);
  } else {
    bound_ = bound_.substr(0, bound_.rfind(':') + 1) + absl::StrCat(port);
  }
  return absl::OkStatus();
}

void GrpcDoor::StopAccepting() {
  if (entrance_ != nullptr) entrance_->Stop();
}

void GrpcDoor::Shutdown(std::chrono::system_clock::time_point deadline) {
  if (server_ == nullptr) return;
  server_->Shutdown(deadline);
  server_.reset();
}

void GrpcDoor::SetHealthy(const std::vector<std::string>& names) {
  for (const std::string& name : names) server_->GetHealthCheckService()->SetServingStatus(name, true);
}

void GrpcDoor::SetUnhealthy() {
  if (server_ != nullptr && server_->GetHealthCheckService() != nullptr) {
    server_->GetHealthCheckService()->SetServingStatus(false);
  }
}

}  // namespace vramgate
