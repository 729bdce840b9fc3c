#include "admission/replay/replay.h"

#include <algorithm>
#include <cmath>

#include "admission/check.h"
#include "admission/replay/meter.h"
#include "admission/replay/occupancy_ledger.h"

namespace vramgate {
namespace {

constexpr int64_t kWindowSteps = 10;  // of the revocation rate
constexpr int64_t kProgressEvery = 512;
constexpr double kLatestNs = 4e18;  // 127 years

class Run final : public Starts {
 public:
  Run(const PolicyRun& run, const ReplayInput& input, const ReplayHooks& hooks)
      : input_(input),
        hooks_(hooks),
        engine_(input.engine, run.kind->victim),
        times_(hooks.stopwatch),
        meter_(input.tenants.size(), input.engine.pool_bytes),
        ledger_(run.kind->level ? nullptr : hooks.recorder, input.pool, input.engine.pool_bytes, input.jobs.size()),
        scene_{.jobs = input.jobs,
               .tenants = input.tenants,
               .engine = engine_,
               .gate = input.gate,
               .model = input.model,
               .instance = input.instance,
               .costs = input.costs,
               .level = run.kind->level,
               .risk = run.risk,
               .fcfs = input.fcfs,
               .seed = input.seed,
               .recorder = hooks.recorder,
               .starts = *this,
               .times = times_},
        policy_(run.kind->make(scene_)),
        started_(input.jobs.size()) {
    result_.policy = run.kind->name;
    if (run.kind->has_risk()) result_.risk = run.risk;
    result_.requests = std::ssize(input.jobs);
  }

  ReplayResult Go();

  [[nodiscard]] bool Start(int32_t index, Instant now) override;
  void Refuse(int32_t index, Outcome why, Instant now) override;
  void Stop(int32_t index, Instant now) override;

 private:
  const Job& job(int32_t index) const { return input_.jobs[static_cast<size_t>(index)]; }
  void Arrivals(Instant until);
  void Step();
  void Note(Instant now);
  void Done();
  void Finish();

