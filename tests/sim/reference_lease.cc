// A lease's life in the slow gate.
#include <algorithm>

#include "tests/sim/reference_gate.h"

namespace vramgate::sim {

ReferenceGate::Lease* ReferenceGate::Find(LeaseId id) {
  for (Lease& lease : leases_) {
    if (lease.id == id) return &lease;
  }
  return nullptr;
}

void ReferenceGate::Erase(const Lease& lease) {
  leases_.remove_if([&](const Lease& other) { return &other == &lease; });
}

void ReferenceGate::SetTimer(Lease& lease, Instant at) {
  lease.timer = at;
  lease.timer_sequence = ++last_sequence_;
}

void ReferenceGate::Say(const Lease& lease, Decision::Kind kind, Outcome outcome, Instant now, Out out) const {
  Decision d{
      .kind = kind, .outcome = outcome, .lease = {lease.id, lease.attachment}, .model = lease.admit.request.model};
  d.priority = lease.admit.request.priority;
  d.waited = (lease.state == State::kWaiting ? now : lease.granted) - lease.arrived;
  if (lease.instance >= 0) {
    d.instance = InstanceId{lease.instance};
    d.cost =
        lease.admit.request.costs[static_cast<size_t>(copies_[static_cast<size_t>(lease.instance)].spec.price_class)];
  }
  out->push_back(d);
}

void ReferenceGate::Grant(Lease& lease, int instance, Instant now, Out out) {
  lease.instance = instance;
  const auto price = static_cast<size_t>(copies_[static_cast<size_t>(instance)].spec.price_class);
  lease.held = ChargesOf(instance, lease.admit.request.costs[price], lease.admit.tenant);
  lease.granted = now;
  Charge(lease, now);
  Say(lease, Decision::Kind::kAnswer, Outcome::kGranted, now, out);
  Hold(lease, now);
}

void ReferenceGate::Hold(Lease& lease, Instant now) {
  lease.state = State::kHeld;
  if (lease.revoking) return;
  if (lease.stream) {
    lease.timer = kNever;
  } else {
    SetTimer(lease, now + (lease.confirmed ? lease.ttl : config_.leases.confirm_within));
  }
}

void ReferenceGate::TellFormer(const Lease& lease, Instant now, Out out) const {
  if (lease.state == State::kWaiting) Say(lease, Decision::Kind::kAnswer, Outcome::kSuperseded, now, out);
  if (lease.state == State::kHeld && lease.stream) Say(lease, Decision::Kind::kStop, Outcome::kSuperseded, now, out);
}

void ReferenceGate::RefuseWaiter(Lease& lease, Outcome outcome, bool keep_place, Instant now, Out out) {
  const int island = IslandOf(lease);
  Say(lease, Decision::Kind::kAnswer, outcome, now, out);
  if (keep_place) {
    lease.state = State::kPlaceKept;
    SetTimer(lease, now + config_.queue.rejoin_window);
  } else {
    Erase(lease);
  }
  Dispatch(island, now, out);
}

// The caller is gone, waiting or holding.
void ReferenceGate::Leave(Lease& lease, Instant now, Out out) {
  if (lease.state == State::kHeld) return Linger(lease, Outcome::kAborted, config_.leases.abort_linger, now, out);
  // The client's own deadline, which runs a little ahead of our copy of it, is why.
  const bool deadline = lease.deadline_first && lease.timer <= now + absl::Milliseconds(100);
  RefuseWaiter(lease, deadline ? Outcome::kDeadline : Outcome::kCancelled, false, now, out);
}

bool ReferenceGate::End(Lease& lease, Gate::EndKind kind, Instant now, Out out) {
  const bool gone = kind == Gate::EndKind::kClientGone;
  switch (lease.state) {
    case State::kWaiting:
      Leave(lease, now, out);
      break;
    case State::kPlaceKept:
      Erase(lease);
      break;
    case State::kHeld:
      if (gone) {
        Leave(lease, now, out);
      } else {
        Gone(lease, kind == Gate::EndKind::kCompleted ? Outcome::kCompleted : Outcome::kAborted, now, out);
      }
      break;
    case State::kLingering:
      if (!gone) Gone(lease, lease.ending, now, out);
      break;
  }
  return true;
}

void ReferenceGate::Linger(Lease& lease, Outcome ending, absl::Duration time, Instant now, Out out) {
  if (time <= absl::ZeroDuration()) return Gone(lease, ending, now, out);
  lease.state = State::kLingering;
  lease.ending = ending;
  SetTimer(lease, now + time);
}

void ReferenceGate::Gone(Lease& lease, Outcome ending, Instant now, Out out) {
  const int island = IslandOf(lease);
  Say(lease, Decision::Kind::kEnd, lease.revoking ? Outcome::kRevoked : ending, now, out);
  Correct(lease, now);
  Erase(lease);
  Dispatch(island, now, out);
}

int ReferenceGate::Renew(Lease* lease, Instant now) {
  if (lease == nullptr || (lease->state != State::kHeld && lease->state != State::kLingering)) {
    return static_cast<int>(Gate::Renewal::kLost);
  }
  if (lease->state == State::kLingering) lease->stream = false;
  lease->confirmed = true;
  Hold(*lease, now);
  return static_cast<int>(lease->revoking ? Gate::Renewal::kRevoked : Gate::Renewal::kKept);
}

bool ReferenceGate::Revoke(Lease* lease, absl::Duration grace, Instant now, Out out) {
  if (lease == nullptr) return false;
  switch (lease->state) {
    case State::kWaiting:
      RefuseWaiter(*lease, Outcome::kRevoked, false, now, out);
      break;
    case State::kPlaceKept:
      Erase(*lease);
      break;
    case State::kLingering:
      lease->revoking = true;
      break;
    case State::kHeld:
      lease->revoking = true;
      Say(*lease, Decision::Kind::kStop, Outcome::kRevoked, now, out);
      SetTimer(*lease, std::min(lease->timer, now + grace));
      break;
  }
  return true;
}

void ReferenceGate::Progress(Lease& lease, const Costs& used, Instant now) {
  constexpr int64_t kMostBelieved = int64_t{1} << 44;  // a report beyond it is a lie; what it closes is the same
  const RankCost& cost = used[static_cast<size_t>(copies_[static_cast<size_t>(lease.instance)].spec.price_class)];
  lease.used.kv_bytes = std::max(lease.used.kv_bytes, std::min(cost.kv_bytes, kMostBelieved));
  lease.used.activation_bytes = std::max(lease.used.activation_bytes, std::min(cost.activation_bytes, kMostBelieved));
  lease.over_sequence = ++last_sequence_;
  Recharge(lease, now);
}

// Charges the lease what it is over and what fits, account by account.
void ReferenceGate::Recharge(Lease& lease, Instant now) {
  Count(lease, now);
  const Bytes over = Over(lease);
  lease.held.resize(over.size());
  const Room room = RoomNow();
  for (size_t a = 0; a < over.size(); ++a) {
    if (over[a] <= room.free[a]) lease.held[a] += over[a];
  }
}

void ReferenceGate::Advance(Instant now, Out out) {
  for (;;) {
    Lease* due = nullptr;
    for (Lease& lease : leases_) {
      if (lease.timer > now) continue;
      if (due == nullptr || std::pair(lease.timer, lease.timer_sequence) < std::pair(due->timer, due->timer_sequence))
        due = &lease;
    }
    if (due == nullptr) return;
    switch (due->state) {
      case State::kPlaceKept:
        Erase(*due);
        break;
      case State::kLingering:
        Gone(*due, due->ending, now, out);
        break;
      case State::kHeld:
        if (due->revoking && due->stream) Say(*due, Decision::Kind::kStop, Outcome::kRevoked, now, out);
        Linger(*due, due->revoking ? Outcome::kRevoked : Outcome::kExpired, due->drain, now, out);
        break;
      case State::kWaiting: {
        const Outcome why = due->deadline_first ? Outcome::kDeadline : WhyInVain(*due);
        const bool keeps = why == Outcome::kRejectedQueueTimeout && !due->admit.request_id.empty() &&
                           config_.queue.rejoin_window > absl::ZeroDuration();
        RefuseWaiter(*due, why, keeps, now, out);
        break;
      }
    }
  }
}

void ReferenceGate::Drain(Instant now, Out out) {
  draining_ = true;
  for (auto it = leases_.begin(); it != leases_.end();) {
    Lease& lease = *it++;
    if (lease.state == State::kWaiting) RefuseWaiter(lease, Outcome::kRejectedDraining, false, now, out);
  }
}

ReferenceGate::Sums ReferenceGate::SumsNow() {
  const size_t accounts = config_.devices.size() + copies_.size() + tenants_.size();
  Sums sums{.reserved = Bytes(accounts), .lingering = Bytes(accounts), .overusers = std::vector<int32_t>(accounts)};
  for (const Lease& lease : leases_) {
    for (size_t a = 0; a < lease.held.size(); ++a) {
      sums.reserved[a] += lease.held[a];
      if (lease.state == State::kLingering) sums.lingering[a] += lease.held[a];
    }
    if (lease.used == RankCost()) continue;
    const Bytes over = Over(lease);
    for (size_t a = 0; a < over.size(); ++a) sums.overusers[a] += over[a] > 0;
  }
  return sums;
}

}  // namespace vramgate::sim
