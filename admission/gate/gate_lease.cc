// The Gate's second half: the life of a lease from its grant to its end.
#include <algorithm>

#include "admission/check.h"
#include "admission/gate/gate.h"

namespace vramgate {
void Gate::Say(const Lease& lease, Decision::Kind kind, Outcome outcome, Instant now, Effects& out) const {
  Decision decision{
      .kind = kind, .outcome = outcome, .lease = lease.ref(), .model = lease.model, .instance = lease.instance};
  decision.priority = lease.priority;
  decision.request_id = lease.log_id;
  decision.tenant.Assign(lease.tenant_name);
  decision.trace = lease.trace;
  decision.prompt_source = lease.prompt_source;
  decision.prompt_tokens = lease.prompt_tokens;
  decision.waited =
      (lease.state == LeaseState::kWaiting ? now : std::max(lease.granted, lease.arrived)) - lease.arrived;
  if (lease.instance != kAnyInstance) {
    decision.cost = lease.costs[static_cast<size_t>(fleet_.instance(lease.instance).price_class)];
    if (outlooks_[Index(lease.instance)] != nullptr) {
      decision.cost.kv_bytes = lease.reservation.charges().bytes(fleet_.instance(lease.instance).pool);
      decision.granted_tokens = GrantedTokens(lease);
      decision.revocable = lease.revocable;
    }
  }
  out.decisions.push_back(decision);
}

void Gate::Row(LedgerEvent event, const Lease* lease, AccountId id, int64_t delta, Instant now, Effects& out) const {
  if (!config_.ledger) return;
  const Account& account = budget_.account(id);
  out.rows.push_back(
      {now, lease == nullptr ? LeaseId{} : lease->id, id, event, delta, account.used_bytes(), account.capacity_bytes});
}

// One row for each account that the lease is charged to, with `sign` times its bytes.
void Gate::Rows(LedgerEvent event, const Lease& lease, int sign, Instant now, Effects& out) const {
  for (const Charge& charge : lease.reservation.charges().list())
    Row(event, &lease, charge.account, sign * charge.bytes, now, out);
}

void Gate::Grant(Lease& lease, InstanceId id, Instant now, Effects& out) {
  const std::optional<absl::Duration> estimated_wait = CompareWait(lease, true, now);
  std::optional<Reservation> held = budget_.TryReserve(ChargesOf(lease, id));
  CHECK(held.has_value(), "Gate: granted what does not fit");
  lease.reservation = *std::move(held);
  lease.instance = id;
  if (Outlook* outlook = OutlookOf(lease); outlook != nullptr) {
    // An engine without requests has nothing to report.
    if (outlook->empty() && outlook->spec().steps_per_s <= 0) steps_counted_[Index(id)] = now;
    outlook->Add(lease);
    lease.used.kv_bytes = outlook->StartBytes(lease);
  }
  lease.granted = now;
  const Instance& instance = fleet_.instance(id);
  const RankCost& cost = lease.costs[static_cast<size_t>(instance.price_class)];
  const int64_t bytes = instance.total_bytes(cost);
  const int64_t start_bytes =
      OutlookOf(lease) == nullptr ? bytes : instance.total_bytes({lease.used.kv_bytes, cost.activation_bytes});
  shares_.Granted(lease, tenants_.tenant(lease.tenant), IslandOf(lease), bytes, start_bytes, now);
  ++held_;
  loads_.Granted(id);
  ++counts_[Index(lease.model)].held;
  Say(lease, Decision::Kind::kAnswer, Outcome::kGranted, now, out);
  out.decisions.back().estimated_wait = estimated_wait;
  HoldFor(lease, now);
  Rows(LedgerEvent::kGrant, lease, 1, now, out);
}

// HELD from now on, from whichever state, with the timer that its caller's kind has.
void Gate::HoldFor(Lease& lease, Instant now) {
  if (lease.state == LeaseState::kLingering) {
    --lingering_;
    --counts_[Index(lease.model)].lingering;
    lease.reservation.SetLingering(false);
    ForgetLost(lease);
  }
  lease.state = LeaseState::kHeld;
  if (lease.revoking) return;  // its grace goes on
  if (lease.stream) {
    table_.SetTimer(lease, kNever);
  } else {
    table_.SetTimer(lease, now + (lease.confirmed ? lease.ttl : config_.leases.confirm_within));
  }
}

void Gate::End(LeaseRef ref, EndKind kind, Instant now, Effects& out, int64_t output_tokens) {
  Tick(now);
  CountSteps(now, out);
  Lease* lease = table_.Find(ref.id);
  if (lease == nullptr || lease->attachment != ref.attachment) return;
  if (lease->state == LeaseState::kWaiting) return Cancel(ref, now, out);
  if (lease->state != LeaseState::kPlaceKept) (void)Release(ref.id, lease->caller, kind, now, out, output_tokens);
}

bool Gate::Release(LeaseId id, uint32_t caller, EndKind kind, Instant now, Effects& out, int64_t output_tokens) {
  Tick(now);
  CountSteps(now, out);
  Lease* lease = table_.Find(id);
  if (lease == nullptr || lease->caller != caller) return false;
  if (output_tokens >= 0) lease->output_tokens = output_tokens;
  switch (lease->state) {
    case LeaseState::kWaiting:
      Cancel(lease->ref(), now, out);
      return true;
    case LeaseState::kHeld:
      switch (kind) {
        case EndKind::kCompleted:
          Free(*lease, LedgerEvent::kRelease, Outcome::kCompleted, now, out);
          break;
        case EndKind::kFailed:
          Free(*lease, LedgerEvent::kRelease, Outcome::kAborted, now, out);
          break;
        case EndKind::kClientGone:
          Linger(*lease, Outcome::kAborted, config_.leases.abort_linger, now, out);
          break;
      }
      return true;
    case LeaseState::kLingering:
      // The engine's word ends the linger; another report of a client gone says nothing new.
      if (kind != EndKind::kClientGone) Free(*lease, LedgerEvent::kRelease, lease->ending, now, out);
      return true;
    case LeaseState::kPlaceKept:
      Erase(*lease);
      return true;
    case LeaseState::kFree:
      break;
  }
  return false;
}

Gate::Renewal Gate::Renew(LeaseId id, uint32_t caller, Instant now, Effects& out) {
  Tick(now);
  (void)out;
  Lease* lease = FindHeld(id);
  if (lease == nullptr || lease->caller != caller) return Renewal::kLost;
  if (lease->state == LeaseState::kLingering) lease->stream = false;  // its stream is gone: the TTL holds from here
  lease->confirmed = true;
  HoldFor(*lease, now);
  return lease->revoking ? Renewal::kRevoked : Renewal::kKept;
}

bool Gate::Revoke(LeaseId id, absl::Duration grace, std::string_view reason, Instant now, Effects& out) {
  Tick(now);
  Lease* lease = table_.Find(id);
  if (lease == nullptr) return false;
  switch (lease->state) {
    case LeaseState::kWaiting:
      RefuseWaiter(*lease, Outcome::kRevoked, false, now, out);
      return true;
    case LeaseState::kPlaceKept:
      Erase(*lease);
      return true;
    case LeaseState::kLingering:
      lease->revoking = true;  // whoever revives it hears of it
      return true;
    case LeaseState::kHeld:
      lease->revoking = true;
      if (Outlook* outlook = OutlookOf(*lease); outlook != nullptr) outlook->Asked(*lease);
      Rows(LedgerEvent::kRevoke, *lease, 0, now, out);
      Say(*lease, Decision::Kind::kStop, Outcome::kRevoked, now, out);
      out.decisions.back().grace = grace;
      out.decisions.back().note.Assign(reason);
      table_.SetTimer(*lease, std::min(lease->timer, now + grace));
      return true;
    case LeaseState::kFree:
      break;
  }
  return false;
}

void Gate::RevokeAck(LeaseId id, Instant now, Effects& out) {
  Tick(now);
  Lease* lease = FindHeld(id);
  if (lease != nullptr && lease->revoking) Free(*lease, LedgerEvent::kRelease, Outcome::kRevoked, now, out);
}

// The holder is gone; the bytes stay counted for `time`, or until the engine's word.
void Gate::Linger(Lease& lease, Outcome ending, absl::Duration time, Instant now, Effects& out) {
  if (time <= absl::ZeroDuration()) return Free(lease, LedgerEvent::kRelease, ending, now, out);
  lease.state = LeaseState::kLingering;
  lease.ending = ending;
  lease.reservation.SetLingering(true);
  ++lingering_;
  ++counts_[Index(lease.model)].lingering;
  table_.SetTimer(lease, now + time);
  Rows(LedgerEvent::kLinger, lease, 0, now, out);
}

// The bytes come back, the lease is gone, and whoever fits now goes.
void Gate::Free(Lease& lease, LedgerEvent event, Outcome ending, Instant now, Effects& out) {
  const int island = IslandOf(lease);
  FreeOnly(lease, event, ending, now, out);
  DispatchIsland(island, now, out);
}

void Gate::FreeOnly(Lease& lease, LedgerEvent event, Outcome ending, Instant now, Effects& out) {
  const Charges charges = lease.reservation.charges();
  ModelCounts& counts = counts_[Index(lease.model)];
  if (lease.state == LeaseState::kLingering) {
    --lingering_;
    --counts.lingering;
    ForgetLost(lease);
  }
  --held_;
  --counts.held;
  EndOveruse(lease);
  if (Outlook* outlook = OutlookOf(lease); outlook != nullptr) {
    outlook->Remove(lease, {lease.output_tokens, ending != Outcome::kCompleted || lease.revoking});
  }
  const Instance& instance = fleet_.instance(lease.instance);
  const int64_t bytes = instance.total_bytes(lease.costs[static_cast<size_t>(instance.price_class)]);
  shares_.Ended(lease, tenants_.tenant(lease.tenant), IslandOf(lease), bytes, now);
  forecast_.Released(IslandOf(lease), bytes, now);
  Say(lease, Decision::Kind::kEnd, lease.revoking ? Outcome::kRevoked : ending, now, out);
  lease.reservation.Reset();
  for (const Charge& charge : charges.list()) Row(event, &lease, charge.account, -charge.bytes, now, out);
  if (loads_.Ended(lease.instance)) FinishUnload(lease.instance, now, out);
  if (lease.holder.gave_way && !lease.request_id.empty()) return KeepPlace(lease, now);
  Erase(lease);
}

void Gate::Erase(Lease& lease) {
  const int32_t tenant = lease.tenant;
  table_.Erase(lease);
  tenants_.Release(tenant);
}

// --- Time and devices ---

void Gate::Due(Lease& lease, Instant now, Effects& out) {
  switch (lease.state) {
    case LeaseState::kWaiting:
      if (lease.deadline_first) return RefuseWaiter(lease, Outcome::kDeadline, false, now, out);
      return RefuseOverdue(lease, now, out);
    case LeaseState::kPlaceKept:
      return Erase(lease);
    case LeaseState::kHeld:
      if (lease.revoking && lease.stream) {
        Say(lease, Decision::Kind::kStop, Outcome::kRevoked, now, out);
        out.decisions.back().grace_over = true;
      }
      return Linger(lease, lease.revoking ? Outcome::kRevoked : Outcome::kExpired, lease.drain, now, out);
    case LeaseState::kLingering:
      return Free(lease, LedgerEvent::kExpire, lease.ending, now, out);
    case LeaseState::kFree:
      break;
  }
  CHECK(false, "Gate: a free slot has a timer");
}

// The wait is over. Who was only too far behind keeps its place for a retry.
void Gate::RefuseOverdue(Lease& lease, Instant now, Effects& out) {
  const Outcome outcome = Overdue(lease);
  const bool keep_place = outcome == Outcome::kRejectedQueueTimeout && !lease.request_id.empty() &&
                          config_.queue.rejoin_window > absl::ZeroDuration();
  RefuseWaiter(lease, outcome, keep_place, now, out);
}

void Gate::Advance(Instant now, Effects& out) {
  Tick(now);
  CountSteps(now, out);
  while (Lease* lease = table_.FirstDue(now)) Due(*lease, now, out);
}

void Gate::SetReading(AccountId device, const DeviceReading& reading, Instant now, Effects& out) {
  Tick(now);
  Account& account = budget_.mutable_account(device);
  const bool changed = account.capacity_bytes != reading.capacity_bytes;
  const bool dispatches = changed || account.stale != reading.stale;
  account.capacity_bytes = reading.capacity_bytes;
  account.ceiling_bytes = reading.ceiling_bytes;
  account.foreign_bytes = reading.foreign_bytes;
  account.context_bytes = reading.context_bytes;
  account.total_bytes = reading.total_bytes;
  account.read_at = reading.read_at;
  account.stale = reading.stale;
  if (changed) Row(LedgerEvent::kCapacity, nullptr, device, 0, now, out);
  for (size_t i = 0; changed && i < outlooks_.size(); ++i) {
    if (outlooks_[i] == nullptr || fleet_.instances()[i].pool != device) continue;
    outlooks_[i]->SetCapacity(account.capacity_bytes - account.fixed_bytes);
  }
  if (dispatches) DispatchIsland(fleet_.island(device), now, out);
}

}  // namespace vramgate
