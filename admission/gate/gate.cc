#include "admission/gate/gate.h"

#include <algorithm>

#include "admission/check.h"

namespace vramgate {
namespace {

// A client's deadline starts before the server hears of it: its cancellation arrives a little earlier than the server's
// copy of the deadline says.
constexpr int64_t kDeadlineSlackNs = 100'000'000;

// Why a request that was not to wait is refused: no time has run out.
Outcome AtOnce(Outcome overdue) {
  return overdue == Outcome::kRejectedQueueTimeout ? Outcome::kRejectedBudgetExhausted : overdue;
}

}  // namespace

void Effects::Clear() {
  decisions.clear();
  rows.clear();
  named.clear();
}

Gate::Gate(const GateConfig& config)
    : config_(config),
      fleet_(config_, budget_),
      loads_(config_),
      tenants_(config_, fleet_.islands(), budget_),
      lengths_(config_.models.size()),
      table_(config_.leases.max),
      outlooks_(fleet_.instances().size()),
      steps_counted_(fleet_.instances().size()),
      engines_(fleet_.instances().size()),
      queue_(fleet_, tenants_, config_.queue),
      dispatch_(fleet_, loads_, budget_, outlooks_, queue_, config_.queue),
      forecast_(fleet_.islands()),
      wait_errors_(config_.models.size()),
      shares_(fleet_.islands(), config_.models.size()),
      counts_(config_.models.size()) {
  MakeOutlooks();
}

Gate::~Gate() {
  // In place of an end for each: the process, or a test, is over.
  overusers_.clear();
  outlooks_.clear();
  for (Lease* lease = table_.FirstInUse(0); lease != nullptr;
       lease = table_.FirstInUse(LeaseTable::Slot(lease->id) + 1)) {
    if (lease->order_hook.is_linked()) queue_.Leave(*lease);
    lease->reservation.Reset();
  }
}

void Gate::Tick(Instant now) {
  CHECK(now >= last_, "Gate: time went back");
  last_ = now;
}

void Gate::Start(Instant now, Effects& out) {
  Tick(now);
  for (size_t a = 0; a < budget_.size(); ++a) {
    const AccountId id{static_cast<int32_t>(a)};
    out.named.push_back(id);
    // START comes before the fixed bytes: used is 0 in it.
    if (config_.ledger) {
      const Account& account = budget_.account(id);
      out.rows.push_back({now, {}, id, LedgerEvent::kStart, 0, 0, account.capacity_bytes});
      if (account.fixed_bytes > 0) Row(LedgerEvent::kFixed, nullptr, id, account.fixed_bytes, now, out);
    }
  }
}

void Gate::Stop(Instant now, Effects& out) {
  Tick(now);
  for (size_t a = 0; a < budget_.size(); ++a)
    Row(LedgerEvent::kStop, nullptr, AccountId{static_cast<int32_t>(a)}, 0, now, out);
}

// --- Admit ---

Gate::Admission Gate::Answer(Outcome outcome, const Request& request, Instant now, Effects& out) {
  Decision decision{.kind = Decision::Kind::kAnswer, .outcome = outcome, .model = request.model};
  decision.priority = request.priority;
  decision.request_id.Assign(request.request_id.empty() ? request.log_id : request.request_id);
  decision.tenant.Assign(request.tenant);
  decision.trace.Assign(request.trace);
  decision.prompt_source = request.prompt_source;
  decision.prompt_tokens = request.prompt_tokens;
  if (outcome == Outcome::kRejectedQueueFull && queue_.size() > 0) {
    // One place comes free when the average waiter has gone.
    const int island = fleet_.models()[Index(request.model)].island;
    decision.retry_after = forecast_.TimeToFree(island, queue_.bytes(island) / queue_.size(), now);
  }
  out.decisions.push_back(decision);
  return {};
}

Gate::Admission Gate::Admit(const Request& request, Instant now, Effects& out) {
  Tick(now);
  CountSteps(now, out);
  if (Lease* lease = table_.FindKey({request.caller, request.tenant, request.request_id}); lease != nullptr) {
    return Join(*lease, request, now, out);
  }
  if (draining_) return Answer(Outcome::kRejectedDraining, request, now, out);
  return AdmitNew(request, now, out);
}

bool Gate::SameContent(const Lease& lease, const Request& request) const {
  return lease.model == request.model && lease.pin == request.instance && lease.priority == request.priority &&
         lease.costs == request.costs;
}

// The newest caller with a key is the lease's caller.
void Gate::Attach(Lease& lease, const Request& request, Instant now) {
  ++lease.attachment;
  lease.stream = request.stream;
  lease.revocable = request.revocable;
  lease.ttl = request.ttl > absl::ZeroDuration() ? request.ttl : config_.leases.ttl;
  lease.drain = std::max(request.drain, config_.leases.abort_linger);
  lease.log_id.Assign(request.request_id.empty() ? request.log_id : request.request_id);
  lease.trace.Assign(request.trace);
  lease.prompt_source = request.prompt_source;
  if (lease.state != LeaseState::kWaiting) return;
  lease.prompt_tokens = request.prompt_tokens;
  lease.max_output_tokens = request.max_output_tokens;
  lease.start_costs = request.start_costs;
  lease.output_class = LengthClasses::ClassOf(request.tenant, request.route);
  // Who gave way had been let in: the queue's limits are for those who had not.
  const bool returns = lease.holder.revocations > 0;
  const Instant wait_end = now + (returns ? request.max_wait : std::min(request.max_wait, config_.queue.max_wait));
  lease.deadline_first = request.deadline < wait_end;
  table_.SetTimer(lease, std::min(request.deadline, wait_end));
}

// The former caller of a lease that is taken over: a waiter's gets its answer, a stream's is told that it holds nothing
// any more.
void Gate::TellFormer(const Lease& lease, Instant now, Effects& out) {
  if (lease.state == LeaseState::kWaiting) Say(lease, Decision::Kind::kAnswer, Outcome::kSuperseded, now, out);
  if (lease.state == LeaseState::kHeld && lease.stream)
    Say(lease, Decision::Kind::kStop, Outcome::kSuperseded, now, out);
}

Gate::Admission Gate::Join(Lease& lease, const Request& request, Instant now, Effects& out) {
  if (!SameContent(lease, request)) return Answer(Outcome::kRejectedInvalidRequest, request, now, out);
  switch (lease.state) {
    case LeaseState::kPlaceKept:
      if (draining_) return Answer(Outcome::kRejectedDraining, request, now, out);
      return Wait(lease, request, now, out);
    case LeaseState::kWaiting:
      TellFormer(lease, now, out);
      Attach(lease, request, now);
      if (request.max_wait <= absl::ZeroDuration()) {
        const LeaseRef ref = lease.ref();
        RefuseWaiter(lease, AtOnce(Overdue(lease)), false, now, out);
        return {ref};
      }
      return {lease.ref(), true};
    case LeaseState::kHeld:
    case LeaseState::kLingering:
      TellFormer(lease, now, out);
      Attach(lease, request, now);
      HoldFor(lease, now);
      Say(lease, Decision::Kind::kAnswer, Outcome::kGranted, now, out);
      return {lease.ref()};
    case LeaseState::kFree:
      break;
  }
  CHECK(false, "Gate: a free slot was found by key");
}

bool Gate::FitsEver(const Request& request, int64_t share_bytes) const {
  for (InstanceId id : fleet_.lines()[static_cast<size_t>(fleet_.line(request.model, request.instance))].alternatives) {
    const Instance& instance = fleet_.instance(id);
    const RankCost& cost = request.costs[static_cast<size_t>(instance.price_class)];
    bool fits = instance.pool == kNoAccount || cost.kv_bytes <= budget_.account(instance.pool).ceiling_bytes;
    for (AccountId device : instance.devices) {
      const Account& account = budget_.account(device);
      fits = fits && instance.device_bytes(cost) <= std::max<int64_t>(0, account.ceiling_bytes - account.fixed_bytes);
    }
    if (fits && instance.total_bytes(cost) <= share_bytes) return true;
  }
  return false;
}

Gate::Admission Gate::AdmitNew(const Request& request, Instant now, Effects& out) {
  bool new_account = false;
  const int32_t tenant = tenants_.Acquire(request.tenant, &new_account);
  const AccountId share = tenants_.tenant(tenant).account;
  if (new_account) {
    out.named.push_back(share);
    Row(LedgerEvent::kCapacity, nullptr, share, 0, now, out);
  }
  if (!FitsEver(request, share == kNoAccount ? kUnlimitedBytes : budget_.account(share).ceiling_bytes)) {
    tenants_.Release(tenant);
    return Answer(Outcome::kRejectedNeverFits, request, now, out);
  }
  Lease* lease = table_.Create({request.caller, tenants_.tenant(tenant).name, request.request_id});
  if (lease == nullptr) {
    tenants_.Release(tenant);
    return Answer(Outcome::kRejectedQueueFull, request, now, out);
  }
  lease->tenant = tenant;
  lease->model = request.model;
  lease->pin = request.instance;
  lease->priority = request.priority;
  lease->costs = request.costs;
  lease->tokens = request.tokens;
  lease->sequences = request.sequences;
  lease->arrived = now;
  lease->sequence = ++sequence_;
  return Wait(*lease, request, now, out);
}

void Gate::Enter(Lease& lease, const Request& request) {
  // The end of its wait as from its arrival. One that does not wait at all has no claim to go before those who do.
  const bool waits = request.max_wait > absl::ZeroDuration();
  const absl::Duration wait = waits ? std::min(request.max_wait, config_.queue.max_wait) : config_.queue.max_wait;
  lease.wait.end_ns = std::min(request.deadline, lease.arrived + wait).ns;
  lease.wait.seen = 0;
  queue_.Enter(lease);
}

// Lets the lease go at once where the policy has it as its pick, else leaves it in its place.
Gate::Admission Gate::Wait(Lease& lease, const Request& request, Instant now, Effects& out) {
  const bool had_place = lease.state == LeaseState::kPlaceKept;
  const Instant place_ends = lease.timer;
  lease.state = LeaseState::kWaiting;
  lease.wait.estimate_s = -1;
  Attach(lease, request, now);
  const LeaseRef ref = lease.ref();
  const int island = IslandOf(lease);
  queue_.Lift(lease, shares_.floor(island));
  if (queue_.empty(island)) {
    const Dispatch::Verdict verdict = dispatch_.Judge(lease, TenantOf(lease));
    if (verdict.pick != kAnyInstance) {
      Grant(lease, verdict.pick, now, out);
      return {ref};
    }
    Enter(lease, request);
  } else {
    Enter(lease, request);
    DispatchIsland(island, now, out, /*more_room=*/false);
    if (lease.state != LeaseState::kWaiting) return {ref};
  }
  const Dispatch::Verdict verdict = dispatch_.Judge(lease, TenantOf(lease));
  if (!Served(lease.line)) {
    RefuseWaiter(lease, Outcome::kRejectedModelNotLoaded, false, now, out);
  } else if (verdict.stale) {
    RefuseWaiter(lease, Outcome::kRejectedTelemetryStale, false, now, out);
  } else if (lease.holder.revocations > 0 && request.max_wait > absl::ZeroDuration()) {
    return {ref, true};
  } else if (request.max_wait <= absl::ZeroDuration() || config_.queue.max_wait <= absl::ZeroDuration()) {
    RefuseWaiter(lease, AtOnce(Overdue(lease)), false, now, out);
  } else if (queue_.size() > config_.queue.max_requests || queue_.tokens() > config_.queue.max_tokens) {
    RefuseWaiter(lease, Outcome::kRejectedQueueFull, had_place, now, out);
    if (had_place) table_.SetTimer(lease, place_ends);
  } else if (!EstimateWait(lease, request.deadline, now)) {
    RefuseWaiter(lease, Outcome::kRejectedDeadlineInfeasible, false, now, out);
  } else {
    return {ref, true};
  }
  return {ref};
}

bool Gate::Reattach(LeaseId id, uint32_t caller, Instant now, Effects& out, LeaseRef* ref) {
  Tick(now);
  Lease* lease = FindHeld(id);
  if (lease == nullptr || lease->caller != caller) return false;
  TellFormer(*lease, now, out);
  ++lease->attachment;
  lease->stream = true;
  HoldFor(*lease, now);
  Say(*lease, Decision::Kind::kAnswer, Outcome::kGranted, now, out);
  *ref = lease->ref();
  return true;
}

// --- The queue ---

// Why a wait that is over was in vain.
Outcome Gate::Overdue(const Lease& lease) const {
  const Dispatch::Verdict verdict = dispatch_.Judge(lease, TenantOf(lease));
  if (verdict.stale) return Outcome::kRejectedTelemetryStale;
  if (verdict.tenant_short && !verdict.devices_short) return Outcome::kRejectedTenantQuota;
  return Outcome::kRejectedQueueTimeout;
}

void Gate::RefuseWaiter(Lease& lease, Outcome outcome, bool keep_place, Instant now, Effects& out) {
  const int island = IslandOf(lease);
  if (outcome == Outcome::kRejectedQueueTimeout || outcome == Outcome::kDeadline) (void)CompareWait(lease, false, now);
  Say(lease, Decision::Kind::kAnswer, outcome, now, out);
  if (outcome != Outcome::kCancelled && outcome != Outcome::kDeadline && outcome != Outcome::kRevoked) {
    out.decisions.back().retry_after = Corrected(TimeToStart(lease, PlaceOf(lease).bytes, now), lease.model);
  }
  queue_.Leave(lease);
  if (keep_place) {
    lease.state = LeaseState::kPlaceKept;
    table_.SetTimer(lease, now + config_.queue.rejoin_window);
  } else {
    Erase(lease);
  }
  DispatchIsland(island, now, out);
}

void Gate::Cancel(LeaseRef ref, Instant now, Effects& out) {
  Tick(now);
  Lease* lease = table_.Find(ref.id);
  if (lease == nullptr || lease->attachment != ref.attachment) return;
  if (lease->state == LeaseState::kWaiting) {
    const bool deadline = lease->deadline_first && lease->timer.ns <= now.ns + kDeadlineSlackNs;
    RefuseWaiter(*lease, deadline ? Outcome::kDeadline : Outcome::kCancelled, false, now, out);
  } else if (lease->state == LeaseState::kHeld) {
    Linger(*lease, Outcome::kAborted, config_.leases.abort_linger, now, out);
  }
}

void Gate::DispatchIsland(int island, Instant now, Effects& out, bool more_room) {
  // Each once: one that is still over goes to the end of the list.
  auto it = overusers_.begin();
  for (size_t left = overusers_.size(); left > 0; --left) {
    Lease& lease = *it++;
    if (IslandOf(lease) == island) ChargeOveruse(lease, now, out);
  }
  if (draining_) return;
  dispatch_.Run(
      island, more_room, now, [this](const Lease& lease) { return TenantOf(lease); },
      [&](Lease& lease, InstanceId instance) {
        queue_.Leave(lease);
        Grant(lease, instance, now, out);
      });
}

void Gate::Drain(Instant now, Effects& out) {
  Tick(now);
  draining_ = true;
  for (int island = 0; island < fleet_.islands(); ++island) {
    while (!queue_.empty(island)) {
      RefuseWaiter(queue_.any(island), Outcome::kRejectedDraining, false, now, out);
    }
  }
}

}  // namespace vramgate
