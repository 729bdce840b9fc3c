// Dispatch: who goes next.
//
// Waiters are looked at in the order of the walk: by priority and age, then by what their tenants have had. One that
// fits is granted, on the instance with the most free bytes. One that is not closes what it needs to those behind it:
// the devices and pools of all its alternatives, or only its tenant where only the tenant's share is short. Behind a
// closed account a later waiter may still be granted, at most `max_bypass` times past any one waiter: bounded
// unfairness instead of an idle card. Where no end of a generation is known, that is at worst_case, nobody goes past
// one that has waited `bypass_window`. Above it, the first one to wait for an instance is told when it surely starts,
// and only those go past it that do not make it later (Outlook::KeepsPromise: EASY backfill).
//
//   dispatch.Run(island, now, [&](Lease& waiter, InstanceId instance) { ... leave the queue, reserve, answer ... });
//
// Used by the Gate after everything that changes room, in either direction. When Run returns, the policy has no further
// pick in that island. Granting only takes room, so one pass is enough, but for two cases: a waiter that is torn
// (Verdict) closes less when only its tenant's share is left to wait for, and a grant puts its tenant behind others,
// who were closed in by that tenant's next until then. A pass ends at once where nobody left can be granted, so a full
// card with a thousand waiters costs no more than one with ten. Thread rule: the Gate's thread. In a steady state
// nothing allocates.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/functional/function_ref.h"
#include "admission/gate/budget.h"
#include "admission/gate/fleet.h"
#include "admission/gate/gate_config.h"
#include "admission/gate/instance_loads.h"
#include "admission/gate/outlook.h"
#include "admission/gate/queue_walk.h"
#include "admission/gate/wait_queue.h"

namespace vramgate {

class Dispatch {
 public:
  // `outlooks`: by instance; null where it has none.
  using Outlooks = std::vector<std::unique_ptr<Outlook>>;
  Dispatch(const Fleet& fleet, const InstanceLoads& loads, const Budget& budget, const Outlooks& outlooks,
           WaitQueue& queue, const GateConfig::Queue& limits);

  // Where a waiter could go now, and what it lacks.
  struct Verdict {
    InstanceId pick = kAnyInstance;  // kAnyInstance: nowhere
    bool devices_short = false;      // on no alternative do the devices and the pool have the bytes
    bool tenant_short = false;       // the tenant's share lacks them
    bool torn = false;               // both, each on another alternative: less room may close less
    bool stale = false;              // every alternative has a device whose reading is too old
  };
  // For a lease that nobody is ahead of: looks at the room only.
  Verdict Judge(const Lease& lease, AccountId tenant) const;

  using Grant = absl::FunctionRef<void(Lease&, InstanceId)>;
  // `tenants` gives each lease's tenant account (kNoAccount: none). `grant` must take the waiter out of the queue and
  // reserve exactly Fleet::ChargesOf. `more_room`: there may be more than when Run was called last; else only who came
  // since may go.
  void Run(int island, bool more_room, Instant now, absl::FunctionRef<AccountId(const Lease&)> tenant_of, Grant grant);

 private:
  struct Closing {
    uint64_t soft = 0;  // the pass in which it was closed to those behind
    uint64_t hard = 0;  // and without a bypass
  };
  Closing& closing(AccountId id) { return closings_[Index(id)]; }
  // An account that came after the last pass (a new tenant's) is closed by nobody.
  bool HardClosed(AccountId id) const { return Index(id) < closings_.size() && closings_[Index(id)].hard == pass_; }

  // True: it must be looked at again.
  bool Pass(int island, Instant now, absl::FunctionRef<AccountId(const Lease&)> tenant_of, Grant grant);
  template <typename Visit>
  void ForEachNeeded(const Line& line, const Lease& lease, Visit visit) const;
  // `lease`: null where only the least that anybody costs is known.
  bool CanTake(InstanceId id, const RankCost& cost, const Lease* lease, int64_t* free_bytes) const;
  bool PoolTakes(InstanceId id, const RankCost& cost, const Lease* lease, int64_t* free_bytes) const;
  bool DevicesTake(const Instance& instance, const RankCost& cost, int64_t* free_bytes) const;
  bool Takes(AccountId id, int64_t bytes, int64_t* free_bytes) const;
  bool Hopeless(int line) const;
  bool Exhausted(const Lease& lease, bool tenant_short, Instant now) const;
  void Lead(const Lease& waiter);
  bool CountTry(const Lease& waiter);
  bool SeenAlready(const Lease& waiter) const;
  bool Close(Lease& lease, AccountId tenant, const Verdict& verdict, Instant now);
  void CountBypassed(const Charges& charges, Instant now, absl::FunctionRef<AccountId(const Lease&)> tenant_of);
  int CloseHopelessLines(int island);

  // A line in the pass under way.
  struct LinePass {
    uint64_t closed = 0;  // the pass in which nobody left in it can be granted
    uint64_t seen = 0;    // the pass that `visited` and `least` belong to
    int64_t visited = 0;
    Costs least;
  };
  void See(LinePass& line, const Lease& lease);

  // Who is first to wait for an instance, and was promised when it starts.
  struct Head {
    const Lease* waiter = nullptr;
    uint64_t pass = 0;  // that it was seen in
    int32_t tries = 0;  // in that pass: looked at behind it, in vain
  };
  bool HasHead(InstanceId id) const { return heads_[Index(id)].pass == pass_; }

  const Fleet& fleet_;
  const InstanceLoads& loads_;
  const Budget& budget_;
  const Outlooks& outlooks_;
  WaitQueue& queue_;
  const int32_t max_bypass_;
  const int64_t bypass_window_ns_;
  std::vector<std::vector<int>> island_lines_;
  std::vector<LinePass> lines_;
  std::vector<Closing> closings_;  // by account; grows with the budget
  std::vector<Head> heads_;        // by instance
  std::vector<uint64_t> rooms_;    // by island: counts the times when there may have come more room
  QueueWalk walk_;
  std::vector<Lease*> left_;  // in the pass under way: looked at and not granted
  bool hard_ = false;         // in the pass under way: somebody closed without a bypass
  uint64_t pass_ = 1;
};

}  // namespace vramgate
