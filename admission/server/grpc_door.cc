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
}

}  // namespace

absl::StatusOr<std::unique_ptr<GrpcDoor>> GrpcDoor::Open(const std::string& address, int mode) {
  absl::StatusOr<std::unique_ptr<Entrance>> entrance = Entrance::Listen(address, mode);
  if (!entrance.ok()) return entrance.status();
  return std::unique_ptr<GrpcDoor>(new GrpcDoor(*std::move(entrance)));
}

GrpcDoor::~GrpcDoor() {
  StopAccepting();
  Shutdown(std::chrono::system_clock::now());
}

absl::Status GrpcDoor::Serve(const std::vector<grpc::Service*>& services, const v1::Limits& limits) {
  grpc::ServerBuilder builder;
  SetLimits(limits, builder);
  for (grpc::Service* service : services) builder.RegisterService(service);
  server_ = builder.BuildAndStart();
  if (server_ == nullptr) return absl::InternalError(absl::StrCat(bound(), ": gRPC cannot serve"));
  entrance_->Serve(*server_);
  return absl::OkStatus();
}

void GrpcDoor::StopAccepting() {
  entrance_->Stop();
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
