// The Controller puts the Gate to work between threads: one lock, the clock, and each decision delivered to whom it
// concerns, after the lock is gone.
//
//   auto session = std::make_shared<MySession>();             // a Holder
//   Controller::Answer answer = controller.Admit(request, session);
//   if (answer.decided) { ... answer.decision ... }           // else session->OnDecision comes, once, from some thread
//   ...
//   controller.End(answer.lease, Gate::EndKind::kCompleted);
//
// Used by every service. Thread rule: every method may be called from any thread; no Holder is called under the lock,
// and a Holder may call back into the Controller. Lifetime rule: the clock and the recorder outlive it; Holders are
// shared.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "admission/clock.h"
#include "admission/gate/gate.h"
#include "admission/gate/snapshot.h"
#include "admission/gate/stats.h"
#include "admission/mutex.h"

namespace vramgate {

// Who asked. Calls may come from any thread and in parallel with the caller's own; each says which attachment it means,
// so that a late one can be told from a current one.
class Holder {
 public:
  virtual ~Holder() = default;
  // The answer of a waiting Admit (exactly once), a stop, or the lease's end by somebody else's hand.
  virtual void OnDecision(const Decision& decision) = 0;
  // Where it stands in the queue, about once a second.
  virtual void OnQueued(const LeaseRef& lease, const QueuePosition& position) = 0;
};

// Hears everything, in order, under the Controller's lock: must not block, allocate or call back.
class Recorder {
 public:
  virtual ~Recorder() = default;
  virtual void OnAccount(AccountId id, const std::string& name) = 0;  // before the account's first row
  virtual void OnRow(const LedgerRow& row) = 0;
  virtual void OnDecision(const Decision& decision, Instant now) = 0;
};

class Controller {
 public:
  // `recorder` may be null.
  Controller(const GateConfig& config, const Clock& clock, Recorder* recorder);
  ~Controller();

  struct Answer {
    LeaseRef lease;
    bool decided = false;  // `decision` is the answer; else the holder will be told
    Decision decision;
    QueuePosition position;  // while waiting
  };
  // `holder` may be null where request.stream is false and nobody waits for the answer (it is then dropped).
  Answer Admit(const Request& request, std::shared_ptr<Holder> holder) ABSL_LOCKS_EXCLUDED(mutex_);
  // A stream takes up a lease it held. False: not there, or another caller's.
  bool Reattach(LeaseId id, uint32_t caller, std::shared_ptr<Holder> holder, Answer* answer)
      ABSL_LOCKS_EXCLUDED(mutex_);
  // The caller of `lease` left; the holder hears no more of it.
  void Cancel(LeaseRef lease) ABSL_LOCKS_EXCLUDED(mutex_);
  // `output_tokens` here and below: of each sequence; -1: not said.
  void End(LeaseRef lease, Gate::EndKind kind, int64_t output_tokens = -1) ABSL_LOCKS_EXCLUDED(mutex_);
  // The process behind `connection` died, and with it the caller of `lease`; the holder hears no more of it.
  void HolderLost(LeaseRef lease, uint64_t connection) ABSL_LOCKS_EXCLUDED(mutex_);
  bool Release(LeaseId id, uint32_t caller, Gate::EndKind kind, int64_t output_tokens = -1) ABSL_LOCKS_EXCLUDED(mutex_);
  // *view: the lease as it is then, where it was kept.
  Gate::Renewal Renew(LeaseId id, uint32_t caller, LeaseView* view) ABSL_LOCKS_EXCLUDED(mutex_);
  // The callers' own leases only; a lease of another is left alone.
  void Progress(LeaseId id, uint32_t caller, const Costs& used, int64_t output_tokens = -1) ABSL_LOCKS_EXCLUDED(mutex_);
  void Extend(LeaseId id, uint32_t caller, int64_t tokens) ABSL_LOCKS_EXCLUDED(mutex_);
  // The engine's word: of leases of every caller. Those of the report that are not held on `instance` are added to
  // *lost, those of the instance that were asked to stop and have not ended to *stop.
  void Step(InstanceId instance, const Gate::StepReport& report, std::vector<LeaseId>* stop, std::vector<LeaseId>* lost)
      ABSL_LOCKS_EXCLUDED(mutex_);
  void StepsEnd(InstanceId instance) ABSL_LOCKS_EXCLUDED(mutex_);
  void ReporterLost(uint64_t connection) ABSL_LOCKS_EXCLUDED(mutex_);
  void RevokeAck(LeaseId id, uint32_t caller) ABSL_LOCKS_EXCLUDED(mutex_);
  bool Revoke(LeaseId id, absl::Duration grace, std::string_view reason) ABSL_LOCKS_EXCLUDED(mutex_);
  void SetReading(AccountId device, const Gate::DeviceReading& reading) ABSL_LOCKS_EXCLUDED(mutex_);
  Gate::LoadAnswer Load(InstanceId instance) ABSL_LOCKS_EXCLUDED(mutex_);
  int64_t Unload(InstanceId instance) ABSL_LOCKS_EXCLUDED(mutex_);
  void Drain() ABSL_LOCKS_EXCLUDED(mutex_);
  // The last rows of the ledger. Nothing may be asked afterwards but views.
  void Stop() ABSL_LOCKS_EXCLUDED(mutex_);

