// The real gate in front of the engine: the same state machine as `vramgate serve` runs, in the replay's time, with its
// rows for the ledger. Each request is admitted with its prompt and max_tokens, holds its lease while the engine has
// it, and ends as complete. At the levels above worst_case the gate hears after each step what the engine did, and a
// request that it revokes stops at once and asks again for what is left of it.
//
// Used by the replay, as worst_case, lockstep and statistical. Confined to one thread.
#pragma once

#include <string>
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
  std::optional<RiskReport> control() const override;
  std::optional<WaitReport> estimates() override;

 private:
  void Admit(int32_t index, Instant now);
  void ReportSteps(Instant now);
  // Writes the rows down and does what was decided. `asked`: whose Admit it was, or -1.
  void Apply(int32_t asked, Instant now);
  void GiveWay(Instant now);
  void Retry(Instant now);
  bool reports() const { return scene_.level != Assurance::kWorstCase; }
  const Job& job(int32_t index) const { return scene_.jobs[static_cast<size_t>(index)]; }

  const Scene& scene_;
  Gate gate_;
  Effects effects_;
  std::vector<LeaseRef> leases_;                         // by job
  absl::flat_hash_map<uint64_t, int32_t> job_of_lease_;  // of waiters and holders
  std::vector<int32_t> granted_;                         // that the engine had no room for, or took it from: in order
  int64_t steps_ = 0;                                    // that the gate has heard of
  std::vector<Gate::StepReport::Ended> ended_;           // since
  std::vector<Gate::StepReport::Emitted> emitted_;
  std::vector<bool> emitting_;    // by job: the gate knows of its first token
  std::vector<int32_t> revoked_;  // that are to stop
  double deviations_ = 0;         // summed over steps
  std::vector<double> errors_s_;  // of told waits
  std::vector<double> ratios_;
};

}  // namespace vramgate
