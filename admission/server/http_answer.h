// What a refusal looks like to an HTTP client behind a gateway: status, retry headers and an OpenAI-shaped JSON error,
// as an ext_proc ImmediateResponse.
//
//   answers.Write(refusal, {.grpc = false}, response.mutable_immediate_response());
//
// 429 and 503 say when to come back (retry-after, retry-after-ms, x-should-retry: true); what no retry can cure says
// x-should-retry: false. x-vramgate-reason names the reason, and so does the response code detail in the gateway's
// access log.
//
// Used by the ext_proc service. Immutable: any thread. The Converter outlives it.
#pragma once

#include <array>
#include <optional>
#include <string_view>

#include "admission/decision.h"
#include "admission/server/convert.h"
#include "admission/server/refusal.h"
#include "envoy/service/ext_proc/v3/external_processor.pb.h"
#include "vramgate/v1/config.pb.h"

namespace vramgate {

class HttpAnswers {
 public:
  HttpAnswers(const Converter& converter, const v1::Config& config);

  // `grpc`: the client speaks gRPC and reads a grpc-status.
  void Write(const Refusal& refusal, bool grpc, envoy::service::ext_proc::v3::ImmediateResponse* out) const;
  void Write(const Decision& decision, bool grpc, envoy::service::ext_proc::v3::ImmediateResponse* out) const;

 private:
  struct Answer {
    Outcome outcome;
    std::string_view message;
    std::optional<absl::Duration> retry_after;  // of the gate, where it knows
    bool grpc;
  };
  void Write(const Answer& answer, envoy::service::ext_proc::v3::ImmediateResponse* out) const;

  const Converter& converter_;
  std::array<int32_t, kOutcomes> status_;
};

}  // namespace vramgate
