#include "admission/server/ext_proc_call.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "admission/server/admission_service.h"
#include "admission/server/durations.h"
#include "admission/server/ext_proc_messages.h"

namespace vramgate {
namespace {

// Answers not yet taken by the gateway: beyond it nothing more is read.
constexpr size_t kMostOwed = 32;

Refusal NoBody() {
  return {Outcome::kRejectedInvalidRequest, "body", "missing: a generation request has a JSON body"};
}
Refusal NoHeaders() {
  return {Outcome::kRejectedInvalidRequest, "request_headers",
          "missing: whether the request generates cannot be told; set the gateway's request_header_mode to SEND"};
}
Session::Shape ShapeOf(const ExtProcOptions& options) {
  return options.hold_timeout ? Session::Shape::kProxy : Session::Shape::kQuietProxy;
}

Refusal BodiesWantedBack() {
  return {Outcome::kRejectedInvalidRequest, "protocol_config",
          "the gateway wants every body sent back; set its request_body_mode to BUFFERED and its response_body_mode to "
          "NONE or STREAMED instead of FULL_DUPLEX_STREAMED"};
}

}  // namespace

void ProcessCalls::Add(ProcessCall* call) {
  MutexLock lock(mutex_);
  open_.insert(call);
}

void ProcessCalls::Remove(ProcessCall* call) {
  MutexLock lock(mutex_);
  open_.erase(call);
}

void ProcessCalls::LetGo() {
  MutexLock lock(mutex_);  // so none of them goes meanwhile; gRPC calls OnDone from a thread of its own
  for (ProcessCall* call : open_) call->LetGo();
}

ProcessCall::ProcessCall(const ProcessContext& context, const grpc::CallbackServerContext& call)
    : context_(context),
      call_(call),
      ticket_(context.streams),
      peer_(context.entrance == nullptr ? nullptr : context.entrance->PeerOf(call.peer())),
      session_(std::make_shared<Session>(context.controller, this, ShapeOf(context.options))) {
  context_.ends.Opened();
  context_.calls.Add(this);
  if (ticket_.taken()) {
    StartRead(&request_);
  } else {
    session_->Refuse(TooManyStreams());
  }
}

void ProcessCall::OnDone() {
  context_.calls.Remove(this);
  session_->StreamClosed(call_.IsCancelled());
  {
    MutexLock lock(mutex_);
    context_.ends.Closed(fate_, output_tokens_ >= 0);
  }
  delete this;
}

void ProcessCall::LetGo() {
  {
    MutexLock lock(mutex_);
    const bool granted = fate_ == ExtProcEnd::kAborted || fate_ == ExtProcEnd::kFinished;
    // One that is not decided must not pass: the stream breaks with the server.
    if (end_ || (!granted && fate_ != ExtProcEnd::kPassed)) return;
    if (granted) fate_ = ExtProcEnd::kBroken;
  }
  session_->End(Gate::EndKind::kClientGone);
}

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
  if (request_.has_protocol_config() && WantsBodiesBack(request_.protocol_config())) return Refuse(BodiesWantedBack());
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
      return OnResponseBody(request_.response_body());
    case ProcessingRequest::kResponseTrailers:
      return Reply(request_.request_case());
    case ProcessingRequest::REQUEST_NOT_SET:
      return Refuse({Outcome::kRejectedInvalidRequest, "request", "an empty or unknown message"});
  }
}

void ProcessCall::OnRequestHeaders(const HttpHeaders& headers) {
  GatewayRequest asked;
  std::optional<Refusal> refusal = context_.reader.ReadHeaders(headers, context_.controller.Now(), &asked);
  const bool generation = asked.gated();
  if (!refusal && generation && headers.end_of_stream()) refusal = NoBody();
  {
    MutexLock lock(mutex_);
    if (end_) return;  // refused before it came
    if (phase_ == Phase::kHeaders) {
      speaks_grpc_ = HeaderOf(headers, "content-type").substr(0, 16) == "application/grpc";
      asked_ = std::move(asked);
      if (generation) fate_ = ExtProcEnd::kLeft;
      phase_ = refusal ? Phase::kDecide : (generation ? Phase::kBody : Phase::kPassed);
      if (!refusal) {
        ReplyLocked(ProcessingRequest::kRequestHeaders, /*of_session=*/false);
        SetModes(generation, context_.options, out_.back().message.mutable_mode_override());
        return Pump();
      }
    } else {
      refusal.reset();
    }
  }
  if (refusal) return Refuse(*std::move(refusal));
  Refuse({Outcome::kRejectedInvalidRequest, "request_headers", "sent twice: one request per stream"});
}

void ProcessCall::OnRequestTrailers() {
  if (SetPhase(Phase::kHeaders, Phase::kDecide)) return Refuse(NoHeaders());
  if (SetPhase(Phase::kBody, Phase::kDecide)) return Refuse(NoBody());
  Reply(ProcessingRequest::kRequestTrailers);
}

