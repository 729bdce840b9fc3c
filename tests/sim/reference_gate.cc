#include "tests/sim/reference_gate.h"

#include <algorithm>

namespace vramgate::sim {

ReferenceGate::ReferenceGate(const GateConfig& config, const Flaws& flaws)
    : config_(config), readings_(config.devices.size()), fixed_(config.devices.size()), flaws_(flaws) {
  for (size_t d = 0; d < config.devices.size(); ++d) {
    readings_[d].capacity_bytes = config.devices[d].capacity_bytes;
    readings_[d].ceiling_bytes = config.devices[d].ceiling_bytes;
  }
  for (size_t m = 0; m < config.models.size(); ++m) {
    for (const InstanceSpec& spec : config.models[m].instances) {
      copies_.push_back({static_cast<int>(m), spec});
      for (int d : spec.devices) fixed_[static_cast<size_t>(d)] += spec.fixed_bytes + spec.pool_bytes.value_or(0);
    }
  }
  for (const TenantSpec& tenant : config.tenants) tenants_.push_back(tenant.name);
  MakeIslands();
}

OpResult ReferenceGate::Apply(const Op& op, std::vector<Decision>* out) {
  std::vector<std::vector<int64_t>> before;
  for (int island = 0; island < islands_; ++island) before.push_back(Scene(island));
  const OpResult result = Do(op, out);
  // Time alone is no reason to look again: who has waited so long that nobody may pass, or has risen, is seen with the
  // next change.
  for (int island = 0; island < islands_; ++island) {
    if (Scene(island) != before[static_cast<size_t>(island)]) Dispatch(island, op.now, out);
  }
  return result;
}

// Everything but time that says who of an island can go next.
std::vector<int64_t> ReferenceGate::Scene(int island) {
  std::vector<int64_t> scene;
  for (const Copy& copy : copies_) {
    if (island_of_[static_cast<size_t>(copy.model)] != island) continue;
    for (int d : copy.spec.devices) {
      scene.push_back(readings_[static_cast<size_t>(d)].stale);
      scene.push_back(readings_[static_cast<size_t>(d)].capacity_bytes);
    }
  }
  for (const Lease& lease : leases_) {
    if (IslandOf(lease) != island) continue;
    if (lease.state == State::kWaiting) scene.push_back(static_cast<int64_t>(lease.id.value));
    for (int64_t bytes : lease.held) {
      if (bytes > 0) scene.push_back(bytes);
    }
    if (lease.used != RankCost()) scene.push_back(lease.used.kv_bytes + lease.used.activation_bytes);
  }
  return scene;
}

OpResult ReferenceGate::Do(const Op& op, Out out) {
  OpResult result;
  Lease* lease = Find(op.lease.id);
  const bool current = lease != nullptr && lease->attachment == op.lease.attachment;
  const bool callers = lease != nullptr && lease->admit.request.caller == op.caller;
  switch (op.kind) {
    case Op::Kind::kAdmit:
      result = Admit(op, out);
      break;
    case Op::Kind::kReattach:
      if (!callers || (lease->state != State::kHeld && lease->state != State::kLingering)) break;
      TellFormer(*lease, op.now, out);
      ++lease->attachment;
      lease->stream = true;
      Hold(*lease, op.now);
      Say(*lease, Decision::Kind::kAnswer, Outcome::kGranted, op.now, out);
      result = {.lease = {lease->id, lease->attachment}, .code = 1};
      break;
    case Op::Kind::kCancel:
      if (current && (lease->state == State::kWaiting || lease->state == State::kHeld)) Leave(*lease, op.now, out);
      break;
    case Op::Kind::kEnd:
      if (current && lease->state != State::kPlaceKept) End(*lease, op.end, op.now, out);
      break;
    case Op::Kind::kRelease:
      result.code = callers && End(*lease, op.end, op.now, out);
      break;
    case Op::Kind::kRenew:
      result.code = Renew(callers ? lease : nullptr, op.now);
      break;
    case Op::Kind::kProgress:
      if (lease != nullptr && lease->state == State::kHeld) Progress(*lease, op.used, op.now);
      break;
    case Op::Kind::kRevoke:
      result.code = Revoke(lease, op.grace, op.now, out);
      break;
    case Op::Kind::kRevokeAck:
      if (lease != nullptr && lease->revoking) Gone(*lease, Outcome::kRevoked, op.now, out);
      break;
    case Op::Kind::kReading:
      readings_[Index(op.device)] = op.reading;
      break;
    case Op::Kind::kAdvance:
      Advance(op.now, out);
      break;
    case Op::Kind::kDrain:
      Drain(op.now, out);
      break;
  }
  return result;
}

OpResult ReferenceGate::Refuse(Outcome outcome, const Op& op, Out out) const {
  out->push_back({.kind = Decision::Kind::kAnswer,
                  .outcome = outcome,
                  .model = op.request.model,
                  .priority = op.request.priority});
  return {};
}

OpResult ReferenceGate::Admit(const Op& op, Out out) {
  for (Lease& lease : leases_) {
    const bool same_key = !op.request_id.empty() && lease.admit.request_id == op.request_id &&
                          lease.admit.tenant == op.tenant && lease.admit.request.caller == op.request.caller;
    if (same_key) return Join(lease, op, out);
  }
  if (draining_) return Refuse(Outcome::kRejectedDraining, op, out);
  if (!FitsEver(op)) return Refuse(Outcome::kRejectedNeverFits, op, out);
  if (static_cast<int64_t>(leases_.size()) >= config_.leases.max) return Refuse(Outcome::kRejectedQueueFull, op, out);
  Lease& lease = leases_.emplace_back();
  lease.id = {++last_id_};
  lease.admit = op;
  lease.arrived = op.now;
  lease.sequence = ++last_sequence_;
  return TryOrWait(lease, op, out);
}

OpResult ReferenceGate::Join(Lease& lease, const Op& op, Out out) {
  const Request& asked = lease.admit.request;
  const bool same = asked.model == op.request.model && asked.instance == op.request.instance &&
                    asked.priority == op.request.priority && asked.costs == op.request.costs;
  if (!same) return Refuse(Outcome::kRejectedInvalidRequest, op, out);
  if (lease.state == State::kPlaceKept) {
    if (draining_) return Refuse(Outcome::kRejectedDraining, op, out);
    return TryOrWait(lease, op, out);
  }
  TellFormer(lease, op.now, out);
  Attach(lease, op, op.now);
  const LeaseRef ref{lease.id, lease.attachment};
  if (lease.state == State::kWaiting) {
    if (op.request.max_wait > absl::ZeroDuration()) return {.lease = ref, .waiting = true};
    Outcome why = WhyInVain(lease);
    if (why == Outcome::kRejectedQueueTimeout) why = Outcome::kRejectedBudgetExhausted;
    RefuseWaiter(lease, why, false, op.now, out);
  } else {
    Hold(lease, op.now);
    Say(lease, Decision::Kind::kAnswer, Outcome::kGranted, op.now, out);
  }
  return {.lease = ref};
}

// The newest caller is the lease's caller, and says how long.
void ReferenceGate::Attach(Lease& lease, const Op& op, Instant now) {
  ++lease.attachment;
  lease.stream = op.request.stream;
  lease.ttl = op.request.ttl > absl::ZeroDuration() ? op.request.ttl : config_.leases.ttl;
  lease.drain = std::max(op.request.drain, config_.leases.abort_linger);
  if (lease.state != State::kWaiting) return;
  const Instant wait_end = now + std::min(op.request.max_wait, config_.queue.max_wait);
  lease.deadline_first = op.request.deadline < wait_end;
  SetTimer(lease, std::min(op.request.deadline, wait_end));
}

OpResult ReferenceGate::TryOrWait(Lease& lease, const Op& op, Out out) {
  const bool had_place = lease.state == State::kPlaceKept;
  const Instant place_ends = lease.timer;
  Lift(lease);
  lease.state = State::kWaiting;
  // One that does not wait has no claim to go before those who do.
  absl::Duration wait = config_.queue.max_wait;
  if (op.request.max_wait > absl::ZeroDuration()) wait = std::min(wait, op.request.max_wait);
  lease.wait_end = std::min(op.request.deadline, lease.arrived + wait);
  Attach(lease, op, op.now);
  const LeaseRef ref{lease.id, lease.attachment};
  Dispatch(IslandOf(lease), op.now, out);
  if (lease.state != State::kWaiting) return {.lease = ref};

  int64_t requests = 0;
  int64_t tokens = 0;
  for (const Lease& other : leases_) {
    if (other.state != State::kWaiting) continue;
    ++requests;
    tokens += other.admit.request.tokens;
  }
  const Outcome why = WhyInVain(lease);
  if (why == Outcome::kRejectedTelemetryStale) {
    RefuseWaiter(lease, why, false, op.now, out);
  } else if (op.request.max_wait <= absl::ZeroDuration() || config_.queue.max_wait <= absl::ZeroDuration()) {
    const bool timeout = why == Outcome::kRejectedQueueTimeout;
    RefuseWaiter(lease, timeout ? Outcome::kRejectedBudgetExhausted : why, false, op.now, out);
  } else if (requests > config_.queue.max_requests || tokens > config_.queue.max_tokens) {
    RefuseWaiter(lease, Outcome::kRejectedQueueFull, had_place, op.now, out);
    if (had_place) SetTimer(lease, place_ends);
  } else {
    return {.lease = ref, .waiting = true};
  }
  return {.lease = ref};
}

bool ReferenceGate::FitsEver(const Op& op) {
  for (int i : Alternatives(op)) {
    const InstanceSpec& spec = copies_[static_cast<size_t>(i)].spec;
    const Bytes charges = ChargesOf(i, op.request.costs[static_cast<size_t>(spec.price_class)], op.tenant);
    bool fits = true;
    for (size_t a = 0; a < charges.size(); ++a) {
      const int64_t ceiling =
          a < readings_.size() ? readings_[a].ceiling_bytes - fixed_[a] : Capacity(static_cast<int>(a));
      if (charges[a] > 0 && charges[a] > ceiling) fits = false;
    }
    if (fits) return true;
  }
  return false;
}

Outcome ReferenceGate::WhyInVain(const Lease& lease) {
  Lack lack;
  (void)Pick(lease, RoomNow(), &lack);
  if (lack.stale) return Outcome::kRejectedTelemetryStale;
  if (lack.tenant && !lack.devices) return Outcome::kRejectedTenantQuota;
  return Outcome::kRejectedQueueTimeout;
}

}  // namespace vramgate::sim