  const ReplayInput& input_;
  const ReplayHooks& hooks_;
  EngineModel engine_;
  EngineEffects effects_;
  DecisionTimes times_;
  Meter meter_;
  OccupancyLedger ledger_;
  const Scene scene_;
  const std::unique_ptr<Policy> policy_;
  std::vector<bool> started_;  // by job: at least once
  size_t next_ = 0;            // job to arrive
  Instant now_;
  Instant due_ = kNever;  // the policy's
  int64_t done_ = 0;
  int64_t windows_ = 0;
  int64_t revoked_windows_ = 0;
  bool revoked_ = false;  // in this window
  ReplayResult result_;
};

bool Run::Start(int32_t index, Instant now) {
  const Job& j = job(index);
  const EngineModel::Work work{j.prompt_tokens, j.output_tokens, engine_.generated(index)};
  if (!engine_.Start(index, work, effects_)) return false;
  meter_.StopWaiting(j.tenant);
  const auto i = static_cast<size_t>(index);
  if (!started_[i]) meter_.Waited(now - j.arrival);
  started_[i] = true;
  Note(now);
  return true;
}

void Run::Refuse(int32_t index, Outcome why, Instant now) {
  (void)why;
  (void)now;
  CHECK(!started_[static_cast<size_t>(index)], "Replay: a request was refused that had started");
  meter_.StopWaiting(job(index).tenant);
  ++result_.rejected;
  Done();
}

void Run::Stop(int32_t index, Instant now) {
  engine_.Stop(index, effects_);
  effects_.preempted.clear();  // by the policy's own doing
  revoked_ = true;
  meter_.Wait(job(index).tenant);
  Note(now);
}

// What the engine's KV has become.
void Run::Note(Instant now) {
  for (const EngineEffects::KvChange& change : effects_.kv) {
    meter_.Occupy(job(change.job).tenant, change.delta_bytes);
    ledger_.Change(change.job, change.delta_bytes, now);
  }
  effects_.kv.clear();
}

void Run::Done() {
  ++done_;
  if (hooks_.progress && done_ % kProgressEvery == 0) hooks_.progress(done_, result_.requests);
}

// Everybody who comes, and everything of the policy that is due, up to `until`.
void Run::Arrivals(Instant until) {
  for (;;) {
    const Instant arrival = next_ < input_.jobs.size() ? input_.jobs[next_].arrival : kNever;
    const Instant event = std::min(arrival, due_);
    if (event > until || event == kNever) break;
    now_ = std::max(now_, event);
    meter_.Advance(now_);
    if (due_ <= arrival) {
      due_ = policy_->Advance(now_);
      continue;
    }
    const auto index = static_cast<int32_t>(next_++);
    meter_.Wait(job(index).tenant);
    if (job(index).max_tokens > 0) {
      policy_->Arrive(index, now_);
    } else {
      Refuse(index, Outcome::kRejectedInvalidRequest, now_);  // its prompt alone is too long for the model
    }
  }
}

void Run::Step() {
  const absl::Duration length = engine_.BeginStep(effects_);
  Note(now_);
  revoked_ = revoked_ || !effects_.preempted.empty();
  for (const int32_t index : effects_.preempted) {
    meter_.Wait(job(index).tenant);
    policy_->Preempted(index, now_);
  }
  effects_.preempted.clear();
  const Instant end = now_ + length;
  Arrivals(end);
  now_ = end;
  meter_.Advance(now_);
  engine_.EndStep(effects_);
  Note(now_);
  const std::vector<int32_t> finished = std::move(effects_.finished);
  effects_.finished.clear();
  for (const int32_t index : finished) {
    ++result_.completed;
    Done();
    policy_->End(index, now_);
  }
  if (engine_.steps() % kWindowSteps == 0) {
    ++windows_;
    revoked_windows_ += revoked_ ? 1 : 0;
    revoked_ = false;
  }
}

ReplayResult Run::Go() {
  while (done_ < result_.requests) {
    due_ = policy_->Advance(now_);
    if (!engine_.running().empty()) {
      Step();
      continue;
    }
    const Instant arrival = next_ < input_.jobs.size() ? input_.jobs[next_].arrival : kNever;
    const Instant next = std::min(arrival, due_);
    CHECK(next != kNever || done_ == result_.requests, "Replay: the engine is idle, and nobody will ever start");
    if (next != kNever) Arrivals(next);
  }
  Finish();
  return std::move(result_);
}

void Run::Finish() {
  CHECK(engine_.occupied_bytes() == 0 && meter_.waiting() == 0, "Replay: somebody is left at the end");
  policy_->Stop(now_);
  ledger_.Stop(now_);
  result_.output_tokens = engine_.emitted_tokens();
  result_.duration_s = meter_.duration_s();
  result_.queued_s = meter_.queued_s();
  result_.utilization = meter_.utilization();
  result_.utilization_while_queued = meter_.utilization_while_queued();
  result_.steps = engine_.steps();
  const int64_t windows = windows_ + (engine_.steps() % kWindowSteps != 0 ? 1 : 0);
  const int64_t revoked = revoked_windows_ + (revoked_ ? 1 : 0);
  if (windows > 0) result_.revocation_rate = static_cast<double>(revoked) / static_cast<double>(windows);
  result_.control = policy_->control();
  result_.estimates = policy_->estimates();
  result_.recomputed_tokens = engine_.recomputed_tokens();
  result_.preemptions = engine_.preemptions();
  result_.wait_p50_s = meter_.WaitQuantile_s(0.5);
  result_.wait_p99_s = meter_.WaitQuantile_s(0.99);
  result_.fairness_gap = meter_.FairnessGap();
  result_.decision_ns_p50 = times_.Quantile(0.5);
  result_.decision_ns_p99 = times_.Quantile(0.99);
  result_.spans = meter_.timeline().spans();
  result_.span_s = static_cast<double>(meter_.timeline().span_ns()) * 1e-9;
}

}  // namespace

ReplayResult Replay(const PolicyRun& run, const ReplayInput& input, const ReplayHooks& hooks) {
  CHECK(input.costs.size() == input.jobs.size() && input.engine.pool_bytes > 0, "Replay: an input that cannot be");
  return Run(run, input, hooks).Go();
}

std::vector<Job> JobsOf(const Trace& trace, double speed, int64_t max_tokens, int64_t max_model_tokens) {
  std::vector<Job> jobs;
  jobs.reserve(trace.rows.size());
  for (const TraceRow& row : trace.rows) {
    const int64_t room = std::max<int64_t>(0, max_model_tokens - row.prompt_tokens);
    const auto most = static_cast<int32_t>(std::min(max_tokens, room));
    const double arrival_ns = std::min(static_cast<double>(row.arrival_ns) / speed, kLatestNs);
    jobs.push_back({.arrival = {std::llround(arrival_ns)},
                    .prompt_tokens = row.prompt_tokens,
                    .max_tokens = most,
                    .output_tokens = std::min(row.output_tokens, most),
                    .tenant = row.tenant});
  }
  return jobs;
}

}  // namespace vramgate
