#include "admission/replay/gate_policy.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "admission/check.h"
#include "admission/replay/quantile.h"

namespace vramgate {
namespace {

// The engine as it is: what a step computes of prompts beside the decodes of all that may run.
AssuranceSpec AssuranceOf(const Scene& scene) {
  const EngineOptions& engine = scene.engine.options();
  AssuranceSpec spec;
  spec.level = *scene.level;
  spec.risk = scene.risk;
  spec.block_tokens = engine.curve.block_tokens();
  spec.block_bytes.assign(kMaxPriceClasses, engine.curve.largest_block_bytes());
  spec.max_sequences = engine.max_sequences;
  spec.prompt_tokens_per_step = std::max<int64_t>(1, engine.step_tokens - engine.max_sequences);
  spec.typical_output_tokens = 1;
  for (const Job& job : scene.jobs) {
    spec.typical_output_tokens = std::max<int64_t>(spec.typical_output_tokens, job.max_tokens);
  }
  return spec;
}

GateConfig ConfigOf(const Scene& scene) {
  GateConfig config = scene.gate;
  if (scene.fcfs) {
    config.queue.max_bypass = 0;
    config.queue.fair = false;
  }
  config.ledger = scene.recorder != nullptr;
  if (scene.level == Assurance::kWorstCase) {
    config.models[Index(scene.model)].assurance = {};
    return config;
  }
  ModelSpec& model = config.models[Index(scene.model)];
  model.assurance = AssuranceOf(scene);
  // These levels watch a pool: what a dynamic one has of its devices becomes one. The model's other instances are not
  // replayed.
  bool dynamic = false;
  for (InstanceSpec& instance : model.instances) {
    dynamic = dynamic || !instance.pool_bytes;
    if (!instance.pool_bytes) instance.pool_bytes = 0;
  }
  if (!dynamic) return config;
  size_t first = 0;
  for (size_t m = 0; m < Index(scene.model); ++m) first += config.models[m].instances.size();
  model.instances[Index(scene.instance) - first].pool_bytes = scene.engine.options().pool_bytes;
  for (DeviceSpec& device : config.devices) device.capacity_bytes = device.ceiling_bytes = int64_t{1} << 60;
  return config;
}

}  // namespace

GatePolicy::GatePolicy(const Scene& scene)
    : scene_(scene), gate_(ConfigOf(scene)), leases_(scene.jobs.size()), emitting_(scene.jobs.size()) {
  gate_.Start(Instant{0}, effects_);
  Apply(-1, Instant{0});
}

void GatePolicy::Arrive(int32_t index, Instant now) {
  Admit(index, now);
}

// For the first time, or for what a revocation left of it.
void GatePolicy::Admit(int32_t index, Instant now) {
  const auto i = static_cast<size_t>(index);
  const int32_t generated = scene_.engine.generated(index);
  const std::string id = reports() ? absl::StrCat(index) : std::string();
  Request request;
  request.request_id = id;
  request.tenant = scene_.tenants[static_cast<size_t>(job(index).tenant)];
  request.model = scene_.model;
  request.instance = scene_.instance;
  request.costs = scene_.costs[i];
  request.prompt_tokens = int64_t{job(index).prompt_tokens} + generated;
  request.max_output_tokens = job(index).max_tokens - generated;
  for (size_t c = 0; c < request.costs.size(); ++c) {
    request.start_costs[c] = {scene_.engine.options().curve.bytes(request.prompt_tokens), 0};
  }
  request.revocable = true;
  request.tokens = int64_t{job(index).prompt_tokens} + job(index).max_tokens;
  request.stream = true;
  const Instant begin = scene_.times.Begin();
  const Gate::Admission admission = gate_.Admit(request, now, effects_);
  scene_.times.End(begin);
  leases_[i] = admission.lease;
  if (admission.waiting || reports()) job_of_lease_[admission.lease.id.value] = index;
  Apply(index, now);
}

void GatePolicy::End(int32_t index, Instant now) {
  const auto i = static_cast<size_t>(index);
  if (reports()) {
    ended_.push_back({leases_[i], int64_t{job(index).output_tokens} - scene_.engine.generated(index)});
    return;  // Advance follows
  }
  const Instant begin = scene_.times.Begin();
  gate_.End(leases_[i], Gate::EndKind::kCompleted, now, effects_);
  scene_.times.End(begin);
  Apply(-1, now);
}

// What the engine says after a step: who ended, who emitted a first token. Else everybody emitted one.
void GatePolicy::ReportSteps(Instant now) {
  const int64_t steps = scene_.engine.completed_steps() - std::exchange(steps_, scene_.engine.completed_steps());
  emitted_.clear();
  for (const Sequence& s : scene_.engine.running()) {
    const auto i = static_cast<size_t>(s.job);
    const int32_t since_start = s.generated_tokens - scene_.engine.generated(s.job);
    if (emitting_[i] || since_start == 0) continue;
    emitting_[i] = true;
    emitted_.push_back({leases_[i].id, since_start});
  }
  gate_.Step(scene_.instance, {.steps = steps, .ended = ended_, .emitted = emitted_}, now, effects_);
  if (const Outlook* outlook = gate_.outlook(scene_.instance); outlook != nullptr)
    deviations_ += outlook->control().z() * static_cast<double>(steps);
  for (const Gate::StepReport::Ended& ended : ended_) job_of_lease_.erase(ended.lease.id.value);
  ended_.clear();
  Apply(-1, now);
}

void GatePolicy::Apply(int32_t asked, Instant now) {
  if (scene_.recorder != nullptr) {
    for (const AccountId id : effects_.named) scene_.recorder->OnAccount(id, gate_.budget().account(id).name);
    for (const LedgerRow& row : effects_.rows) scene_.recorder->OnRow(row);
    for (const Decision& decision : effects_.decisions) scene_.recorder->OnDecision(decision, now);
  }
  for (const Decision& decision : effects_.decisions) {
    const bool stop = decision.kind == Decision::Kind::kStop;
    if (decision.kind != Decision::Kind::kAnswer && !stop) continue;
    const auto known = job_of_lease_.find(decision.lease.id.value);
    const int32_t index = known == job_of_lease_.end() ? asked : known->second;
    CHECK(index >= 0, "GatePolicy: an answer to nobody");
    if (stop) {
      revoked_.push_back(index);
      continue;
    }
    if (known != job_of_lease_.end() && (!reports() || decision.outcome != Outcome::kGranted))
      job_of_lease_.erase(known);
    if (decision.estimated_wait) {
      errors_s_.push_back(std::abs(absl::ToDoubleSeconds(decision.waited - *decision.estimated_wait)));
      ratios_.push_back(absl::FDivDuration(decision.waited, *decision.estimated_wait));
    }
    if (decision.outcome == Outcome::kGranted) {
      granted_.push_back(index);
    } else {
      scene_.starts.Refuse(index, decision.outcome, now);
    }
  }
  effects_.Clear();
  GiveWay(now);
  Retry(now);
}

// Those that are to give way stop, which frees their KV, and ask again.
void GatePolicy::GiveWay(Instant now) {
  while (!revoked_.empty()) {
    const int32_t index = revoked_.back();
    revoked_.pop_back();
    const auto waiting = std::find(granted_.begin(), granted_.end(), index);
    if (waiting != granted_.end()) {
      granted_.erase(waiting);
    } else {
      scene_.starts.Stop(index, now);
    }
    emitting_[static_cast<size_t>(index)] = false;
    gate_.RevokeAck(leases_[static_cast<size_t>(index)].id, now, effects_);
    Admit(index, now);
  }
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
  if (reports() && (scene_.engine.completed_steps() > steps_)) ReportSteps(now);
  if (gate_.NextTimer() <= now) {
    gate_.Advance(now, effects_);
    Apply(-1, now);
  }
  Retry(now);
  return gate_.NextTimer();
}

void GatePolicy::Stop(Instant now) {
  if (reports()) ReportSteps(now);
  gate_.Stop(now, effects_);
  Apply(-1, now);
}

std::optional<WaitReport> GatePolicy::estimates() {
  if (errors_s_.empty()) return std::nullopt;
  return WaitReport{.estimates = std::ssize(errors_s_),
                    .error_p50_s = QuantileOf(errors_s_, 0.5),
                    .error_p90_s = QuantileOf(errors_s_, 0.9),
                    .ratio_p50 = QuantileOf(ratios_, 0.5)};
}

std::optional<RiskReport> GatePolicy::control() const {
  if (scene_.level != Assurance::kStatistical) return std::nullopt;
  const RiskControl& control = gate_.outlook(scene_.instance)->control();
  return RiskReport{.rate = control.rate(),
                    .bound = control.bound(),
                    .deviations = steps_ > 0 ? deviations_ / static_cast<double>(steps_) : 0,
                    .windows = control.windows(),
                    .delay = control.delay()};
}

}  // namespace vramgate
