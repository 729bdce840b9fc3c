#include "admission/server/session.h"

#include <utility>

#include "admission/check.h"

namespace vramgate {

Session::Session(Controller& controller, SessionStream* stream, Shape shape)
    : controller_(controller), shape_(shape), stream_(stream) {}

// Never under mutex_: the Controller delivers other Sessions' decisions on this thread.
void Session::Do(const Todo& todo) {
  switch (todo.what) {
    case Todo::What::kNothing:
      return;
    case Todo::What::kCancel:
      return controller_.Cancel(todo.lease);
    case Todo::What::kEnd:
      return controller_.End(todo.lease, todo.kind, todo.output_tokens);
    case Todo::What::kLost:
      return controller_.HolderLost(todo.lease, todo.connection);
  }
}

// False: the stream is over already, and nothing is to be asked.
bool Session::Begin() {
  MutexLock lock(mutex_);
  if (state_ == State::kEnded) return false;
  CHECK(state_ == State::kNew, "Session: admitted twice");
  state_ = State::kAdmitting;
  return true;
}

void Session::Admit(const Request& request) {
  if (!Begin()) return;
  const Controller::Answer answer = controller_.Admit(request, shared_from_this());
  Todo todo;
  {
    MutexLock lock(mutex_);
    lease_ = answer.lease;
    if (answer.decided) {
      todo = TakeAnswer(answer.decision);
    } else if (state_ == State::kAdmitting) {  // else the answer has overtaken us
      state_ = State::kWaiting;
      if (gone_) {
        todo = Leave(Gate::EndKind::kClientGone);
      } else if (shape_ == Shape::kStream || shape_ == Shape::kProxy) {
        queued_ = SessionMessage{.kind = SessionMessage::Kind::kQueued, .lease = lease_, .position = answer.position};
        told_ = answer.position;
      }
    }
    Pump();
  }
  Do(todo);
}

bool Session::Reattach(LeaseId lease, uint32_t caller) {
  if (!Begin()) return false;
  Controller::Answer answer;
  const bool found = controller_.Reattach(lease, caller, shared_from_this(), &answer);
  Todo todo;
  {
    MutexLock lock(mutex_);
    if (found) {
      lease_ = answer.lease;
      todo = TakeAnswer(answer.decision);
    } else {
      state_ = State::kNew;
      if (gone_) todo = Leave(Gate::EndKind::kClientGone);
    }
    Pump();
  }
  Do(todo);
  return found;
}

// The answer to Admit, from wherever it came.
Session::Todo Session::TakeAnswer(const Decision& decision) {
  if (state_ == State::kEnded) return {};  // a waiter that left: its Cancel ends whatever it has got
  if (decision.outcome != Outcome::kGranted) {
    state_ = State::kEnded;
    FinishLater({.kind = SessionFinish::Kind::kRefused, .decision = decision});
    return {};
  }
  lease_ = decision.lease;
  if (gone_) {  // nobody is there to use it
    state_ = State::kEnded;
    FinishLater({.kind = SessionFinish::Kind::kCancelled});
    return {Todo::What::kEnd, lease_, Gate::EndKind::kClientGone};
  }
  state_ = State::kHeld;
  queued_.reset();
  if (shape_ == Shape::kUnary) {
    state_ = State::kEnded;  // the lease goes on without us
    FinishLater({.kind = SessionFinish::Kind::kOk, .decision = decision});
  } else {
    granted_ = SessionMessage{.kind = SessionMessage::Kind::kGranted, .lease = lease_, .decision = decision};
    if (early_) TakeStop(*early_);
  }
  return {};
}

// What the gate, or another's hand, did to the lease that is held.
void Session::TakeStop(const Decision& decision) {
  if (decision.kind == Decision::Kind::kExtended) {
    if (shape_ == Shape::kStream)
      extended_ = SessionMessage{.kind = SessionMessage::Kind::kExtended, .lease = lease_, .decision = decision};
    return;
  }
  if (decision.kind == Decision::Kind::kStop && decision.outcome == Outcome::kRevoked && !decision.grace_over) {
    revoke_ = SessionMessage{.kind = SessionMessage::Kind::kRevoke, .lease = lease_, .decision = decision};
    return;
  }
  // Taken over, out of grace, or ended: nothing is ours to end.
  state_ = State::kEnded;
  const bool completed = decision.outcome == Outcome::kCompleted;
  FinishLater({.kind = completed ? SessionFinish::Kind::kOk : SessionFinish::Kind::kRefused, .decision = decision});
}

// The caller's side is over, in whichever state.
Session::Todo Session::Leave(Gate::EndKind kind) {
  const State was = std::exchange(state_, State::kEnded);
  switch (was) {
    case State::kNew:
      FinishLater({.kind = SessionFinish::Kind::kCancelled});
      return {};
    case State::kAdmitting:
      gone_ = true;
      state_ = State::kAdmitting;  // the answer is on its way
      return {};
    case State::kWaiting:
      FinishLater({.kind = SessionFinish::Kind::kCancelled});
      return {Todo::What::kCancel, lease_};
    case State::kHeld:
      FinishLater({.kind = SessionFinish::Kind::kOk});
      return {Todo::What::kEnd, lease_, kind};
    case State::kEnded:
      return {};
  }
  return {};
}

void Session::End(Gate::EndKind kind, int64_t output_tokens) {
  Todo todo;
  {
    MutexLock lock(mutex_);
    todo = Leave(kind);
    todo.output_tokens = output_tokens;
    Pump();
  }
  Do(todo);
}

void Session::Cancelled() {
  End(Gate::EndKind::kClientGone);
}

void Session::HalfClose() {
  Todo todo;
  {
    MutexLock lock(mutex_);
    if (state_ != State::kHeld) {
      todo = Leave(Gate::EndKind::kClientGone);
    } else if (!half_closed_) {
      // A broken connection reads like a half-close at first. Which of the two it is shows when the status is sent.
      half_closed_ = true;
      FinishLater({.kind = SessionFinish::Kind::kOk});
    }
    Pump();
  }
  Do(todo);
}

void Session::Refuse(Refusal refusal) {
  Todo todo;
  {
    MutexLock lock(mutex_);
    if (state_ != State::kEnded) FinishLater({.kind = SessionFinish::Kind::kBroken, .refusal = std::move(refusal)});
    todo = Leave(Gate::EndKind::kClientGone);
    Pump();
  }
  Do(todo);
}

void Session::Extend(uint32_t caller, int64_t tokens) {
  LeaseRef lease;
  {
    MutexLock lock(mutex_);
    if (state_ != State::kHeld) return;
    lease = lease_;
  }
  controller_.Extend(lease.id, caller, tokens);
}

void Session::Progress(uint32_t caller, const Costs& used, int64_t output_tokens) {
  LeaseRef lease;
  {
    MutexLock lock(mutex_);
    if (state_ != State::kHeld) return;
    lease = lease_;
  }
  controller_.Progress(lease.id, caller, used, output_tokens);
}

void Session::RevokeAck(uint32_t caller) {
  LeaseRef lease;
  {
    MutexLock lock(mutex_);
    if (state_ != State::kHeld) return;
    lease = lease_;
  }
  controller_.RevokeAck(lease.id, caller);
}

void Session::StreamClosed(bool cancelled) {
  Todo todo;
  {
    MutexLock lock(mutex_);
    todo = Leave(half_closed_ && !cancelled ? Gate::EndKind::kCompleted : Gate::EndKind::kClientGone);
    stream_ = nullptr;
  }
  Do(todo);
}

void Session::ProcessDied(uint64_t connection) {
  Todo todo;
  {
    MutexLock lock(mutex_);
    todo = Leave(Gate::EndKind::kClientGone);
    if (todo.what != Todo::What::kNothing) todo.what = Todo::What::kLost;
    todo.connection = connection;
    stream_ = nullptr;
  }
  Do(todo);
}

void Session::WriteDone() {
  MutexLock lock(mutex_);
  writing_ = false;
  Pump();
}

LeaseRef Session::lease() const {
  MutexLock lock(mutex_);
  return lease_;
}

bool Session::held() const {
  MutexLock lock(mutex_);
  return state_ == State::kHeld;
}

bool Session::admitted() const {
  MutexLock lock(mutex_);
  return state_ != State::kNew;
}

void Session::OnDecision(const Decision& decision) {
  Todo todo;
  {
    MutexLock lock(mutex_);
    if (decision.kind == Decision::Kind::kAnswer) {
      todo = TakeAnswer(decision);
    } else if (state_ == State::kHeld) {
      TakeStop(decision);
    } else if (state_ != State::kEnded && decision.kind != Decision::Kind::kExtended) {
      early_ = decision;  // two threads deliver: the grant is still to come, and goes first
    }
    Pump();
  }
  Do(todo);
}

void Session::OnQueued(const LeaseRef& lease, const QueuePosition& position) {
  MutexLock lock(mutex_);
  if (state_ != State::kWaiting || shape_ != Shape::kStream || lease.attachment != lease_.attachment) return;
  if (told_ && told_->position == position.position && told_->ahead_total == position.ahead_total) return;
  told_ = position;
  queued_ = SessionMessage{.kind = SessionMessage::Kind::kQueued, .lease = lease_, .position = position};
  Pump();
}

void Session::FinishLater(SessionFinish finish) {
  if (!finish_) finish_ = std::move(finish);
}

// Starts the next thing that the stream is owed: messages in the order of a lease's life, then the end.
void Session::Pump() {
  if (stream_ == nullptr || writing_ || finished_) return;
  for (auto* next : {&queued_, &granted_, &extended_, &revoke_}) {
    if (!next->has_value()) continue;
    writing_ = true;
    const SessionMessage message = *std::exchange(*next, std::nullopt);
    stream_->Write(message);
    return;
  }
  if (finish_) {
    finished_ = true;
    stream_->Finish(*finish_);
  }
}

}  // namespace vramgate
