// A Snapshot is what an operator, a scrape or a status page sees: accounts, queue, leases, and the account most waiters
// wait for. Taken under the Controller's lock, read at leisure after it. Plain values.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "admission/gate/budget.h"
#include "admission/gate/gate.h"
#include "admission/gate/lease_table.h"

namespace vramgate {

struct Snapshot {
  struct AccountView {
    Account account;
    int32_t waiting = 0;  // waiters that lack bytes here
    int64_t over_bytes() const { return std::max<int64_t>(0, account.used_bytes() - account.capacity_bytes); }
  };
  struct QueueView {
    ModelId model{0};
    int32_t priority = 0;
    int64_t requests = 0;
    int64_t tokens = 0;
  };
  struct ModelView {
    std::string name;
    int64_t held = 0;
    int64_t lingering = 0;
    int64_t waiting = 0;
    int64_t overuses = 0;
  };

  struct TenantView {
    std::string name;
    double byte_seconds = 0;  // held so far, by leases that have ended and by those that are
  };
  static constexpr int32_t kMostTenants = 100;

  // Of an instance above worst_case.
  struct AssuranceView {
    ModelId model{0};
    std::string instance;
    Assurance level = Assurance::kLockstep;
    Assurance in_force = Assurance::kLockstep;
    int64_t late = 0;
    bool silent = false;
    double risk = 0;  // this and below: statistical only
    double rate = 0;
    double bound = 0;
    double deviations = 0;
    int64_t windows = 0;
  };

  Instant at;
  std::vector<AccountView> accounts;  // by AccountId
  std::vector<ModelView> models;      // by ModelId
  std::vector<QueueView> queue;       // by model and priority; none that is empty
  std::vector<TenantView> tenants;    // those of the config first, kMostTenants at most
  double others_byte_seconds = 0;     // of all other tenants
  std::vector<AssuranceView> assurances;
  std::string bottleneck;  // "" when nobody waits
  int64_t held = 0;        // lingering not included
  int64_t lingering = 0;
  int64_t waiting = 0;
  bool draining = false;
};

// O(accounts + waiters).
Snapshot TakeSnapshot(const Gate& gate, Instant now);

// One lease, for a list.
struct LeaseView {
  LeaseId id;
  LeaseState state = LeaseState::kFree;
  ModelId model{0};
  InstanceId instance = kAnyInstance;
  RankCost cost;               // on each device of the instance; of a waiter: of its first alternative
  int64_t granted_tokens = 0;  // as in Decision
  bool revocable = false;
  bool revoking = false;  // asked to stop
  std::string tenant;
  std::string request_id;
  std::string log_id;  // the same, or what the log calls it
  int32_t priority = 0;
  int32_t sequences = 1;
  Instant arrived;
  Instant granted;  // 0: not yet
  Instant expires = kNever;
};

// Up to `limit` leases from slot `from` on, in slot order, those that `wanted` (kFree: all); *next: where the next page
// begins, or 0. Looks at 4096 slots at most, so a page may be short.
std::vector<LeaseView> ListLeases(const Gate& gate, size_t from, size_t limit, LeaseState wanted, size_t* next);

// The view of one lease.
LeaseView ViewOf(const Gate& gate, const Lease& lease);

}  // namespace vramgate
