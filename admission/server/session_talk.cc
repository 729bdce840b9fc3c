#include "admission/server/session_talk.h"

#include <optional>
#include <utility>

#include "admission/server/durations.h"

namespace vramgate {

Refusal SessionTalk::Silent() {
  return {Outcome::kRejectedInvalidRequest, "admit",
          "no message came, or none that can be read: the first must be admit"};
}

void SessionTalk::Refuse(const char* field, const char* message) {
  session_->Refuse({Outcome::kRejectedInvalidRequest, field, message});
}

void SessionTalk::ToResponse(const SessionMessage& message, v1::SessionResponse* out) const {
  switch (message.kind) {
    case SessionMessage::Kind::kQueued:
      Converter::ToQueued(message.position, out->mutable_queued());
      break;
    case SessionMessage::Kind::kGranted:
      converter_.ToLease(message.decision, tenant_, /*stream=*/true, out->mutable_granted());
      break;
    case SessionMessage::Kind::kExtended:
      converter_.ToLease(message.decision, tenant_, /*stream=*/true, out->mutable_extended());
      break;
    case SessionMessage::Kind::kRevoke:
      out->mutable_revoke()->set_reason(std::string(message.decision.note.view()));
      ToProto(message.decision.grace, out->mutable_revoke()->mutable_grace());
      break;
  }
}

grpc::Status SessionTalk::StatusOf(const SessionFinish& finish) const {
  switch (finish.kind) {
    case SessionFinish::Kind::kOk:
      return grpc::Status::OK;
    case SessionFinish::Kind::kRefused:
      return converter_.ToStatus(finish.decision);
    case SessionFinish::Kind::kBroken:
      return converter_.ToStatus(finish.refusal);
    case SessionFinish::Kind::kCancelled:
      return {grpc::StatusCode::CANCELLED, "the caller closed its side before the grant"};
  }
  return {grpc::StatusCode::INTERNAL, "no such end"};
}

// The lease to take up again. Names begin anew with each run of the sidecar: a request that has a key must find it
// there.
std::optional<LeaseId> SessionTalk::Remembered(const v1::AdmitRequest& in) const {
  const std::optional<LeaseId> id = ParseLeaseName(in.reattach_lease());
  if (!id || in.request_id().empty()) return id;
  const std::optional<LeaseView> view = controller_.View(*id, caller_.id);
  const bool same = view && view->request_id == in.request_id() && view->tenant == in.tenant();
  return same ? id : std::nullopt;
}

void SessionTalk::OnAdmit(const v1::AdmitRequest& in, Instant deadline) {
  Request request;
  Converter::Tokens tokens;
  if (auto refusal = converter_.ToRequest(in, caller_, &request, &tokens)) {
    controller_.CountRefusal(refusal->outcome, in.request_id(), in.tenant());
    return session_->Refuse(*std::move(refusal));
  }
  model_ = &converter_.models().model(request.model);
  tenant_ = in.tenant();
  sequences_ = request.sequences;
  if (tokens.source != PromptSource::kGiven) {
    prompt_ = {.source = tokens.source, .prompt_bytes = in.demand().prompt_bytes(), .charged_tokens = tokens.prompt};
  }
  if (in.validate_only()) {
    return Refuse("admit.validate_only", "a Session holds a lease: use Admit or Estimate to check a request");
  }
  if (!in.reattach_lease().empty()) {
    if (const std::optional<LeaseId> id = Remembered(in); id && session_->Reattach(*id, caller_.id)) return;
    // Not there any more: a new request like any other.
  }
  request.stream = true;
  request.deadline = deadline;
  session_->Admit(request);
}

// Once: a prompt does not change.
void SessionTalk::Learn(const v1::Usage& usage) {
  if (prompt_.prompt_bytes == 0 || usage.prompt_tokens() <= 0) return;
  prompt_.prompt_tokens = usage.prompt_tokens();
  converter_.LearnPrompt(model_->id, std::exchange(prompt_, {}));
}

void SessionTalk::OnMessage(const v1::SessionRequest& request, Instant deadline) {
  if (model_ == nullptr && request.msg_case() != v1::SessionRequest::kAdmit)
    return Refuse("admit", "the first message must be admit");
  switch (request.msg_case()) {
    case v1::SessionRequest::kAdmit:
      if (model_ != nullptr) return Refuse("admit", "sent twice: one request per Session");
      return OnAdmit(request.admit(), deadline);
    case v1::SessionRequest::kUsage:
      if (const auto costs = converter_.ToCosts(request.usage(), *model_, sequences_)) {
        Learn(request.usage());
        session_->Progress(caller_.id, *costs, Converter::OutputTokens(request.usage(), sequences_));
      } else {
        Refuse("usage", "negative or absurd token counts");
      }
      return;
    case v1::SessionRequest::kExtend:
      if (request.extend().tokens() < 0) return Refuse("extend.tokens", "negative");
      return session_->Extend(caller_.id, request.extend().tokens());
    case v1::SessionRequest::kRevokeAck:
      return session_->RevokeAck(caller_.id);
    case v1::SessionRequest::kEnd:
      Learn(request.end().usage());
      return session_->End(ToEndKind(request.end()), Converter::OutputTokens(request.end().usage(), sequences_));
    case v1::SessionRequest::MSG_NOT_SET:
      return Refuse("msg", "an empty message");
  }
}

void SessionTalk::OnNoMore() {
  if (model_ == nullptr) return session_->Refuse(Silent());
  session_->HalfClose();
}

}  // namespace vramgate
