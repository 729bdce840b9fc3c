// A GrpcDoor is one address at which the sidecar speaks gRPC: its socket, and the server behind it with its limits.
//
//   absl::StatusOr<std::unique_ptr<GrpcDoor>> door = GrpcDoor::Open("unix:/run/vramgate/gate.sock", 0660);
//   Service service((*door)->entrance());                    // may want to know its callers' connections
//   (*door)->Serve({&service}, limits);                      // ... (*door)->bound(): the port filled in
//   (*door)->StopAccepting();
//   (*door)->Shutdown(deadline);
//
// Used by Server. Thread rule: one thread. Lifetime rule: the services outlive Shutdown.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "admission/server/entrance.h"
#include "grpcpp/server.h"
#include "vramgate/v1/config.pb.h"

namespace vramgate {

class GrpcDoor {
 public:
  // `mode`: of a Unix socket, from its first moment. Errors say what stands in the way.
  static absl::StatusOr<std::unique_ptr<GrpcDoor>> Open(const std::string& address, int mode);
  ~GrpcDoor();
  GrpcDoor(const GrpcDoor&) = delete;
  GrpcDoor& operator=(const GrpcDoor&) = delete;

  absl::Status Serve(const std::vector<grpc::Service*>& services, const v1::Limits& limits);
  void StopAccepting();
  // Streams that are still open at `deadline` are broken. Later calls do nothing.
  void Shutdown(std::chrono::system_clock::time_point deadline);

  // What grpc.health.v1 answers for each of the names. REQUIRES: served.
  void SetHealthy(const std::vector<std::string>& names);
  void SetUnhealthy();

  const std::string& bound() const { return entrance_->address(); }
  const Entrance* entrance() const { return entrance_.get(); }

 private:
  explicit GrpcDoor(std::unique_ptr<Entrance> entrance) : entrance_(std::move(entrance)) {}

  const std::unique_ptr<Entrance> entrance_;
  std::unique_ptr<grpc::Server> server_;  // goes first
};

}  // namespace vramgate
