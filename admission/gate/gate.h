// The Gate: the state machine that admits, queues and rejects. One thread, no clock, no lock, no I/O: `now` is an
// argument, and all it says goes into Effects.
//
//   Effects effects;
//   Gate::Admission a = gate.Admit(request, now, effects);   // decided at once, or a.waiting and decided later
//   ...
//   gate.End(a.lease, Gate::EndKind::kCompleted, now, effects);   // bytes come back; effects hold the grants that this
//   lets go
//
// Rules (docs/admission.md): a request that could never fit is refused at once; the sum of what is reserved never
// passes an account's capacity; every Admit is answered by exactly one Decision of kind kAnswer; whatever frees room
// dispatches until nobody else can go; bytes come back when the engine has let go of them, not when the caller has.
//
// Thread rule: one thread at a time (the Controller's lock). Time: `now` never goes back (CHECKed). Effects are
// appended to; the caller clears them. Nothing allocates in a steady state: see lease_table.h.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "admission/decision.h"
#include "admission/gate/budget.h"
#include "admission/gate/dispatch.h"
#include "admission/gate/fair_shares.h"
#include "admission/gate/fleet.h"
#include "admission/gate/forecast.h"
#include "admission/gate/gate_config.h"
#include "admission/gate/instance_loads.h"
#include "admission/gate/lease_table.h"
#include "admission/gate/length_classes.h"
#include "admission/gate/outlook.h"
#include "admission/gate/tenant_table.h"
#include "admission/gate/wait_errors.h"
#include "admission/gate/wait_queue.h"
#include "admission/ledger_row.h"
#include "admission/types.h"

namespace vramgate {

// What an operation of the Gate has to say, in order.
struct Effects {
  std::vector<Decision> decisions;
  std::vector<LedgerRow> rows;
  std::vector<AccountId> named;  // accounts that are new, or have a new name: before their first row

  void Clear();
};

class Gate {
 public:
  explicit Gate(const GateConfig& config);
  ~Gate();

  // The first and the last word to the ledger: START and FIXED rows; STOP rows, one an account.
  void Start(Instant now, Effects& out);
  void Stop(Instant now, Effects& out);

  struct Admission {
    LeaseRef lease;        // id 0: rejected before a lease was made
    bool waiting = false;  // else the answer is in the Effects
  };
  // Exactly one kAnswer decision follows, in `out` or in a later operation's. A request with the key of a live lease
  // joins it: a holder's or waiter's former caller hears kSuperseded, a lingering lease is revived, a kept place is
  // taken up again. The same key with other content: kRejectedInvalidRequest.
  Admission Admit(const Request& request, Instant now, Effects& out);
  // A Session that lost its stream asks for the lease it held. False: not there, or another caller's.
  bool Reattach(LeaseId id, uint32_t caller, Instant now, Effects& out, LeaseRef* lease);
  // The caller of a waiter left: kCancelled, or kDeadline where its own deadline is why. A stale or granted reference:
  // kAborted bytes linger, as in End.
  void Cancel(LeaseRef lease, Instant now, Effects& out);

  enum class EndKind : uint8_t {
    kCompleted,   // the engine has let go: freed at once
    kFailed,      // the engine failed and has let go: freed at once, ends as kAborted
    kClientGone,  // the engine may go on: lingers for abort_linger
  };
  // The holder's end; of a lingering lease, the engine's word. A stale reference (taken over, or gone) does nothing.
  void End(LeaseRef lease, EndKind kind, Instant now, Effects& out, int64_t output_tokens = -1);
  // The process behind `connection`, which held or waited, died. A waiter leaves the queue. What a holder had, its
  // engine may go on with: lingers until the engine says otherwise (Step), for the drain time at most; is free at once
  // where the engine's own process, another one, is known to be dead too.
  void HolderLost(LeaseRef lease, uint64_t connection, Instant now, Effects& out);
  // By name, for unary leases: any attachment. False: unknown, finished, or of another caller.
  bool Release(LeaseId id, uint32_t caller, EndKind kind, Instant now, Effects& out, int64_t output_tokens = -1);