  // Does what is due. Returns when the next is.
  Instant Advance() ABSL_LOCKS_EXCLUDED(mutex_);
  // Sleeps until something is due, at most `most`, or until Wake. For the one thread that calls Advance.
  void WaitUntilDue(absl::Duration most) ABSL_LOCKS_EXCLUDED(mutex_);
  void Wake() ABSL_LOCKS_EXCLUDED(mutex_);
  // Tells every waiter with a stream where it stands.
  void TellPositions() ABSL_LOCKS_EXCLUDED(mutex_);

  // Counts and records a refusal that never reached the gate.
  void CountRefusal(Outcome outcome, std::string_view request_id, std::string_view tenant) ABSL_LOCKS_EXCLUDED(mutex_);

  // Sleeps until nobody holds a lease any more (lingering ones aside), at most `most`. True: so it is. For the end of a
  // drain.
  bool WaitUntilIdle(absl::Duration most) ABSL_LOCKS_EXCLUDED(mutex_);

  Account GetAccount(AccountId id) const ABSL_LOCKS_EXCLUDED(mutex_);
  Snapshot GetSnapshot() const ABSL_LOCKS_EXCLUDED(mutex_);
  Stats GetStats() const ABSL_LOCKS_EXCLUDED(mutex_);
  std::vector<LeaseView> List(size_t from, size_t limit, LeaseState wanted, size_t* next) const
      ABSL_LOCKS_EXCLUDED(mutex_);
  // A lease of `caller`; nullopt where there is none.
  std::optional<LeaseView> View(LeaseId id, uint32_t caller) const ABSL_LOCKS_EXCLUDED(mutex_);
  // The model of a live lease of `caller`; nullopt where there is none.
  std::optional<ModelId> ModelOf(LeaseId id, uint32_t caller) const ABSL_LOCKS_EXCLUDED(mutex_);
  Gate::WhatIf Estimate(const Request& request) const ABSL_LOCKS_EXCLUDED(mutex_);
  const Fleet& fleet() const { return gate_.fleet(); }  // never changes
  const GateConfig& config() const { return config_; }
  Instant Now() const { return clock_.Now(); }

 private:
  struct Delivery {
    std::shared_ptr<Holder> to;
    Decision decision;
  };
  using Deliveries = absl::InlinedVector<Delivery, 2>;

  // Runs `op(now)` under the lock, records its effects, delivers them after it. `own` is the answer the caller waits
  // for: it is returned in *own instead of being delivered.
  template <typename Op>
  void Run(Op op) ABSL_LOCKS_EXCLUDED(mutex_);
  void Settle(Deliveries& deliveries, Answer* own, Instant now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Adopt(LeaseRef lease, std::shared_ptr<Holder> holder) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void RepeatRevocation(const Answer& answer, Deliveries& deliveries, Instant now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Forget(LeaseRef lease) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool OwnedBy(LeaseId id, uint32_t caller) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void WakeIfSooner() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  struct Seat {
    std::shared_ptr<Holder> holder;
    uint32_t attachment = 0;
  };

  const GateConfig config_;
  const Clock& clock_;
  Recorder* const recorder_;
  mutable Mutex mutex_;
  CondVar due_;
  CondVar idle_;
  Gate gate_;  // GUARDED_BY(mutex_), but for fleet(), which never changes
  Effects effects_ ABSL_GUARDED_BY(mutex_);
  std::vector<Seat> seats_ ABSL_GUARDED_BY(mutex_);  // by lease slot
  Stats stats_ ABSL_GUARDED_BY(mutex_);
  Instant planned_ ABSL_GUARDED_BY(mutex_) = kNever;  // when the Advance thread will wake
  bool woken_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace vramgate
