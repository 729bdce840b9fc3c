// HttpDoor: Admit, RenewLeases and ReleaseLease over plain HTTP/1.1, for gateways that speak nothing else. The schema
// is the proto's, as JSON with its own field names; proto/vramgate/v1/openapi.yaml is its description, and served.
//
//   POST   /v1/admit        AdmitRequest -> AdmitResponse once granted, or a refusal; held while it waits
//   PUT    /v1/leases/{id}  Renewal -> RenewLeasesResponse; 404: lost
//   DELETE /v1/leases/{id}  EndReport -> ReleaseLeaseResponse
//   GET    /openapi.yaml
//
//   absl::StatusOr<std::unique_ptr<HttpDoor>> door = HttpDoor::Start("127.0.0.1:0", options);
//
// A client that leaves while its Admit waits takes its waiter with it. One that leaves before its grant is on its way
// has not had it: the lease lingers.
//
// Used by Server. Thread rule: one thread starts and stops; requests are handled on the door's own, which never waits.
// Lifetime rule: what the options refer to outlives it.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "admission/gate/controller.h"
#include "admission/server/convert.h"
#include "admission/server/http_json.h"
#include "admission/server/http_server.h"
#include "vramgate/v1/config.pb.h"

namespace vramgate {

class HttpDoor {
 public:
  // No honest AdmitRequest comes near; limits.message_bytes may set less.
  static constexpr int64_t kMostBodyBytes = int64_t{1} << 20;

  struct Options {
    Controller& controller;
    const Converter& converter;
    Caller caller;
    const v1::Config& config;
  };

  // Errors name the address and the way out.
  static absl::StatusOr<std::unique_ptr<HttpDoor>> Start(std::string_view address, const Options& options);
  HttpDoor(const HttpDoor&) = delete;
  HttpDoor& operator=(const HttpDoor&) = delete;

  // Answers that are on their way go out. Waiters should have been refused before.
  void Stop() { server_->Stop(); }

  const std::string& address() const { return server_->address(); }

 private:
  class AdmitCall;
  using Exchange = std::shared_ptr<HttpExchange>;

  explicit HttpDoor(const Options& options);
  void Handle(const HttpRequest& request, const Exchange& exchange);
  void Admit(const HttpRequest& request, const Exchange& exchange);
  HttpReply Lease(const HttpRequest& request, std::string_view id, std::string_view query);
  HttpReply Renew(const HttpRequest& request, std::string_view name);
  HttpReply Release(const HttpRequest& request, std::string_view name, std::string_view query);

  const Options options_;
  const HttpWords words_;
  std::unique_ptr<HttpServer> server_;
};

}  // namespace vramgate
