// Answers that are errors: canonical codes with ErrorInfo, RetryInfo, QuotaFailure and BadRequest (docs/reference.md).
#include "absl/strings/str_cat.h"
#include "admission/server/convert.h"
#include "admission/server/durations.h"
#include "admission/units.h"
#include "google/rpc/error_details.pb.h"

namespace vramgate {

grpc::Status MakeStatus(grpc::StatusCode code, const std::string& message, const ErrorDetails& details) {
  google::rpc::Status status;
  status.set_code(code);
  status.set_message(message);
  if (!details.reason.empty()) {
    google::rpc::ErrorInfo info;
    info.set_reason(std::string(details.reason));
    info.set_domain("vramgate");
    status.add_details()->PackFrom(info);
  }
  if (details.retry_after) {
    google::rpc::RetryInfo retry;
    ToProto(*details.retry_after, retry.mutable_retry_delay());
    status.add_details()->PackFrom(retry);
  }
  if (!details.quota_subject.empty()) {
    google::rpc::QuotaFailure quota;
    auto* violation = quota.add_violations();
    violation->set_subject(std::string(details.quota_subject));
    violation->set_description(message);
    status.add_details()->PackFrom(quota);
  }
  if (!details.field.empty()) {
    google::rpc::BadRequest bad;
    auto* violation = bad.add_field_violations();
    violation->set_field(std::string(details.field));
    violation->set_description(message);
    status.add_details()->PackFrom(bad);
  }
  return {code, message, status.SerializeAsString()};
}

void ToProto(const grpc::Status& status, google::rpc::Status* out) {
  if (!status.error_details().empty() && out->ParseFromString(status.error_details())) return;
  out->Clear();
  out->set_code(status.error_code());
  out->set_message(status.error_message());
}

grpc::ServerUnaryReactor* Finished(grpc::CallbackServerContext* context, const grpc::Status& status) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(status);
  return reactor;
}

grpc::StatusCode CodeOf(Outcome outcome) {
  switch (outcome) {
    case Outcome::kRejectedQueueFull:
    case Outcome::kRejectedQueueTimeout:
    case Outcome::kRejectedBudgetExhausted:
    case Outcome::kRejectedTenantQuota:
    case Outcome::kRejectedDeadlineInfeasible:
      return grpc::StatusCode::RESOURCE_EXHAUSTED;
    case Outcome::kRejectedNeverFits:
      return grpc::StatusCode::FAILED_PRECONDITION;
    case Outcome::kRejectedUnknownModel:
      return grpc::StatusCode::NOT_FOUND;
    case Outcome::kRejectedModelNotLoaded:
    case Outcome::kRejectedDraining:
    case Outcome::kRejectedTelemetryStale:
      return grpc::StatusCode::UNAVAILABLE;
    case Outcome::kRejectedInvalidRequest:
      return grpc::StatusCode::INVALID_ARGUMENT;
    case Outcome::kDeadline:
      return grpc::StatusCode::DEADLINE_EXCEEDED;
    case Outcome::kSuperseded:
    case Outcome::kRevoked:
    case Outcome::kAborted:
    case Outcome::kExpired:
      return grpc::StatusCode::ABORTED;
    case Outcome::kCancelled:
      return grpc::StatusCode::CANCELLED;
    case Outcome::kGranted:
    case Outcome::kCompleted:
      return grpc::StatusCode::OK;
  }
  return grpc::StatusCode::INTERNAL;
}

grpc::Status Converter::ToStatus(const Refusal& refusal) const {
  const std::string message =
      refusal.field.empty() ? refusal.message : absl::StrCat(refusal.field, ": ", refusal.message);
  ErrorDetails details{.reason = OutcomeReason(refusal.outcome), .field = refusal.field};
  if (refusal.outcome == Outcome::kRejectedQueueFull) details.retry_after = kDefaultRetryAfter;
  return MakeStatus(CodeOf(refusal.outcome), message, details);
}

grpc::Status Converter::ToStatus(const Decision& decision) const {
  const std::string& model = models_.model(decision.model).name;
  const std::string waited = absl::FormatDuration(absl::Trunc(decision.waited, absl::Milliseconds(1)));
  ErrorDetails details{.reason = OutcomeReason(decision.outcome)};
  std::string subject;
  std::string message;
  switch (decision.outcome) {
    case Outcome::kRejectedQueueFull:
      message = "the queue is full: try again after retry_delay, or raise queue.max_requests";
      break;
    case Outcome::kRejectedQueueTimeout:
      message = absl::StrCat("no room for model ", model, " within ", waited,
                             ": the same request_id keeps its place for a moment");
      break;
    case Outcome::kRejectedBudgetExhausted:
      message = absl::StrCat("no room for model ", model, " now");
      break;
    case Outcome::kRejectedTenantQuota:
      subject = absl::StrCat("tenant:", std::string(decision.tenant.view()));
      message = "the tenant's hard share is in use: wait for its own requests to end";
      break;
    case Outcome::kRejectedDeadlineInfeasible:
      message = "its turn would come after the caller's deadline: try again after retry_delay, or with more time";
      break;
    case Outcome::kRejectedNeverFits:
      message = absl::StrCat("the request is larger than any instance of ", model,
                             ", or the tenant's share, could ever hold: shorten the prompt or max_output_tokens");
      break;
    case Outcome::kRejectedModelNotLoaded:
      message = absl::StrCat("no instance of model ", model, " is loaded now: load it, or ask another replica");
      break;
    case Outcome::kRejectedDraining:
      message = "shutting down: ask another replica, or again after retry_delay";
      break;
    case Outcome::kRejectedTelemetryStale:
      message = absl::StrCat("no fresh memory reading of the devices of ", model, ": nothing is granted blind");
      break;
    case Outcome::kRejectedInvalidRequest:
      details.field = "request_id";
      message = "request_id: in use by a request with other content: give each request an id of its own";
      break;
    case Outcome::kSuperseded:
      message = "taken over by a newer call with the same request_id";
      break;
    case Outcome::kRevoked:
      message = "the lease was revoked: stop the request";
      break;
    case Outcome::kDeadline:
      message = absl::StrCat("the caller's deadline passed after ", waited, " in the queue");
      break;
    case Outcome::kExpired:
      message = "the lease was not renewed in time";
      break;
    case Outcome::kAborted:
      message = "the lease was ended by another call";
      break;
    case Outcome::kCancelled:
      message = "the caller left";
      break;
    case Outcome::kRejectedUnknownModel:
      message = "unknown model";
      break;
    case Outcome::kGranted:
    case Outcome::kCompleted:
      return grpc::Status::OK;
  }
  const grpc::StatusCode code = CodeOf(decision.outcome);
  if (code == grpc::StatusCode::RESOURCE_EXHAUSTED || code == grpc::StatusCode::UNAVAILABLE) {
    details.retry_after = decision.retry_after.value_or(kDefaultRetryAfter);
  }
  details.quota_subject = subject;
  return MakeStatus(code, message, details);
}

}  // namespace vramgate
