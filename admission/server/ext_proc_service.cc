#include "admission/server/ext_proc_service.h"

#include <deque>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "admission/mutex.h"
#include "admission/server/admission_service.h"
#include "admission/server/chat_body.h"
#include "admission/server/durations.h"
#include "admission/server/ext_proc_messages.h"
#include "admission/server/session.h"

namespace vramgate {
namespace {

namespace ext_proc = envoy::service::ext_proc::v3;
using ext_proc::ProcessingRequest;
using ext_proc::ProcessingResponse;

// The gate answers a waiter when queue.max_wait is over; the gateway must not give up before it has heard so.
constexpr absl::Duration kHoldMargin = absl::Seconds(1);
// Answers not yet taken by the gateway: beyond it nothing more is read.
constexpr size_t kMostOwed = 32;

Refusal NoBody() {
  return {Outcome::kRejectedInvalidRequest, "body", "missing: a generation request has a JSON body"};
}
Refusal NoHeaders() {
  return {Outcome::kRejectedInvalidRequest, "request_headers",
          "missing: whether the request generates cannot be told; set the gateway's request_header_mode to SEND"};
}

// One HTTP request. The Session decides what becomes of the lease; this translates, and keeps the order of the answers.
class ProcessCall final : public grpc::ServerBidiReactor<ProcessingRequest, ProcessingResponse>, public SessionStream {
 public:
  ProcessCall(const ExtProcServiceImpl::Context& context, const grpc::CallbackServerContext& call)
      : context_(context),
        call_(call),
        ticket_(context.streams),
        session_(std::make_shared<Session>(context.controller, this, Session::Shape::kProxy)) {
    if (ticket_.taken()) {
      StartRead(&request_);
    } else {
      session_->Refuse(TooManyStreams());
    }
  }

  // SessionStream, under the Session's lock.
  void Write(const SessionMessage& message) override;
  void Finish(const SessionFinish& finish) override;

  // ServerBidiReactor.
  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnCancel() override { StreamEnded(); }
  void OnDone() override {
    session_->StreamClosed(call_.IsCancelled());
    delete this;
  }

 private:
  enum class Phase : uint8_t {
    kHeaders,  // nothing has come yet
    kBody,     // a generation request, whose body is to come
    kDecide,   // the gate is asked; the gateway waits
    kPassed,   // on its way, admitted or never in need of it; or answered
  };
  struct Outgoing {
    ProcessingResponse message;
    bool of_session = false;
  };

  void OnMessage() ABSL_LOCKS_EXCLUDED(mutex_);
  void OnRequestHeaders(const ext_proc::HttpHeaders& headers) ABSL_LOCKS_EXCLUDED(mutex_);
  void OnRequestBody(const ext_proc::HttpBody& body) ABSL_LOCKS_EXCLUDED(mutex_);
  void OnRequestTrailers() ABSL_LOCKS_EXCLUDED(mutex_);
  void OnResponseHeaders() ABSL_LOCKS_EXCLUDED(mutex_);
  void Refuse(Refusal refusal) ABSL_LOCKS_EXCLUDED(mutex_);
  void StreamEnded() ABSL_LOCKS_EXCLUDED(mutex_);
  bool SetPhase(Phase from, Phase to) ABSL_LOCKS_EXCLUDED(mutex_);
  void Reply(ProcessingRequest::RequestCase to) ABSL_LOCKS_EXCLUDED(mutex_);

  void ReplyLocked(ProcessingRequest::RequestCase to, bool of_session) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  template <typename Why>
  void RefuseLocked(const Why& why) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Pump() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const ExtProcServiceImpl::Context& context_;
  const grpc::CallbackServerContext& call_;
  const StreamLimit::Ticket ticket_;
  const std::shared_ptr<Session> session_;
  ProcessingRequest request_;  // of the one read under way

