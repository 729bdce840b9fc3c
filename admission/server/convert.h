// Between the API and the core: every value that a caller sends is validated here, every answer is worded here.
//
//   Request request;
//   std::optional<Refusal> refusal = converter.ToRequest(proto, caller, &request, nullptr);
//   if (refusal) return Finished(context, converter.ToStatus(*refusal));
//
// Used by all services. Thread rule: any thread; immutable, but for what is learned of prompts. Lifetime rule: the
// ModelTable outlives it; a Request's views are of the message.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "admission/clock.h"
#include "admission/decision.h"
#include "admission/gate/controller.h"
#include "admission/gate/snapshot.h"
#include "admission/server/model_table.h"
#include "admission/server/refusal.h"
#include "admission/server/token_ratios.h"
#include "admission/types.h"
#include "google/rpc/status.pb.h"
#include "grpcpp/server_context.h"
#include "grpcpp/support/server_callback.h"
#include "grpcpp/support/status.h"
#include "vramgate/v1/admission.pb.h"

namespace vramgate {

// Who calls, as the listener knows it.
struct Caller {
  uint32_t id = 0;               // part of the idempotency key: the listener
  bool trusted_cost = false;     // its own price may lower the charge
  bool trusted_headers = false;  // a gateway that lets no HTTP client write the headers of tenants and priorities
};

class Converter {
 public:
  Converter(const ModelTable& models, const Controller& controller, const v1::Config& config);

  // What a request was priced from.
  struct Tokens {
    int64_t prompt = 0;
    int64_t output = 0;
    int64_t sequences = 1;
    PromptSource source = PromptSource::kNone;
  };
  // nullopt: *request is filled in, but for `stream` and `deadline`. `tokens` may be null.
  std::optional<Refusal> ToRequest(const v1::AdmitRequest& in, const Caller& caller, Request* request,
                                   Tokens* tokens) const;
  // What an engine, or a caller that knows, has counted a prompt to be: for the estimates of later ones.
  void LearnPrompt(ModelId model, const TokenRatios::Sample& sample) const { ratios_->Learn(model, sample); }
  TokenRatios::View PromptRatios(ModelId model) const { return ratios_->ViewOf(model); }
  // Of each of `sequences`, as `usage` says; -1: it does not, or absurdly. REQUIRES: sequences >= 1.
  static int64_t OutputTokens(const v1::Usage& usage, int32_t sequences);
  // What `usage` of a request of `sequences` costs by now; nullopt: negative or absurd. REQUIRES: sequences >= 1.
  std::optional<Costs> ToCosts(const v1::Usage& usage, const ServedModel& model, int32_t sequences) const;

  grpc::Status ToStatus(const Refusal& refusal) const;
  // Of an answer or end that is no grant. `model` and `tenant` are for the words and details.
  grpc::Status ToStatus(const Decision& decision) const;

  // Of a grant or an extension.
  void ToLease(const Decision& decision, std::string_view tenant, bool stream, v1::Lease* out) const;
  // Of a listed or renewed lease.
  void ToLease(const LeaseView& view, Instant now, v1::Lease* out) const;
  // What `request` would be charged, holding nothing (validate_only).
  void ToPriced(const Request& request, v1::Lease* out) const;
  grpc::Status ToEstimate(const Request& request, const Tokens& tokens, const Gate::WhatIf& what_if,
                          v1::EstimateResponse* out) const;
  static void ToQueued(const QueuePosition& position, v1::Queued* out);

  const ModelTable& models() const { return models_; }
  const Controller& controller() const { return controller_; }

 private:
  std::optional<Refusal> CheckIds(const v1::AdmitRequest& in) const;
  std::optional<Refusal> CountTokens(const v1::Demand& demand, const ServedModel& model, Tokens* tokens) const;
  std::optional<Refusal> Price(const v1::Demand& demand, const ServedModel& model, bool trusted, const Tokens& tokens,
                               Request* request) const;
  static void AddCharges(const ServedModel::Instance& instance, const RankCost& cost, v1::Lease* out);
  const ServedModel::Instance& FirstAlternative(const Request& request) const;

  const ModelTable& models_;
  const Controller& controller_;
  const std::unique_ptr<TokenRatios> ratios_;
  const size_t most_id_bytes_;
  const absl::Duration confirm_within_;
  const absl::Duration ttl_;
};

// Whether a finished call's kind of end frees or lingers (admission.proto, EndReport).
Gate::EndKind ToEndKind(const v1::EndReport& end);

// A gRPC status with google.rpc details in grpc-status-details-bin.
struct ErrorDetails {
  std::string_view reason;
  std::string_view field;                     // BadRequest
  std::string_view quota_subject;             // QuotaFailure
  std::optional<absl::Duration> retry_after;  // RetryInfo
};
grpc::Status MakeStatus(grpc::StatusCode code, const std::string& message, const ErrorDetails& details);

// As a message: what grpc-status-details-bin carries.
void ToProto(const grpc::Status& status, google::rpc::Status* out);

// Ends a unary call here and now: what its method returns.
grpc::ServerUnaryReactor* Finished(grpc::CallbackServerContext* context, const grpc::Status& status);

// The canonical code of an outcome that is an error.
grpc::StatusCode CodeOf(Outcome outcome);

// How long a refused caller should wait where the gate cannot tell from what it has seen.
inline constexpr absl::Duration kDefaultRetryAfter = absl::Seconds(1);

}  // namespace vramgate
