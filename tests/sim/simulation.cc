#include "tests/sim/simulation.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace vramgate::sim {

Simulation::Simulation(uint64_t seed, Sabotage sabotage)
    : rng_(seed * 2 + 1), workload_(seed), conformance_(workload_.config(), std::move(sabotage)) {
  now_ = {rng_.Pick<int64_t>(1, 1'000'000'000, int64_t{1} << 55)};  // just booted, or a year ago
  events_.At(now_, {EventKind::kArrival});
  events_.At(now_, {EventKind::kMischief});
}

std::vector<std::string> Simulation::Run(int64_t operations) {
  while (operations_ < operations && !Failed()) {
    // Little happens once it drains: a while of it, then the end.
    if (conformance_.gate().draining()) operations = std::min(operations, drained_at_ + 200);
    const auto [when, event] = events_.Pop();
    const bool late = rng_.OneIn(20);
    CatchUp(std::max(when, now_), late);
    if (Failed()) break;
    switch (event.kind) {
      case EventKind::kArrival:
        Arrive(now_);
        break;
      case EventKind::kCaller:
        Ring(event.caller, now_);
        break;
      case EventKind::kMischief:
        Mischief(now_);
        break;
    }
  }
  if (!Failed()) Settle();
  std::vector<std::string> findings = conformance_.findings();
  for (std::string& text : findings) text = absl::StrCat("operation ", operations_, ": ", text);
  return findings;
}

// Time goes on to `now`: timers ring on the way, unless the host was late.
void Simulation::CatchUp(Instant now, bool late) {
  while (!Failed() && !late && conformance_.gate().NextTimer() < now) {
    now_ = std::max(now_, conformance_.gate().NextTimer());
    Apply(Op::Of(Op::Kind::kAdvance, now_), kNobody);
  }
  now_ = now;
  if (conformance_.gate().NextTimer() <= now_ && !Failed()) Apply(Op::Of(Op::Kind::kAdvance, now_), kNobody);
}

void Simulation::Arrive(Instant now) {
  const auto manner = static_cast<SimCaller::Manner>(rng_.OneIn(2) ? 0 : rng_.Between(0, SimCaller::kManners - 1));
  callers_.emplace_back(workload_.NextAdmit(now), manner, rng_.Next());
  scheduled_.push_back(kNever);
  Ring(callers_.size() - 1, now);
  events_.At(now + workload_.NextGap(), {EventKind::kArrival});
}

void Simulation::Schedule(size_t caller) {
  const Instant alarm = callers_[caller].next_alarm();
  if (alarm == kNever || alarm >= scheduled_[caller]) return;
  scheduled_[caller] = alarm;
  events_.At(alarm, {EventKind::kCaller, caller});
}

void Simulation::Ring(size_t caller, Instant now) {
  scheduled_[caller] = kNever;
  if (callers_[caller].next_alarm() > now) return Schedule(caller);  // it was put off
  std::vector<Op> ops;
  callers_[caller].Alarm(now, &ops);
  for (const Op& op : ops) {
    if (!Failed()) Apply(op, caller);
  }
  Schedule(caller);
}

void Simulation::Apply(const Op& op, size_t caller) {
  ++operations_;
  ++kinds_[op.kind];
  if (op.kind == Op::Kind::kDrain) drained_at_ = std::min(drained_at_, operations_);
  OpResult result;
  const Effects& effects = conformance_.Apply(op, &result);
  if (caller != kNobody && (op.kind == Op::Kind::kAdmit || op.kind == Op::Kind::kReattach)) {
    if (op.kind == Op::Kind::kAdmit || result.code != 0) callers_[caller].Admitted(result);
    of_lease_[{result.lease.id.value, result.lease.attachment}] = caller;
    known_.push_back(result.lease);
    if (known_.size() > 60) known_.pop_front();
  }
  for (const Decision& decision : effects.decisions) {
    ++outcomes_[decision.outcome];
    const auto it = of_lease_.find({decision.lease.id.value, decision.lease.attachment});
    if (it == of_lease_.end() || decision.lease.id.value == 0) continue;
    const size_t whose = it->second;
    // A caller that asked twice has two attachments; the older one's news is not the newer one's.
    if (callers_[whose].lease().attachment == decision.lease.attachment) callers_[whose].Told(decision, now_);
    if (whose != caller) Schedule(whose);
    if (decision.kind == Decision::Kind::kEnd) of_lease_.erase(it);
  }
}

// What no caller does on purpose: devices that shrink or go silent, operators, confused and hostile clients.
void Simulation::Mischief(Instant now) {
  events_.At(now + rng_.Between(absl::Milliseconds(1), absl::Milliseconds(600)), {EventKind::kMischief});
  const LeaseRef lease = known_.empty() ? LeaseRef{{rng_.Next()}, 1} : known_[rng_.Next() % known_.size()];
  const uint32_t caller = static_cast<uint32_t>(rng_.Between(1, 3));
  Op op = Op::Of(Op::Kind::kAdvance, now, lease, caller);
  op.grace = rng_.Between(absl::ZeroDuration(), absl::Seconds(3));
  op.end = rng_.Pick(Gate::EndKind::kCompleted, Gate::EndKind::kFailed, Gate::EndKind::kClientGone);
  switch (rng_.Between(0, 12)) {
    case 0:
    case 1:
    case 2:
      op = workload_.NextReading(now);
      break;
    case 3:
      op.kind = Op::Kind::kRevoke;
      break;
    case 4:
      op.kind = Op::Kind::kRevokeAck;
      break;
    case 5:
      op.kind = Op::Kind::kRenew;
      break;
    case 6:
      op.kind = Op::Kind::kRelease;
      break;
    case 7:
      op.kind = Op::Kind::kEnd;
      break;
    case 8:
      op.kind = Op::Kind::kCancel;
      break;
    case 9:
      op.kind = Op::Kind::kReattach;
      break;
    case 10:
      op.kind = Op::Kind::kProgress;
      for (RankCost& cost : op.used)
        cost = {rng_.Pick<int64_t>(0, 3, 30, INT64_MAX), rng_.Pick<int64_t>(0, 1, INT64_MAX)};
      break;
    case 11:  // the newest request again: the same key, another caller or content
      if (callers_.empty()) return;
      op = workload_.NextAdmit(now);
      op.request_id = absl::StrCat("r", rng_.Between(0, static_cast<int64_t>(callers_.size())));
      break;
    case 12:
      op.kind = rng_.OneIn(40) ? Op::Kind::kDrain : Op::Kind::kAdvance;
      break;
  }
  Apply(op, kNobody);
}

// Faults stop: devices are well, streams end, clocks run. Everything must go.
void Simulation::Settle() {
  for (size_t d = 0; d < workload_.config().devices.size() && !Failed(); ++d) {
    Apply(workload_.GoodReading(now_, d), kNobody);
  }
  if (rng_.OneIn(2) && !Failed()) Apply(Op::Of(Op::Kind::kDrain, now_), kNobody);
  while (!Failed()) {
    LeaseRef stream;
    const Gate& gate = conformance_.gate();
    for (const Lease* l = gate.FirstInUse(0); l != nullptr; l = gate.FirstInUse(LeaseTable::Slot(l->id) + 1)) {
      if (l->state == LeaseState::kHeld && l->stream) stream = l->ref();
    }
    if (stream.id.value != 0) {
      Apply(Op::End(now_, stream, rng_.Pick(Gate::EndKind::kCompleted, Gate::EndKind::kClientGone)), kNobody);
    } else if (gate.NextTimer() != kNever) {
      now_ = std::max(now_, gate.NextTimer());
      Apply(Op::Of(Op::Kind::kAdvance, now_), kNobody);
    } else {
      break;
    }
  }
  if (!Failed()) conformance_.CheckSettled();
}

}  // namespace vramgate::sim