  // Taken under the Session's lock, so the Session is never called with it held.
  Mutex mutex_;
  Phase phase_ ABSL_GUARDED_BY(mutex_) = Phase::kHeaders;
  bool speaks_grpc_ ABSL_GUARDED_BY(mutex_) = false;
  bool responded_ ABSL_GUARDED_BY(mutex_) = false;  // response headers have been seen
  bool read_held_ ABSL_GUARDED_BY(mutex_) = false;  // too much is owed to read on
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
  std::deque<Outgoing> out_ ABSL_GUARDED_BY(mutex_);  // the first may be under way
  std::vector<ProcessingRequest::RequestCase> after_decision_
      ABSL_GUARDED_BY(mutex_);  // replies that must not overtake it
  std::optional<grpc::Status> end_ ABSL_GUARDED_BY(mutex_);
};

bool ProcessCall::SetPhase(Phase from, Phase to) {
  MutexLock lock(mutex_);
  if (phase_ != from) return false;
  phase_ = to;
  return true;
}

void ProcessCall::OnReadDone(bool ok) {
  if (!ok) return StreamEnded();
  OnMessage();
  request_.Clear();  // a body is not kept while its request waits or runs
  MutexLock lock(mutex_);
  read_held_ = out_.size() + after_decision_.size() >= kMostOwed;
  if (!read_held_) StartRead(&request_);
}

void ProcessCall::OnMessage() {
  switch (request_.request_case()) {
    case ProcessingRequest::kRequestHeaders:
      return OnRequestHeaders(request_.request_headers());
    case ProcessingRequest::kRequestBody:
      return OnRequestBody(request_.request_body());
    case ProcessingRequest::kRequestTrailers:
      return OnRequestTrailers();
    case ProcessingRequest::kResponseHeaders:
      return OnResponseHeaders();
    case ProcessingRequest::kResponseBody:
    case ProcessingRequest::kResponseTrailers:
      return Reply(request_.request_case());
    case ProcessingRequest::REQUEST_NOT_SET:
      return Refuse({Outcome::kRejectedInvalidRequest, "request", "an empty or unknown message"});
  }
}

void ProcessCall::OnRequestHeaders(const ext_proc::HttpHeaders& headers) {
  const bool generation = IsGeneration(HeaderOf(headers, ":method"), HeaderOf(headers, ":path"));
  const bool bodyless = generation && headers.end_of_stream();
  {
    MutexLock lock(mutex_);
    if (end_) return;  // refused before it came
    if (phase_ == Phase::kHeaders) {
      speaks_grpc_ = HeaderOf(headers, "content-type").substr(0, 16) == "application/grpc";
      phase_ = bodyless ? Phase::kDecide : (generation ? Phase::kBody : Phase::kPassed);
      if (!bodyless) {
        ReplyLocked(ProcessingRequest::kRequestHeaders, /*of_session=*/false);
        SetModes(generation, out_.back().message.mutable_mode_override());
        return Pump();
      }
    }
  }
  if (bodyless) return Refuse(NoBody());
  Refuse({Outcome::kRejectedInvalidRequest, "request_headers", "sent twice: one request per stream"});
}

void ProcessCall::OnRequestTrailers() {
  if (SetPhase(Phase::kHeaders, Phase::kDecide)) return Refuse(NoHeaders());
  if (SetPhase(Phase::kBody, Phase::kDecide)) return Refuse(NoBody());
  Reply(ProcessingRequest::kRequestTrailers);
}

void ProcessCall::OnRequestBody(const ext_proc::HttpBody& body) {
  if (SetPhase(Phase::kHeaders, Phase::kDecide)) return Refuse(NoHeaders());
  if (!SetPhase(Phase::kBody, Phase::kDecide)) return Reply(ProcessingRequest::kRequestBody);
  ChatBody chat;
  if (std::optional<Refusal> refusal = ReadChatBody(body.body(), &chat)) {
    if (!body.end_of_stream()) {
      refusal->message += "; the gateway sent the body in parts: set its request_body_mode to BUFFERED";
    }
    return Refuse(*std::move(refusal));
  }
  v1::AdmitRequest admit;
  admit.set_model(std::move(chat.model));
  admit.mutable_demand()->set_prompt_bytes(chat.prompt_bytes);
  admit.mutable_demand()->set_sequences(chat.sequences);
  if (chat.max_output_tokens) admit.mutable_demand()->set_max_output_tokens(*chat.max_output_tokens);
  Request request;
  if (std::optional<Refusal> refusal = context_.converter.ToRequest(admit, context_.caller, &request, nullptr)) {
    return Refuse(*std::move(refusal));
  }
  request.stream = true;
  session_->Admit(request);
}

// The HTTP response has begun. A request that still waits has been answered by the gateway itself.
void ProcessCall::OnResponseHeaders() {
  bool overtaken = false;
  {
    MutexLock lock(mutex_);
    if (end_) return;
    responded_ = true;
    overtaken = phase_ == Phase::kDecide;
    phase_ = Phase::kPassed;
    after_decision_.clear();
    ReplyLocked(ProcessingRequest::kResponseHeaders, /*of_session=*/false);
    Pump();
  }
  if (overtaken) session_->End(Gate::EndKind::kCompleted);
}

void ProcessCall::Refuse(Refusal refusal) {
  context_.controller.CountRefusal(refusal.outcome, "", "");
  session_->Refuse(std::move(refusal));
}

// EOF and cancellation alike: Envoy ends a finished request's stream in either way. A stream that we broke off says
// nothing of its request.
void ProcessCall::StreamEnded() {
  bool finished = false;
  {
    MutexLock lock(mutex_);
    finished = responded_ && !end_;
  }
  session_->End(finished ? Gate::EndKind::kCompleted : Gate::EndKind::kClientGone);
}

void ProcessCall::Reply(ProcessingRequest::RequestCase to) {
  const bool of_request = to == ProcessingRequest::kRequestBody || to == ProcessingRequest::kRequestTrailers;
  MutexLock lock(mutex_);
  if (end_) return;
  if (of_request && phase_ == Phase::kDecide) {
    after_decision_.push_back(to);  // earlier, it would be taken for the decision
    return;
  }
  ReplyLocked(to, /*of_session=*/false);
  Pump();
}

void ProcessCall::ReplyLocked(ProcessingRequest::RequestCase to, bool of_session) {
  SetContinue(to, &out_.emplace_back(Outgoing{.of_session = of_session}).message);
}

void ProcessCall::Write(const SessionMessage& message) {
  MutexLock lock(mutex_);
  switch (message.kind) {
    case SessionMessage::Kind::kQueued: {
      Outgoing& hold = out_.emplace_back(Outgoing{.of_session = true});
      ToProto(context_.hold_timeout, hold.message.mutable_override_message_timeout());
      break;
    }
    case SessionMessage::Kind::kGranted:
      phase_ = Phase::kPassed;
      ReplyLocked(ProcessingRequest::kRequestBody, /*of_session=*/true);
      for (const ProcessingRequest::RequestCase to : after_decision_) ReplyLocked(to, /*of_session=*/false);
      after_decision_.clear();
      break;
    case SessionMessage::Kind::kRevoke:
      // There is no word for it in the protocol. An error ends the request where the gateway fails closed; where it
      // fails open the request goes on, and the lease lingers.
      end_ = context_.converter.ToStatus(message.decision);
      break;
  }
  Pump();
}

void ProcessCall::Finish(const SessionFinish& finish) {
  MutexLock lock(mutex_);
  switch (finish.kind) {
    case SessionFinish::Kind::kOk:
    case SessionFinish::Kind::kCancelled:
      end_ = grpc::Status::OK;
      break;
    case SessionFinish::Kind::kRefused:
      RefuseLocked(finish.decision);
      break;
    case SessionFinish::Kind::kBroken:
      RefuseLocked(finish.refusal);
      break;
  }
  Pump();
}

// The HTTP client is told while the gateway waits for us; after that only the gateway can be.
template <typename Why>
void ProcessCall::RefuseLocked(const Why& why) {
  if (phase_ == Phase::kHeaders || phase_ == Phase::kDecide) {
    context_.answers.Write(why, speaks_grpc_, out_.emplace_back().message.mutable_immediate_response());
    end_ = grpc::Status::OK;
  } else {
    end_ = context_.converter.ToStatus(why);
  }
  phase_ = Phase::kPassed;
}

void ProcessCall::OnWriteDone(bool) {
  bool of_session = false;
  {
    MutexLock lock(mutex_);
    writing_ = false;
    of_session = out_.front().of_session;
    out_.pop_front();
    Pump();
    if (read_held_ && out_.size() + after_decision_.size() < kMostOwed) {
      read_held_ = false;
      StartRead(&request_);
    }
  }
  if (of_session) session_->WriteDone();
}

void ProcessCall::Pump() {
  if (writing_ || finished_) return;
  if (!out_.empty()) {
    writing_ = true;
    return StartWrite(&out_.front().message);
  }
  if (end_) {
    finished_ = true;
    ServerBidiReactor::Finish(*end_);
  }
}

}  // namespace

ExtProcServiceImpl::ExtProcServiceImpl(Controller& controller, const Converter& converter, StreamLimit& streams,
                                       const Caller& caller, const v1::Config& config)
    : context_{controller,
               converter,
               streams,
               caller,
               HttpAnswers(converter, config),
               FromProto(config.queue().max_wait()) + kHoldMargin} {}

grpc::ServerBidiReactor<ProcessingRequest, ProcessingResponse>* ExtProcServiceImpl::Process(
    grpc::CallbackServerContext* context) {
  return new ProcessCall(context_, *context);
}

}  // namespace vramgate
