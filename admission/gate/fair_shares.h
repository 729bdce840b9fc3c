// Fair shares: what each tenant has had of an island's memory, as memory x time / weight. The queue lets the tenant go
// first that has had least. It is the virtual token counter of VTC (Sheng et al., "Fairness in Serving Large Language
// Models", OSDI 2024) with memory x time in place of tokens:
//
//   shares.Granted(lease, tenant, island, bytes, bytes, now);     // charged at once: bytes x the time expected
//   shares.Grown(lease, tenant, instance, account, bytes, now);   // its reservation has grown there
//   shares.Ended(lease, tenant, island, bytes, now);              // corrected to what it held x the time it did
//
// Expected is the mean of the model's last ends, each counting for a sixteenth, and kFirstHold before the first; of a
// hold at most kLongestHold enters the mean. Where leases grow to their cost, it is the time for which the whole cost
// would have been as much. That idling banks nothing is WaitQueue::Lift's work, from floor().
//
// Used by the Gate. Thread rule: the Gate's thread. O(1); nothing allocates. All is whole numbers, so that a run
// repeats to the letter on every machine. A share is in units of 2^20 byte-nanoseconds x 2^30 / weight: 16 TiB held for
// ten years at the least weight are 2^122 of them.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/time/time.h"
#include "admission/gate/fleet.h"
#include "admission/gate/lease_table.h"
#include "admission/gate/tenant_table.h"

namespace vramgate {

inline constexpr absl::Duration kFirstHold = absl::Seconds(1);
inline constexpr absl::Duration kLongestHold = absl::Hours(1);

class FairShares {
 public:
  FairShares(int islands, size_t models);

  // The lease, which costs `bytes` over all its devices, holds `start_bytes` from now on: less where it is to grow.
  void Granted(Lease& lease, Tenant& tenant, int island, int64_t bytes, int64_t start_bytes, Instant now);
  // REQUIRES: granted and not ended, here and below.
  void Grown(Lease& lease, Tenant& tenant, const Instance& instance, AccountId account, int64_t bytes, Instant now);
  // `bytes`: its cost.
  void Ended(Lease& lease, Tenant& tenant, int island, int64_t bytes, Instant now);

  // The most that a tenant had had when it was granted something, before it was charged for that: where a newcomer
  // begins, so that it goes before the next of who was last.
  FairTime floor(int island) const { return floors_[static_cast<size_t>(island)]; }
  absl::Duration expected_hold(ModelId model) const { return absl::Nanoseconds(holds_[Index(model)].mean_ns); }

 private:
  struct Hold {
    int64_t mean_ns = absl::ToInt64Nanoseconds(kFirstHold);
    bool measured = false;
  };
  std::vector<FairTime> floors_;  // by island
  std::vector<Hold> holds_;       // by model
};

}  // namespace vramgate
