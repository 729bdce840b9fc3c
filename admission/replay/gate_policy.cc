#include "admission/replay/gate_policy.h"

#include "admission/check.h"

namespace vramgate {
namespace {

GateConfig ConfigOf(const Scene& scene) {
  GateConfig config = scene.gate;
  if (scene.fcfs) config.queue.max_bypass = 0;
  config.ledger = scene.recorder != nullptr;
  return config;
}

}  // namespace

GatePolicy::GatePolicy(const Scene& scene) : scene_(scene), gate_(ConfigOf(scene)), leases_(scene.jobs.size()) {
  gate_.Start(Instant{0}, effects_);
  Apply(-1, Instant{0});
}

void GatePolicy::Arrive(int32_t index, Instant now) {
  const auto i = static_cast<size_t>(index);
  const Job& job = scene_.jobs[i];
  Request request;
  request.tenant = scene_.tenants[static_cast<size_t>(job.tenant)];
  request.model = scene_.model;
  request.instance = scene_.instance;
  request.costs = scene_.costs[i];
  request.tokens = int64_t{job.prompt_tokens} + job.max_tokens;
  request.stream = true;
  const Instant begin = scene_.times.Begin();
  const Gate::Admission admission = gate_.Admit(request, now, effects_);
  scene_.times.End(begin);
  leases_[i] = admission.lease;
  if (admission.waiting) job_of_lease_.emplace(admission.lease.id.value, index);
  Apply(index, now);
}

void GatePolicy::End(int32_t index, Instant now) {
  const Instant begin = scene_.times.Begin();
  gate_.End(leases_[static_cast<size_t>(index)], Gate::EndKind::kCompleted, now, effects_);
  scene_.times.End(begin);
  Apply(-1, now);
}

void GatePolicy::Apply(int32_t asked, Instant now) {
  if (scene_.recorder != nullptr) {
    for (const AccountId id : effects_.named) scene_.recorder->OnAccount(id, gate_.budget().account(id).name);
    for (const LedgerRow& row : effects_.rows) scene_.recorder->OnRow(row);
    for (const Decision& decision : effects_.decisions) scene_.recorder->OnDecision(decision, now);
  }
  for (const Decision& decision : effects_.decisions) {
    if (decision.kind != Decision::Kind::kAnswer) continue;
    const auto waiter = job_of_lease_.find(decision.lease.id.value);
    const int32_t index = waiter == job_of_lease_.end() ? asked : waiter->second;
    CHECK(index >= 0, "GatePolicy: an answer to nobody");
    if (waiter != job_of_lease_.end()) job_of_lease_.erase(waiter);
    if (decision.outcome == Outcome::kGranted) {
      granted_.push_back(index);
    } else {
      scene_.starts.Refuse(index, decision.outcome, now);
    }
  }
  effects_.Clear();
  Retry(now);
}

// In the order of the grants: an engine that lacks room for one keeps those behind it waiting.
void GatePolicy::Retry(Instant now) {
  size_t started = 0;
  while (started < granted_.size() && scene_.starts.Start(granted_[started], now)) ++started;
  granted_.erase(granted_.begin(), granted_.begin() + static_cast<ptrdiff_t>(started));
}

void GatePolicy::Preempted(int32_t index, Instant now) {
  (void)now;
  granted_.insert(granted_.begin(), index);
}

Instant GatePolicy::Advance(Instant now) {
  if (gate_.NextTimer() <= now) {
    gate_.Advance(now, effects_);
    Apply(-1, now);
  }
  Retry(now);
  return gate_.NextTimer();
}

void GatePolicy::Stop(Instant now) {
  gate_.Stop(now, effects_);
  Apply(-1, now);
}

}  // namespace vramgate
