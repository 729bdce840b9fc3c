// AdmissionService.Session: one bidi stream, one lease.
#include <memory>
#include <optional>
#include <string>

#include "admission/server/admission_service.h"
#include "admission/server/durations.h"
#include "admission/server/session.h"
#include "grpcpp/alarm.h"

namespace vramgate {
namespace {

constexpr absl::Duration kFirstMessageWithin = absl::Seconds(10);

class SessionCall final : public grpc::ServerBidiReactor<v1::SessionRequest, v1::SessionResponse>,
                          public SessionStream {
 public:
  SessionCall(Controller& controller, const Converter& converter, StreamLimit& streams, const Caller& caller,
              const grpc::CallbackServerContext& context)
      : controller_(controller),
        converter_(converter),
        caller_(caller),
        context_(context),
        ticket_(streams),
        session_(std::make_shared<Session>(controller, this, Session::Shape::kStream)) {
    if (!ticket_.taken()) {
      session_->Refuse(TooManyStreams());
      return;
    }
    // A stream that says nothing must not stay for ever. The alarm keeps the session, not the call.
    alarm_.Set(std::chrono::system_clock::now() + absl::ToChronoMilliseconds(kFirstMessageWithin),
               [session = session_](bool fired) {
                 if (fired && !session->admitted()) session->Refuse(Silent());
               });
    StartRead(&request_);
  }

  // SessionStream, under the Session's lock.
  void Write(const SessionMessage& message) override;
  void Finish(const SessionFinish& finish) override;

  // ServerBidiReactor.
  void OnReadDone(bool ok) override;
  void OnWriteDone(bool) override { session_->WriteDone(); }
  void OnCancel() override { session_->Cancelled(); }
  void OnDone() override {
    alarm_.Cancel();
    session_->StreamClosed(context_.IsCancelled());
    delete this;
  }

 private:
  static Refusal Silent() {
    return {Outcome::kRejectedInvalidRequest, "admit",
            "no message came, or none that can be read: the first must be admit"};
  }
  void Refuse(const char* field, const char* message) {
    session_->Refuse({Outcome::kRejectedInvalidRequest, field, message});
  }
  void OnAdmit(const v1::AdmitRequest& in);
  void OnMessage();

  Controller& controller_;
  const Converter& converter_;
  const Caller caller_;
  const grpc::CallbackServerContext& context_;
  const StreamLimit::Ticket ticket_;
  const std::shared_ptr<Session> session_;
  grpc::Alarm alarm_;
  const ServedModel* model_ = nullptr;  // set by the first message; reads are one after the other
  std::string tenant_;
  int32_t sequences_ = 1;
  v1::SessionRequest request_;
  v1::SessionResponse response_;
};

void SessionCall::Write(const SessionMessage& message) {
  response_.Clear();
  switch (message.kind) {
    case SessionMessage::Kind::kQueued:
      Converter::ToQueued(message.position, response_.mutable_queued());
      break;
    case SessionMessage::Kind::kGranted:
      converter_.ToLease(message.decision, tenant_, /*stream=*/true, response_.mutable_granted());
      break;
    case SessionMessage::Kind::kExtended:
      converter_.ToLease(message.decision, tenant_, /*stream=*/true, response_.mutable_extended());
      break;
    case SessionMessage::Kind::kRevoke:
      response_.mutable_revoke()->set_reason(std::string(message.decision.note.view()));
      ToProto(message.decision.grace, response_.mutable_revoke()->mutable_grace());
      break;
  }
  StartWrite(&response_);
}

void SessionCall::Finish(const SessionFinish& finish) {
  switch (finish.kind) {
    case SessionFinish::Kind::kOk:
      return ServerBidiReactor::Finish(grpc::Status::OK);
    case SessionFinish::Kind::kRefused:
      return ServerBidiReactor::Finish(converter_.ToStatus(finish.decision));
    case SessionFinish::Kind::kBroken:
      return ServerBidiReactor::Finish(converter_.ToStatus(finish.refusal));
    case SessionFinish::Kind::kCancelled:
      return ServerBidiReactor::Finish({grpc::StatusCode::CANCELLED, "the caller closed its side before the grant"});
  }
}

void SessionCall::OnAdmit(const v1::AdmitRequest& in) {
  Request request;
  if (auto refusal = converter_.ToRequest(in, caller_, &request, nullptr)) {
    controller_.CountRefusal(refusal->outcome, in.request_id(), in.tenant());
    return session_->Refuse(*std::move(refusal));
  }
  model_ = &converter_.models().model(request.model);
  tenant_ = in.tenant();
  sequences_ = request.sequences;
  if (in.validate_only()) {
    return Refuse("admit.validate_only", "a Session holds a lease: use Admit or Estimate to check a request");
  }
  if (!in.reattach_lease().empty()) {
    const std::optional<LeaseId> id = ParseLeaseName(in.reattach_lease());
    if (id && session_->Reattach(*id, caller_.id)) return;
    // Not there any more: a new request like any other.
  }
  request.stream = true;
  request.deadline = DeadlineOf(context_, controller_.Now());
  session_->Admit(request);
}

void SessionCall::OnMessage() {
  switch (request_.msg_case()) {
    case v1::SessionRequest::kAdmit:
      if (model_ != nullptr) return Refuse("admit", "sent twice: one request per Session");
      return OnAdmit(request_.admit());
    case v1::SessionRequest::kUsage:
      if (const auto costs = converter_.ToCosts(request_.usage(), *model_, sequences_)) {
        session_->Progress(caller_.id, *costs, Converter::OutputTokens(request_.usage(), sequences_));
      } else {
        Refuse("usage", "negative or absurd token counts");
      }
      return;
    case v1::SessionRequest::kExtend:
      if (request_.extend().tokens() < 0) return Refuse("extend.tokens", "negative");
      return session_->Extend(caller_.id, request_.extend().tokens());
    case v1::SessionRequest::kRevokeAck:
      return session_->RevokeAck(caller_.id);
    case v1::SessionRequest::kEnd:
      return session_->End(ToEndKind(request_.end()), Converter::OutputTokens(request_.end().usage(), sequences_));
    case v1::SessionRequest::MSG_NOT_SET:
      return Refuse("msg", "an empty message");
  }
}

void SessionCall::OnReadDone(bool ok) {
  if (!ok) return model_ == nullptr ? session_->Refuse(Silent()) : session_->HalfClose();
  if (model_ == nullptr && request_.msg_case() != v1::SessionRequest::kAdmit) {
    Refuse("admit", "the first message must be admit");
  } else {
    OnMessage();
  }
  StartRead(&request_);
}

}  // namespace

grpc::ServerBidiReactor<v1::SessionRequest, v1::SessionResponse>* AdmissionServiceImpl::Session(
    grpc::CallbackServerContext* context) {
  return new SessionCall(controller_, converter_, streams_, caller_, *context);
}

}  // namespace vramgate