  enum class Renewal : uint8_t { kKept, kRevoked, kLost };
  // Keeps a unary lease for another TTL; revives a lingering one. kRevoked: kept, but it must stop.
  Renewal Renew(LeaseId id, uint32_t caller, Instant now, Effects& out);
  // What the lease uses by now. More than it reserved is charged where it fits; the rest is an OVERUSE, which closes
  // the accounts that lack it to new grants until it is over.
  // `output_tokens`: of each sequence, so far; -1: not said.
  void Progress(LeaseId id, const Costs& used, Instant now, Effects& out, int64_t output_tokens = -1);

  // Its caller wants to hear (kExtended) when the reservation covers so many more tokens of each sequence's output. At
  // worst_case, or where all is covered: at once. Ignored unless held.
  void Extend(LeaseId id, int64_t tokens, Instant now, Effects& out);
  // Of each sequence's output, by what is reserved now; 0: all, or not held.
  int64_t GrantedTokens(const Lease& lease) const;

  // What an engine says after a step, or several: at the levels above worst_case that is what time is counted by.
  struct StepReport {
    int64_t steps = 1;
    struct Ended {
      LeaseRef lease;
      int64_t output_tokens = -1;  // of each sequence; -1: unknown
    };
    std::span<const Ended> ended;  // complete, their bytes free
    struct Emitted {
      LeaseId lease;
      int64_t output_tokens = 0;  // of each sequence, so far
    };
    std::span<const Emitted> emitted;  // where it is not one more with each step; their first is always said
    uint64_t connection = 0;           // whose end is that of the engine's process; 0: of no such connection
  };
  void Step(InstanceId instance, const StepReport& report, Instant now, Effects& out);
  // Nobody will report steps of it any more: its holders hold all of their cost from here on.
  void StepsEnd(InstanceId instance, Instant now, Effects& out);
  // The process behind `connection` died: what instances it reported held for dead holders is free. After StepsEnd.
  void ReporterLost(uint64_t connection, Instant now, Effects& out);

  // Asks a holder to stop within `grace`, after which the lease lingers for its drain time; refuses a waiter. False:
  // unknown.
  bool Revoke(LeaseId id, absl::Duration grace, std::string_view reason, Instant now, Effects& out);
  // The engine has stopped. Any end of a lease that was asked to stop counts as kRevoked.
  void RevokeAck(LeaseId id, Instant now, Effects& out);

  // A device's reading (capacity.h), or what an engine says of its pool. A fall revokes nothing: grants stop until
  // leases end. A stale account gets no grants.
  struct DeviceReading {
    int64_t capacity_bytes = 0;
    int64_t ceiling_bytes = 0;
    int64_t foreign_bytes = 0;
    int64_t context_bytes = 0;
    int64_t total_bytes = 0;
    Instant read_at;
    bool stale = false;
  };
  void SetReading(AccountId device, const DeviceReading& reading, Instant now, Effects& out);

  // Charges an instance's fixed bytes, its pool's included, to its devices, all or nothing; it takes requests from then
  // on. Of one that is loaded already: nothing changes.
  struct LoadAnswer {
    bool loaded = false;
    int64_t fixed_bytes = 0;         // on each of its devices
    AccountId lacking = kNoAccount;  // not loaded: the device that lacks most, and how much
    int64_t missing_bytes = 0;
    bool ever = true;    // they would fit an empty card
    bool stale = false;  // a device's reading is too old
  };
  // While draining: not loaded, and nothing lacks.
  LoadAnswer Load(InstanceId id, Instant now, Effects& out);
  // It takes no more requests; those that only it could serve are refused. Its fixed bytes come back with the end of
  // its last lease. Returns how many leases that waits for.
  int64_t Unload(InstanceId id, Instant now, Effects& out);

  // Everything that is due by `now`: waits that are over, leases that expire, lingers that end.
  void Advance(Instant now, Effects& out);
  Instant NextTimer() const;

  // Waiters get kRejectedDraining at once, later Admits too; holders may finish.
  void Drain(Instant now, Effects& out);
  bool draining() const { return draining_; }