void ProcessCall::OnRequestBody(const HttpBody& body) {
  if (SetPhase(Phase::kHeaders, Phase::kDecide)) return Refuse(NoHeaders());
  if (!SetPhase(Phase::kBody, Phase::kDecide)) return Reply(ProcessingRequest::kRequestBody);
  Request request;
  if (std::optional<Refusal> refusal = context_.reader.ReadBody(body.body(), &asked_, &request)) {
    if (!body.end_of_stream()) {
      refusal->message += "; the gateway sent the body in parts: set its request_body_mode to BUFFERED";
    }
    return Refuse(*std::move(refusal));
  }
  sequences_ = std::max(1, request.sequences);
  request.stream = true;
  request.max_wait = std::min(request.max_wait, context_.options.longest_wait);
  session_->Admit(request);
}

// The HTTP response has begun. A request that still waits has been answered by the gateway itself.
void ProcessCall::OnResponseHeaders() {
  bool overtaken = false;
  {
    MutexLock lock(mutex_);
    if (end_) return;
    if (fate_ == ExtProcEnd::kAborted) fate_ = ExtProcEnd::kFinished;
    if (fate_ == ExtProcEnd::kLeft) fate_ = ExtProcEnd::kOvertaken;
    overtaken = phase_ == Phase::kDecide;
    phase_ = Phase::kPassed;
    after_decision_.clear();
    ReplyLocked(ProcessingRequest::kResponseHeaders, /*of_session=*/false);
    SetPromptHeaders(prompt_tokens_, prompt_source_, &out_.back().message);
    Pump();
  }
  if (overtaken) session_->End(Gate::EndKind::kCompleted);
}

// Comes only where the gateway was asked for it, or is set so: nothing of it is kept but what the engine has counted.
void ProcessCall::OnResponseBody(const HttpBody& body) {
  if (asked_.gated()) {
    if (usage_ == nullptr) usage_ = std::make_unique<UsageReader>();
    usage_->Feed(body.body());
    const UsageReader::Usage& usage = usage_->usage();
    if (usage.output_tokens) {
      MutexLock lock(mutex_);
      output_tokens_ = (*usage.output_tokens + sequences_ - 1) / sequences_;
    }
    // Once: some streams say it with every token.
    if (!learned_ && usage.prompt_tokens && (usage.output_tokens || body.end_of_stream())) {
      learned_ = true;
      context_.reader.Learn(asked_, usage);
    }
  }
  Reply(ProcessingRequest::kResponseBody);
}

void ProcessCall::Refuse(Refusal refusal) {
  context_.controller.CountRefusal(refusal.outcome, asked_.request_id, asked_.admit.tenant());
  session_->Refuse(std::move(refusal));
}

// EOF and cancellation alike: Envoy ends a finished request's stream in either way. A stream that we broke off says
// nothing of its request, nor does one that went with its connection.
void ProcessCall::StreamEnded() {
  bool finished = false;
  int64_t output_tokens = -1;
  {
    MutexLock lock(mutex_);
    output_tokens = output_tokens_;
    if (fate_ == ExtProcEnd::kFinished && !end_ && peer_ != nullptr && peer_->Gone()) fate_ = ExtProcEnd::kLost;
    finished = fate_ == ExtProcEnd::kFinished && !end_ && context_.options.finished_frees;
  }
  session_->End(finished ? Gate::EndKind::kCompleted : Gate::EndKind::kClientGone, output_tokens);
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
      ToProto(*context_.options.hold_timeout, hold.message.mutable_override_message_timeout());
      break;
    }
    case SessionMessage::Kind::kGranted:
      phase_ = Phase::kPassed;
      fate_ = context_.options.low_latency ? ExtProcEnd::kFinished : ExtProcEnd::kAborted;
      prompt_tokens_ = message.decision.prompt_tokens;
      prompt_source_ = message.decision.prompt_source;
      ReplyLocked(ProcessingRequest::kRequestBody, /*of_session=*/true);
      for (const ProcessingRequest::RequestCase to : after_decision_) ReplyLocked(to, /*of_session=*/false);
      after_decision_.clear();
      break;
    case SessionMessage::Kind::kExtended:  // not said to a gateway, which asks for none
      break;
    case SessionMessage::Kind::kRevoke:
      // There is no word for it in the protocol. An error ends the request where the gateway fails closed; where it
      // fails open the request goes on, and the lease lingers.
      end_ = context_.converter.ToStatus(message.decision);
      fate_ = ExtProcEnd::kBroken;
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
    fate_ = ExtProcEnd::kRefused;
  } else {
    end_ = context_.converter.ToStatus(why);
    fate_ = ExtProcEnd::kBroken;
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

}  // namespace vramgate
