#include "admission/server/http_answer.h"

#include <algorithm>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"

namespace vramgate {
namespace {

namespace ext_proc = envoy::service::ext_proc::v3;
using envoy::config::core::v3::HeaderValueOption;

// Clients sleep as long as retry-after-ms says, to the letter.
constexpr int64_t kMostRetryAfterMs = 60'000;

// Where the config names no status for the reason.
int32_t DefaultStatus(grpc::StatusCode code) {
  switch (code) {
    case grpc::StatusCode::RESOURCE_EXHAUSTED:
      return 429;
    case grpc::StatusCode::FAILED_PRECONDITION:
      return 413;
    case grpc::StatusCode::NOT_FOUND:
      return 404;
    case grpc::StatusCode::INVALID_ARGUMENT:
      return 400;
    case grpc::StatusCode::DEADLINE_EXCEEDED:
      return 504;
    default:
      return 503;
  }
}

void SetHeader(std::string_view name, std::string value, ext_proc::ImmediateResponse* out) {
  HeaderValueOption* option = out->mutable_headers()->add_set_headers();
  option->mutable_header()->set_key(std::string(name));
  option->mutable_header()->set_raw_value(std::move(value));  // Envoy reads this one
  option->set_append_action(HeaderValueOption::OVERWRITE_IF_EXISTS_OR_ADD);
}

// Whole units of `d`, rounded up.
int64_t RoundedUp(absl::Duration d, absl::Duration unit) {
  return absl::IDivDuration(absl::Ceil(d, unit), unit, &d);
}

}  // namespace

HttpAnswers::HttpAnswers(const Converter& converter, const v1::Config& config) : converter_(converter) {
  for (int i = 0; i < kOutcomes; ++i) {
    const auto outcome = static_cast<Outcome>(i);
    const auto given = config.http_status().find(std::string(OutcomeReason(outcome)));
    status_[static_cast<size_t>(i)] =
        given != config.http_status().end() ? given->second : DefaultStatus(CodeOf(outcome));
  }
}

void HttpAnswers::Write(const Refusal& refusal, bool grpc, ext_proc::ImmediateResponse* out) const {
  const grpc::Status status = converter_.ToStatus(refusal);
  Write({.outcome = refusal.outcome, .message = status.error_message(), .grpc = grpc}, out);
}

void HttpAnswers::Write(const Decision& decision, bool grpc, ext_proc::ImmediateResponse* out) const {
  const grpc::Status status = converter_.ToStatus(decision);
  Write({.outcome = decision.outcome,
         .message = status.error_message(),
         .retry_after = decision.retry_after,
         .grpc = grpc},
        out);
}

void HttpAnswers::Write(const Answer& answer, ext_proc::ImmediateResponse* out) const {
  const grpc::StatusCode code = CodeOf(answer.outcome);
  const bool retry = code == grpc::StatusCode::RESOURCE_EXHAUSTED || code == grpc::StatusCode::UNAVAILABLE;
  const std::string reason = std::string(OutcomeReason(answer.outcome));
  const std::string name = absl::AsciiStrToLower(reason.empty() ? std::string(OutcomeName(answer.outcome)) : reason);

  out->mutable_status()->set_code(status_[static_cast<size_t>(answer.outcome)]);
  SetHeader("content-type", "application/json", out);
  SetHeader("x-should-retry", retry ? "true" : "false", out);
  if (!reason.empty()) SetHeader("x-vramgate-reason", reason, out);
  if (retry) {
    const absl::Duration after = answer.retry_after.value_or(kDefaultRetryAfter);
    const int64_t seconds = std::clamp<int64_t>(RoundedUp(after, absl::Seconds(1)), 1, 24 * 3600);
    const int64_t millis = std::clamp<int64_t>(RoundedUp(after, absl::Milliseconds(1)), 1, kMostRetryAfterMs);
    SetHeader("retry-after", absl::StrCat(seconds), out);
    SetHeader("retry-after-ms", absl::StrCat(millis), out);
  }
  const char* const type = retry                                         ? "server_overloaded"
                           : code == grpc::StatusCode::DEADLINE_EXCEEDED ? "timeout"
                                                                         : "invalid_request_error";
  const nlohmann::json body = {{"error", {{"message", std::string(answer.message)}, {"type", type}, {"code", name}}}};
  out->set_body(body.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
  if (answer.grpc) out->mutable_grpc_status()->set_status(static_cast<uint32_t>(code));
  out->set_details(absl::StrCat("vramgate_", name));
}

}  // namespace vramgate
