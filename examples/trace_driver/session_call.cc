#include "examples/trace_driver/session_call.h"

#include <chrono>
#include <deque>
#include <string>
#include <utility>

#include "absl/time/time.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace vramgate {

void SessionEventQueue::Push(SessionEvent event) {
  {
    MutexLock lock(mutex_);
    events_.push_back(std::move(event));
  }
  filled_.notify_one();
}

std::deque<SessionEvent> SessionEventQueue::Take(absl::Duration timeout) {
  const auto until = std::chrono::steady_clock::now() + absl::ToChronoNanoseconds(timeout);
  MutexLock lock(mutex_);
  while (events_.empty()) {
    if (filled_.wait_until(mutex_, until) == std::cv_status::timeout) break;
  }
  return std::exchange(events_, {});
}

SessionCall::SessionCall(v1::AdmissionService::StubInterface& stub, v1::AdmitRequest admit, int64_t index,
                         const Clock& clock, SessionEventQueue& events)
    : index_(index), clock_(clock), events_(events), stub_(stub) {
  *request_.mutable_admit() = std::move(admit);
}

void SessionCall::Start() {
  stub_.async()->Session(&context_, this);
  AddHold();  // Finish() comes from outside of the reactions
  StartRead(&response_);
  StartWrite(&request_);
  StartCall();
}

void SessionCall::Finish() {
  {
    MutexLock lock(mutex_);
    finished_ = true;
  }
  CloseIfDue();
}

void SessionCall::CloseIfDue() {
  {
    MutexLock lock(mutex_);
    if (!written_ || !finished_ || ended_ || closed_) return;
    closed_ = true;
  }
  StartWritesDone();
  RemoveHold();
}

void SessionCall::OnWriteDone(bool ok) {
  if (!ok) return;  // the stream has ended: OnReadDone hears of it too
  {
    MutexLock lock(mutex_);
    written_ = true;
  }
  CloseIfDue();
}

void SessionCall::OnReadDone(bool ok) {
  if (!ok) {
    bool drop = false;
    {
      MutexLock lock(mutex_);
      ended_ = true;
      drop = !closed_;
    }
    if (drop) RemoveHold();
    return;
  }
  switch (response_.msg_case()) {
    case v1::SessionResponse::kQueued:
      Push(SessionEvent::Kind::kQueued);
      break;
    case v1::SessionResponse::kGranted:
      Push(SessionEvent::Kind::kGranted);
      break;
    case v1::SessionResponse::kRevoke:
      Push(SessionEvent::Kind::kRevoked);
      break;
    case v1::SessionResponse::kExtended:
    case v1::SessionResponse::MSG_NOT_SET:
      break;  // never asked for
  }
  StartRead(&response_);
}

void SessionCall::OnDone(const grpc::Status& status) {
  Push(SessionEvent::Kind::kDone, status);
}

void SessionCall::Push(SessionEvent::Kind kind, grpc::Status status) {
  events_.Push({kind, index_, clock_.Now(), std::move(status)});
}

std::string ReasonOf(const grpc::Status& status) {
  google::rpc::Status details;
  if (status.ok() || !details.ParseFromString(status.error_details())) return "";
  for (const google::protobuf::Any& detail : details.details()) {
    google::rpc::ErrorInfo info;
    if (detail.UnpackTo(&info)) return info.reason();
  }
  return "";
}

}  // namespace vramgate
