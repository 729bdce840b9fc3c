// The Session: one caller's stream and its lease, as a state machine without gRPC. A grant, a cancellation, a takeover
// and the end of the stream may come from different threads at once; whichever order they take, the stream is finished
// exactly once, and a lease that was granted is ended exactly once, or left to whoever took it over.
//
//   NEW --Admit--> WAITING --granted--> HELD --End, stream gone, taken over--> ENDED
//
// Used by the Session, Admit and ext_proc reactors. A reactor implements SessionStream and forwards what its transport
// reports:
//
//   session->Admit(request);            // the answer comes as a Write or a Finish
//   session->End(EndKind::kCompleted);  // the caller says it is done
//   session->StreamClosed(cancelled);   // the transport is done; last call, `stream` is not touched afterwards
//
// Thread rule: every method from any thread. Lifetime rule: made by make_shared; `stream` lives until StreamClosed
// returns; the Controller outlives the Session.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "admission/decision.h"
#include "admission/gate/controller.h"
#include "admission/mutex.h"
#include "admission/server/refusal.h"
#include "admission/types.h"

namespace vramgate {

// What goes down a stream.
struct SessionMessage {
  enum class Kind : uint8_t { kQueued, kGranted, kExtended, kRevoke };
  Kind kind = Kind::kQueued;
  LeaseRef lease;
  QueuePosition position;  // kQueued
  Decision decision;       // kGranted, kExtended, kRevoke
};

// How a stream ends.
struct SessionFinish {
  enum class Kind : uint8_t {
    kOk,        // the lease is over as it should be; kUnary: `decision` is the grant
    kRefused,   // `decision` says why: a rejection, a revocation, a takeover, an end by another hand
    kBroken,    // `refusal` says why: the service refuses to go on
    kCancelled  // the caller left before there was an answer
  };
  Kind kind = Kind::kOk;
  Decision decision;
  Refusal refusal;
};

class SessionStream {
 public:
  virtual ~SessionStream() = default;
  // At most one Write is under way: the next comes after Session::WriteDone. Called under the Session's lock: must only
  // start it.
  virtual void Write(const SessionMessage& message) = 0;
  // Exactly once, with no Write under way, unless StreamClosed came first. Called under the Session's lock.
  virtual void Finish(const SessionFinish& finish) = 0;
};

class Session final : public Holder, public std::enable_shared_from_this<Session> {
 public:
  enum class Shape : uint8_t {
    kStream,      // the lease lives as long as the stream
    kUnary,       // the stream ends with the answer; the lease lives on by its TTL
    kProxy,       // as kStream, for a gateway's stream: hears once that it is queued, not where it stands
    kQuietProxy,  // ... and not even that
  };
  Session(Controller& controller, SessionStream* stream, Shape shape);

  // Does nothing where the stream is over already: its end may overtake its first message. REQUIRES: called once at
  // most. `request` is read during the call only.
  void Admit(const Request& request);
  // Takes up a lease that a broken stream held, instead of Admit. False: there is none; nothing happened.
  bool Reattach(LeaseId lease, uint32_t caller);
  // What the holder uses by now. Ignored unless held. `output_tokens` here and below: of each sequence; -1: not said.
  void Progress(uint32_t caller, const Costs& used, int64_t output_tokens = -1);
  // Asks for an extension: it comes as a Write. Ignored unless held.
  void Extend(uint32_t caller, int64_t tokens);
  // The engine has stopped after a revocation.
  void RevokeAck(uint32_t caller);
  // The holder's own end. While waiting: it no longer wants it.
  void End(Gate::EndKind kind, int64_t output_tokens = -1);
  // The caller sends no more. Whether it is done or gone is known when the stream is closed; the stream is finished
  // now.
  void HalfClose();
  // The transport says the caller is gone.
  void Cancelled();
  // The service refuses to go on (a malformed message): the stream finishes as kBroken; a lease, if any, lingers.
  void Refuse(Refusal refusal);
  void WriteDone();
  // The stream object is about to go. `cancelled`: the caller did not get the status. Call exactly once, last.
  void StreamClosed(bool cancelled);

  // Instead of StreamClosed, likewise last: the process behind `connection` died (Gate::HolderLost).
  void ProcessDied(uint64_t connection);

  // The lease, once there is one; id 0 before.
  LeaseRef lease() const;
  bool held() const;
  // Whether Admit or Reattach was called.
  bool admitted() const;

  void OnDecision(const Decision& decision) override;
  void OnQueued(const LeaseRef& lease, const QueuePosition& position) override;

 private:
  enum class State : uint8_t { kNew, kAdmitting, kWaiting, kHeld, kEnded };
  // What is to be asked of the Controller after the lock is gone (it may call other Sessions back).
  struct Todo {
    enum class What : uint8_t { kNothing, kCancel, kEnd, kLost };
    What what = What::kNothing;
    LeaseRef lease;
    Gate::EndKind kind = Gate::EndKind::kCompleted;
    int64_t output_tokens = -1;
    uint64_t connection = 0;  // kLost
  };

  bool Begin();
  void Do(const Todo& todo);
  Todo TakeAnswer(const Decision& decision) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void TakeStop(const Decision& decision) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Todo Leave(Gate::EndKind kind) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void FinishLater(SessionFinish finish) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Pump() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  Controller& controller_;
  const Shape shape_;
  mutable Mutex mutex_;
  SessionStream* stream_ ABSL_GUARDED_BY(mutex_);  // null: closed
  State state_ ABSL_GUARDED_BY(mutex_) = State::kNew;
  LeaseRef lease_ ABSL_GUARDED_BY(mutex_);
  bool gone_ ABSL_GUARDED_BY(mutex_) = false;         // the caller left while the gate was being asked
  bool half_closed_ ABSL_GUARDED_BY(mutex_) = false;  // the end is decided when the stream is closed
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
  std::optional<Decision> early_ ABSL_GUARDED_BY(mutex_);         // a stop that has overtaken the grant
  std::optional<SessionMessage> queued_ ABSL_GUARDED_BY(mutex_);  // the newest only
  std::optional<QueuePosition> told_ ABSL_GUARDED_BY(mutex_);
  std::optional<SessionMessage> granted_ ABSL_GUARDED_BY(mutex_);
  std::optional<SessionMessage> extended_ ABSL_GUARDED_BY(mutex_);  // the newest only
  std::optional<SessionMessage> revoke_ ABSL_GUARDED_BY(mutex_);
  std::optional<SessionFinish> finish_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace vramgate
