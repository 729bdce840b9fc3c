// The real gate in front of the engine: the same state machine as `vramgate serve` runs, in the replay's time, with its
// rows for the ledger. Each request is admitted with its prompt and max_tokens, holds its lease while the engine has
// it, and ends as complete.
//
// Used by the replay, as `worst_case`. Confined to one thread.
#pragma once

#include <vector>

#include "absl/container/flat_hash_map.h"
#include "admission/gate/gate.h"
#include "admission/replay/policy.h"

namespace vramgate {

class GatePolicy final : public Policy {
 public:
  explicit GatePolicy(const Scene& scene);

  void Arrive(int32_t index, Instant now) override;
  void End(int32_t index, Instant now) override;
  void Preempted(int32_t index, Instant now) override;
  Instant Advance(Instant now) override;
  void Stop(Instant now) override;

 private:
  // Writes the rows down and does what was decided. `asked`: whose Admit it was, or -1.
  void Apply(int32_t asked, Instant now);
  void Retry(Instant now);

  const Scene& scene_;
  Gate gate_;
  Effects effects_;
  std::vector<LeaseRef> leases_;                         // by job
  absl::flat_hash_map<uint64_t, int32_t> job_of_lease_;  // of waiters
  std::vector<int32_t> granted_;                         // that the engine had no room for, or took it from: in order
};

}  // namespace vramgate