  // Views. `lease` may be gone: then null, or position 0.
  QueuePosition Position(LeaseRef lease, Instant now) const;
  // Calls visit(lease, position) for every waiter: by priority, then tenant by tenant.
  void ForEachWaiter(Instant now, absl::FunctionRef<void(const Lease&, const QueuePosition&)> visit) const;
  const Lease* Find(LeaseId id) const { return table_.Find(id); }
  const Lease* FirstInUse(size_t slot) const { return table_.FirstInUse(slot); }
  // Whether `request` would be granted now / could ever be, and how long it might wait.
  struct WhatIf {
    bool fits_now = false;
    bool fits_ever = false;
    std::optional<absl::Duration> estimated_wait;
  };
  WhatIf Estimate(const Request& request, Instant now) const;

  const Budget& budget() const { return budget_; }
  const Fleet& fleet() const { return fleet_; }
  const InstanceLoads& loads() const { return loads_; }
  const WaitQueue& queue() const { return queue_; }
  const TenantTable& tenants() const { return tenants_; }
  const WaitErrors& wait_errors(ModelId model) const { return wait_errors_[Index(model)]; }
  // Null: the instance is at worst_case.
  const Outlook* outlook(InstanceId id) const { return outlooks_[Index(id)].get(); }
  struct ModelCounts {
    int64_t held = 0;  // lingering included
    int64_t lingering = 0;
    int64_t overuses = 0;  // OVERUSE reports so far
  };
  const ModelCounts& counts(ModelId model) const { return counts_[Index(model)]; }
  AccountId TenantAccount(const Lease& lease) const { return tenants_.tenant(lease.tenant).account; }
  int64_t leases() const { return table_.size(); }
  int64_t held() const { return held_; }
  int64_t lingering() const { return lingering_; }
  // Every account, lease and queue entry agrees with every other (I1, I2's sums, I6). For tests: O(leases).
  void CheckInvariants() const;

 private:
  using Overusers =
      boost::intrusive::list<Lease, boost::intrusive::member_hook<Lease, OveruseHook, &Lease::overuse_hook>>;

  void Tick(Instant now);
  void MakeOutlooks();
  Admission Answer(Outcome outcome, const Request& request, Instant now, Effects& out);
  Admission Join(Lease& lease, const Request& request, Instant now, Effects& out);
  Admission AdmitNew(const Request& request, Instant now, Effects& out);
  Admission Wait(Lease& lease, const Request& request, Instant now, Effects& out);
  void Enter(Lease& lease, const Request& request);
  bool FitsEver(const Request& request, int64_t share_bytes) const;
  bool SameContent(const Lease& lease, const Request& request) const;
  void Attach(Lease& lease, const Request& request, Instant now);
  void TellFormer(const Lease& lease, Instant now, Effects& out);

