// What a gateway sends on of an HTTP request, read: which endpoint it is for, who asks and how urgently, and what it
// will need. One reader a listener, since the listener says whose headers are to be believed.
//
//   GatewayRequest asked;
//   if (auto refusal = reader.ReadHeaders(headers, now, &asked)) return Refuse(*refusal);
//   if (!asked.gated()) return PassOn();
//   Request request;
//   if (auto refusal = reader.ReadBody(body, &asked, &request)) return Refuse(*refusal);
//   session->Admit(request);                       // its views are of `asked`
//   ...
//   reader.Learn(asked, usage_reader.usage());     // once the response has said what the prompt was
//
// Headers, by the config's `gateways`: tenant and priority count where the listener trusts them, prompt tokens where it
// is in trusted_cost; a timeout counts always, since it can only shorten the caller's own wait. What does not count is
// counted. An x-request-id is a name for the log, never a key: anybody can write one.
//
// Used by the ext_proc service. Thread rule: any thread; a GatewayRequest is one call's. Lifetime rule: the Converter
// outlives it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "admission/clock.h"
#include "admission/server/convert.h"
#include "admission/server/endpoint.h"
#include "admission/server/gateway_counters.h"
#include "admission/server/refusal.h"
#include "admission/server/usage_reader.h"
#include "envoy/service/ext_proc/v3/external_processor.pb.h"
#include "vramgate/v1/config.pb.h"

namespace vramgate {

// What is known of one request between its headers and its end.
struct GatewayRequest {
  Endpoint endpoint = Endpoint::kNone;
  v1::AdmitRequest admit;  // as its headers, then its body, say
  std::string request_id;  // for the log
  std::string trace;
  Instant deadline = kNever;
  std::optional<int64_t> json_bytes;     // of a KServe body, as a header says
  std::optional<int64_t> prompt_tokens;  // as a header says
  // For Learn: of a request that was read, with one prompt that bytes bound.
  const ServedModel* learns = nullptr;
  TokenRatios::Sample prompt;

  bool gated() const { return endpoint != Endpoint::kNone; }
};

// How the config says that a path is read.
Endpoint EndpointOf(v1::Gateways::Api api);

class GatewayReader {
 public:
  GatewayReader(const Converter& converter, const Caller& caller, const v1::Config& config);

  // nullopt: *out says whether the request is for the gate, and who asks. Else it must not pass.
  std::optional<Refusal> ReadHeaders(const envoy::service::ext_proc::v3::HttpHeaders& headers, Instant now,
                                     GatewayRequest* out) const;
  // nullopt: *request is filled in, but for `stream`. REQUIRES: asked->gated().
  std::optional<Refusal> ReadBody(std::string_view body, GatewayRequest* asked, Request* request) const;
  // What the response has said of the prompt, for the estimates of later ones.
  void Learn(const GatewayRequest& asked, const UsageReader::Usage& usage) const;

  std::shared_ptr<const GatewayCounters> counters() const { return counters_; }

 private:
  using HttpHeaders = envoy::service::ext_proc::v3::HttpHeaders;
  using Header = GatewayCounters::Header;

  std::optional<Refusal> ReadTenant(const HttpHeaders& headers, GatewayRequest* out) const;
  void ReadPriority(const HttpHeaders& headers, GatewayRequest* out) const;
  void ReadTimeout(const HttpHeaders& headers, Instant now, GatewayRequest* out) const;
  std::optional<Refusal> ReadPromptTokens(const HttpHeaders& headers, GatewayRequest* out) const;
  std::optional<Refusal> NameModel(std::string&& named, GatewayRequest* asked) const;

  const Converter& converter_;
  const Caller caller_;
  const v1::Gateways config_;
  const Endpoints endpoints_;
  const std::shared_ptr<GatewayCounters> counters_ = std::make_shared<GatewayCounters>();
};

}  // namespace vramgate
