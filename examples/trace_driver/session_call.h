// One request's Session stream, on gRPC's callback API: sends `admit`, says what comes back, half-closes when told.
//
//   SessionCall call(*stub, request, index, events);
//   call.Start();
//   ...                  // events: kQueued, kGranted, kRevoked, and last kDone
//   call.Finish();       // the engine is done: half-close, which frees the bytes
//
// Used by the Driver. Thread rule: its methods are called from one thread; gRPC's threads only push events. Lifetime
// rule: it must live until its kDone event was taken; stub and queue outlive it.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <string>

#include <grpcpp/grpcpp.h>
#include "absl/base/thread_annotations.h"
#include "admission/clock.h"
#include "admission/mutex.h"
#include "vramgate/v1/admission.grpc.pb.h"

namespace vramgate {

struct SessionEvent {
  enum class Kind : uint8_t { kQueued, kGranted, kRevoked, kDone };
  Kind kind = Kind::kDone;
  int64_t call = 0;     // the index that the call was made with
  Instant at;           // when it was seen
  grpc::Status status;  // kDone
};

// From gRPC's threads to the driver's. Bounded by what calls may send: a handful of events each.
class SessionEventQueue {
 public:
  void Push(SessionEvent event);
  // Takes all there are; waits for the first, but no longer than `timeout`.
  std::deque<SessionEvent> Take(absl::Duration timeout);

 private:
  Mutex mutex_;
  CondVar filled_;
  std::deque<SessionEvent> events_ ABSL_GUARDED_BY(mutex_);
};

class SessionCall final : public grpc::ClientBidiReactor<v1::SessionRequest, v1::SessionResponse> {
 public:
  SessionCall(v1::AdmissionService::StubInterface& stub, v1::AdmitRequest admit, int64_t index, const Clock& clock,
              SessionEventQueue& events);

  void Start();
  // Half-closes: the request is complete. Again, or after the stream has ended by itself: nothing.
  void Finish();
  // Breaks the stream off: the bytes linger, as those of a client that vanished.
  void Cancel() { context_.TryCancel(); }

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnDone(const grpc::Status& status) override;

 private:
  void Push(SessionEvent::Kind kind, grpc::Status status = grpc::Status::OK);
  // Half-closes if it is time to. REQUIRES: the lock is not held.
  void CloseIfDue();

  const int64_t index_;
  const Clock& clock_;
  SessionEventQueue& events_;
  v1::AdmissionService::StubInterface& stub_;
  grpc::ClientContext context_;
  v1::SessionRequest request_;
  v1::SessionResponse response_;

  Mutex mutex_;
  bool written_ ABSL_GUARDED_BY(mutex_) = false;   // the first message has left
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;  // Finish() was called
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;     // nothing more to read; the hold is gone
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;    // half-closed; who did it drops the hold
};

// ErrorInfo.reason of a status that vramgate gave; "" where there is none: OK, or a transport's error.
std::string ReasonOf(const grpc::Status& status);

}  // namespace vramgate
