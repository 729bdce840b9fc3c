#include "tests/sim/sim_caller.h"

#include <algorithm>

namespace vramgate::sim {

SimCaller::SimCaller(Op admit, Manner manner, uint64_t seed)
    : admit_(std::move(admit)),
      manner_(manner),
      rng_(seed),
      engine_(
          admit_.request.costs, admit_.request.tokens,
          manner == Manner::kLiar ? admit_.request.tokens * rng_.Between(2, 4) : rng_.Between(1, admit_.request.tokens),
          rng_.Between(absl::Milliseconds(5), absl::Milliseconds(300))),
      alarm_(admit_.now) {}

void SimCaller::Ask(Instant now, std::vector<Op>* ops) {
  admit_.now = now;
  if (asked_ > 0 && admit_.request.deadline != kNever) admit_.request.deadline = now + absl::Seconds(2);
  ++asked_;
  ops->push_back(admit_);
}

void SimCaller::Admitted(const OpResult& result) {
  lease_ = result.lease;
  if (lease_.id.value == 0) {
    state_ = State::kDone;
    alarm_ = kNever;
  } else if (result.waiting) {
    state_ = State::kWaiting;
    alarm_ = kNever;
    if (manner_ == Manner::kImpatient || manner_ == Manner::kAsksTwice) {
      alarm_ = admit_.now + rng_.Between(absl::ZeroDuration(), absl::Seconds(2));
    }
  }
}

void SimCaller::Told(const Decision& decision, Instant now) {
  if (decision.kind == Decision::Kind::kEnd || decision.outcome == Outcome::kSuperseded) {
    state_ = State::kDone;
    alarm_ = kNever;
    return;
  }
  if (decision.kind == Decision::Kind::kStop) {
    // One in two stops at once; others let the grace run out.
    if (rng_.OneIn(2)) gives_up_ = now;
    if (state_ == State::kHolding) alarm_ = std::min(alarm_, now + absl::Milliseconds(1));
    return;
  }
  if (decision.outcome == Outcome::kGranted) {
    state_ = State::kHolding;
    engine_.Start(now);
    if (manner_ == Manner::kCrashes || manner_ == Manner::kImpatient || manner_ == Manner::kReattaches) {
      gives_up_ = now + rng_.Between(absl::ZeroDuration(), absl::Seconds(3));
    }
    alarm_ = std::min({now + rng_.Between(absl::ZeroDuration(), absl::Seconds(1)), engine_.Done(), gives_up_});
    return;
  }
  const bool again = manner_ == Manner::kRetries && decision.outcome == Outcome::kRejectedQueueTimeout && asked_ < 4;
  state_ = again ? State::kAsking : State::kDone;
  alarm_ = again ? now + rng_.Between(absl::ZeroDuration(), absl::Seconds(6)) : kNever;
}

void SimCaller::Alarm(Instant now, std::vector<Op>* ops) {
  alarm_ = kNever;
  switch (state_) {
    case State::kAsking:
      return Ask(now, ops);
    case State::kWaiting:
      if (manner_ == Manner::kImpatient) ops->push_back(Op::Of(Op::Kind::kCancel, now, lease_));
      if (manner_ == Manner::kAsksTwice && asked_ < 3) Ask(now, ops);
      return;
    case State::kHolding:
      return Holding(now, ops);
    case State::kLost:
      ops->push_back(Op::Of(Op::Kind::kReattach, now, lease_, admit_.request.caller));
      return;
    case State::kDone:
      return;
  }
}

void SimCaller::Holding(Instant now, std::vector<Op>* ops) {
  const uint32_t caller = admit_.request.caller;
  if (engine_.DoneAt(now)) return End(now, ops);
  if (now >= gives_up_) {
    gives_up_ = kNever;
    if (manner_ == Manner::kCrashes && !admit_.request.stream) return;  // nobody sees it: its TTL will tell
    if (manner_ == Manner::kPolite || manner_ == Manner::kLiar) {
      ops->push_back(Op::Of(Op::Kind::kRevokeAck, now, lease_));
      return;
    }
    ops->push_back(Op::End(now, lease_, Gate::EndKind::kClientGone));
    if (manner_ != Manner::kReattaches) return;
    state_ = State::kLost;
    alarm_ = now + rng_.Between(absl::ZeroDuration(), absl::Seconds(3));
    return;
  }
  if (manner_ == Manner::kAsksTwice && !misbehaved_) {
    misbehaved_ = true;
    return Ask(now, ops);
  }
  if (manner_ != Manner::kSilent) {
    ops->push_back(Op::Of(Op::Kind::kProgress, now, lease_));
    ops->back().used = engine_.UsedAt(now);
    if (!admit_.request.stream) ops->push_back(Op::Of(Op::Kind::kRenew, now, lease_, caller));
  }
  const absl::Duration longest = manner_ == Manner::kRenewsLate ? absl::Seconds(15) : absl::Seconds(1);
  alarm_ = std::min({now + rng_.Between(absl::Milliseconds(1), longest), std::max(engine_.Done(), now), gives_up_});
}

void SimCaller::End(Instant now, std::vector<Op>* ops) {
  const Gate::EndKind kind = rng_.OneIn(6) ? Gate::EndKind::kFailed : Gate::EndKind::kCompleted;
  const int times = manner_ == Manner::kReleasesTwice ? 2 : 1;
  for (int i = 0; i < times; ++i) {
    Op op = Op::End(now, lease_, kind);
    if (!admit_.request.stream) {
      op.kind = Op::Kind::kRelease;
      op.caller = admit_.request.caller;
    }
    ops->push_back(op);
  }
}

}  // namespace vramgate::sim
