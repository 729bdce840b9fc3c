#include "admission/gate/stats.h"

namespace vramgate {

void Stats::Count(const Decision& decision) {
  const size_t model = Index(decision.model);
  if (decision.kind == Decision::Kind::kExtended) return;
  if (decision.kind == Decision::Kind::kLate) {
    ++lates_[model];
    return;
  }
  if (decision.kind == Decision::Kind::kStop) {
    // A revocation is counted when it is asked for; a takeover, as the end of the former stream.
    if (decision.outcome == Outcome::kSuperseded) ++outcomes_[model][static_cast<size_t>(decision.outcome)];
    if (decision.outcome == Outcome::kRevoked && !decision.grace_over)
      ++(decision.by_policy ? given_way_ : revocations_)[model];
    return;
  }
  ++outcomes_[model][static_cast<size_t>(decision.outcome)];
  if (decision.kind != Decision::Kind::kAnswer) return;
  ++prompt_sources_[model][static_cast<size_t>(decision.prompt_source)];
  WaitKey key{static_cast<int32_t>(decision.model), decision.priority, decision.outcome};
  auto it = waits_.find(key);
  if (it == waits_.end()) {
    if (waits_.size() >= kMostWaitKeys) key.priority = kOtherPriority;
    it = waits_.try_emplace(key).first;
  }
  it->second.Add(kWaitBounds_s, absl::ToDoubleSeconds(decision.waited));
  if (decision.estimated_wait)
    wait_ratios_[model].Add(kWaitRatioBounds, absl::FDivDuration(decision.waited, *decision.estimated_wait));
}

}  // namespace vramgate
