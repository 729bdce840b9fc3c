// The sidecar in this process, with sockets of its own, and callers that speak to it over real gRPC.
//
// Two devices of room for 1000 MiB each; model `m` has the instances `a` on device 0 and `b` on device 1, model `t` one
// over both. A request of N tokens takes N MiB of the pool of each device it is on.
#pragma once

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "admission/server/server.h"
#include "tests/support/status_details.h"
#include "tests/support/temporary_directory.h"
#include "vramgate/v1/admission.grpc.pb.h"
#include "vramgate/v1/operator.grpc.pb.h"

namespace vramgate {

inline constexpr absl::Duration kPatience = absl::Seconds(60);

// Asks again and again, at most kPatience.
bool Eventually(const std::function<bool()>& holds, absl::Duration within = kPatience);

// The config of a sidecar whose sockets are in `directory`; `more` are further lines, the first of
// which may be further models.
std::string SidecarYaml(const std::filesystem::path& directory, std::string_view more = "");

v1::AdmitRequest Ask(int64_t tokens, std::string_view request_id = "", std::string_view instance = "a");

// One Session as a caller has it. Every call ends after kPatience.
class SessionClient {
 public:
  explicit SessionClient(v1::AdmissionService::Stub& stub);
  SessionClient(v1::AdmissionService::Stub& stub, const v1::AdmitRequest& admit) : SessionClient(stub) { Send(admit); }
  // Gives back what it holds.
  ~SessionClient();
  void Send(const v1::AdmitRequest& admit);
  bool Send(const v1::SessionRequest& message) { return stream_->Write(message); }
  // The next message; an empty one at the end.
  v1::SessionResponse Read();
  // Reads up to the grant. False: the stream ended without.
  bool AwaitGrant();
  bool AwaitQueued() { return Read().has_queued(); }
  void HalfClose() { stream_->WritesDone(); }
  void Cancel() { context_.TryCancel(); }
  // Reads to the end.
  grpc::Status Finish();
  // HalfClose and Finish.
  grpc::Status Release() { return HalfClose(), Finish(); }

  v1::Lease lease;      // of AwaitGrant
  v1::Queued position;  // the last one read

 private:
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::SessionRequest, v1::SessionResponse>> stream_;
  std::optional<grpc::Status> status_;
};

class Sidecar {
 public:
  explicit Sidecar(std::string_view more_yaml = "");
  // Everything must be over: no byte is reserved, nobody waits, and the auditor finds the ledger clean.
  ~Sidecar();

  v1::AdmissionService::Stub& admission() { return *admission_; }  // by the Unix socket
  v1::AdmissionService::Stub& tcp() { return *tcp_; }              // another listener: another caller
  v1::OperatorService::Stub& operations() { return *operations_; }
  std::string unix_address() const { return server_->grpc_addresses()[0]; }
  std::string tcp_address() const { return server_->grpc_addresses()[1]; }
  std::string http_address() const { return server_->http_addresses()[0]; }  // of the HTTP door; by TCP
  std::string operator_address() const { return server_->operator_address(); }
  std::filesystem::path directory() const { return directory_.path(); }
  Server& server() { return *server_; }

  v1::GetStatusResponse Status();
  v1::AccountStatus Account(std::string_view name);
  // Waits until so many hold, wait and linger.
  bool Settles(int held, int waiting, int lingering);
  grpc::Status Admit(const v1::AdmitRequest& request, v1::AdmitResponse* response, absl::Duration deadline = kPatience);
  v1::ReleaseLeaseResponse Release(const std::string& lease, v1::EndReport::Reason reason = v1::EndReport::COMPLETED);

 private:
  TemporaryDirectory directory_;
  std::string ledger_;
  std::unique_ptr<Server> server_;
  std::unique_ptr<v1::AdmissionService::Stub> admission_;
  std::unique_ptr<v1::AdmissionService::Stub> tcp_;
  std::unique_ptr<v1::OperatorService::Stub> operations_;
};

}  // namespace vramgate