  void Grant(Lease& lease, InstanceId instance, Instant now, Effects& out);
  void Say(const Lease& lease, Decision::Kind kind, Outcome outcome, Instant now, Effects& out) const;
  void Row(LedgerEvent event, const Lease* lease, AccountId account, int64_t delta, Instant now, Effects& out) const;
  void Rows(LedgerEvent event, const Lease& lease, int sign, Instant now, Effects& out) const;
  void HoldFor(Lease& lease, Instant now);
  Outcome Overdue(const Lease& lease) const;
  void CheckTenants() const;
  void RefuseWaiter(Lease& lease, Outcome outcome, bool keep_place, Instant now, Effects& out);
  void RefuseOverdue(Lease& lease, Instant now, Effects& out);
  void Linger(Lease& lease, Outcome ending, absl::Duration time, Instant now, Effects& out);
  void Free(Lease& lease, LedgerEvent event, Outcome ending, Instant now, Effects& out);
  void FreeOnly(Lease& lease, LedgerEvent event, Outcome ending, Instant now, Effects& out);
  Charges ChargesOf(const Lease& lease, InstanceId id) const;
  Outlook* OutlookOf(const Lease& lease) {
    return lease.instance == kAnyInstance ? nullptr : outlooks_[Index(lease.instance)].get();
  }
  Lease* FindHeld(LeaseId id);
  void HeardFrom(InstanceId id, const StepReport& report, Instant now, Effects& out);
  void FreeLost(InstanceId id, uint64_t but_of, Instant now, Effects& out);
  void ForgetLost(Lease& lease);
  void CountSteps(Instant now, Effects& out);
  void SayLate(const Lease& lease, Instant now, Effects& out) const;
  void SayExtended(Lease& lease, Instant now, Effects& out) const;
  void FallSilent(InstanceId id, Instant now, Effects& out);
  void SettleSteps(InstanceId id, Instant now, Effects& out);
  void Need(Lease& lease, int64_t kv_bytes, Instant now, Effects& out);
  void Relieve(InstanceId id, Instant now, Effects& out);
  void KeepPlace(Lease& lease, Instant now);
  void Erase(Lease& lease);
  void FinishUnload(InstanceId id, Instant now, Effects& out);
  void ChargeFixed(InstanceId id, int sign, Instant now, Effects& out);
  bool Served(int line) const;
  void RefuseUnserved(int island, Instant now, Effects& out);
  void Due(Lease& lease, Instant now, Effects& out);
  // Where a waiter stands: in its tenant's line, and what goes before it at most, as things are.
  struct Place {
    int32_t position = 0;
    int32_t requests = 0;
    int64_t bytes = 0;  // over all devices
  };
  Place PlaceOf(const Lease& lease) const;
  std::optional<absl::Duration> TimeToStart(const Lease& waiter, int64_t ahead_bytes, Instant now) const;
  std::optional<absl::Duration> Corrected(std::optional<absl::Duration> estimate, ModelId model) const;
  bool EstimateWait(Lease& lease, Instant deadline, Instant now);
  std::optional<absl::Duration> CompareWait(const Lease& lease, bool granted, Instant now);
  void DispatchIsland(int island, Instant now, Effects& out, bool more_room = true);
  template <typename Visit>
  void ForEachOverused(const Lease& lease, Visit visit) const;
  void EndOveruse(Lease& lease);
  void ChargeOveruse(Lease& lease, Instant now, Effects& out);
  int IslandOf(InstanceId id) const { return fleet_.models()[Index(fleet_.instance(id).model)].island; }
  int IslandOf(const Lease& lease) const { return fleet_.models()[Index(lease.model)].island; }
  AccountId TenantOf(const Lease& lease) const { return tenants_.tenant(lease.tenant).account; }

  const GateConfig config_;
  Budget budget_;  // outlives everything that holds a Reservation
  Fleet fleet_;
  InstanceLoads loads_;
  TenantTable tenants_;
  std::vector<std::unique_ptr<LengthClasses>> lengths_;  // by model; null at worst_case
  mutable LeaseTable table_;
  Dispatch::Outlooks outlooks_;         // by instance; null at worst_case
  std::vector<Instant> steps_counted_;  // by instance: until when steps are counted by the clock, or were reported
  // What is known of an instance's engine, from a connection that ends with it.
  struct Engine {
    uint64_t connection = 0;  // that reports its steps, or did; 0: none ever
    bool alive = false;
    Instant died;      // not alive
    int64_t lost = 0;  // leases that linger for a dead holder
  };
  std::vector<Engine> engines_;  // by instance
  WaitQueue queue_;
  Dispatch dispatch_;
  Forecast forecast_;
  std::vector<WaitErrors> wait_errors_;  // by model
  FairShares shares_;
  Overusers overusers_;
  std::vector<ModelCounts> counts_;  // by model
  Instant last_;
  uint64_t sequence_ = 0;
  int64_t held_ = 0;  // including lingering
  int64_t lingering_ = 0;
  bool draining_ = false;
  bool counts_steps_ = false;  // of some instance, by the clock, or waits for reports
};

// Calls `visit(account, bytes)` for each account of which `lease` uses more than it reserved.
template <typename Visit>
void Gate::ForEachOverused(const Lease& lease, Visit visit) const {
  const Charges wanted = fleet_.ChargesOf(fleet_.instance(lease.instance), lease.used, TenantOf(lease));
  const Charges& held = lease.reservation.charges();
  for (const Charge& charge : wanted.list()) {
    const int64_t over = charge.bytes - held.bytes(charge.account);
    if (over > 0) visit(charge.account, over);
  }
}

}  // namespace vramgate
