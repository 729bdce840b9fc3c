// The replay: a trace's requests, a policy that lets them start, an engine model that runs them, in virtual time.
//
//   ReplayInput input = ...;                                   // jobs, engine, gate config
//   const ReplayResult result = Replay({FindPolicy("worst_case")}, input, {});
//
// Arrivals reach the policy when they come, also amid a step; what starts then computes from the next step on. Used by
// `vramgate replay` and its tests. Pure: the same input gives the same result, but for the decisions' times. Thread
// rule: any number of replays in parallel, each on its own thread, may share an input.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "admission/gate/gate_config.h"
#include "admission/replay/engine_model.h"
#include "admission/replay/policy.h"
#include "admission/replay/policy_table.h"
#include "admission/replay/timeline.h"
#include "admission/replay/trace.h"

namespace vramgate {

struct ReplayInput {
  std::vector<Job> jobs;             // by arrival
  std::vector<std::string> tenants;  // by Job::tenant
  std::vector<Costs> costs;          // by job, to its max_tokens: what the gate charges
  EngineOptions engine;
  GateConfig gate;
  ModelId model{0};
  InstanceId instance{0};
  std::string pool = "pool/model/0";  // the account in the ledger of what is no gate
  bool fcfs = false;
  uint64_t seed = 1;
};

struct ReplayHooks {
  Recorder* recorder = nullptr;                             // hears the ledger's rows
  const Clock* stopwatch = nullptr;                         // a real clock, to time decisions with
  std::function<void(int64_t done, int64_t all)> progress;  // now and then
};

struct ReplayResult {
  std::string policy;
  std::optional<double> risk;  // of the policies that have one
  int64_t requests = 0;
  int64_t completed = 0;
  int64_t rejected = 0;
  int64_t output_tokens = 0;
  double duration_s = 0;
  double queued_s = 0;
  double utilization = 0;
  std::optional<double> utilization_while_queued;
  int64_t steps = 0;
  std::optional<WaitReport> estimates;  // of the gate
  std::optional<RiskReport> control;    // of the statistical level
  double revocation_rate = 0;           // of windows of ten steps, those in which a request lost its KV
  int64_t recomputed_tokens = 0;
  int64_t preemptions = 0;
  double wait_p50_s = 0;
  double wait_p99_s = 0;
  std::optional<double> fairness_gap;
  double decision_ns_p50 = 0;
  double decision_ns_p99 = 0;
  std::vector<Timeline::Span> spans;
  double span_s = 0;

  double output_tokens_per_s() const { return duration_s > 0 ? static_cast<double>(output_tokens) / duration_s : 0; }
};

// REQUIRES: jobs by arrival, the first at 0 or later, costs of the same number, a pool > 0.
ReplayResult Replay(const PolicyRun& run, const ReplayInput& input, const ReplayHooks& hooks);

// A trace's requests, `speed` times as fast, each with `max_tokens` (its output is cut there), or what
// `max_model_tokens` leaves it; one whose prompt leaves nothing keeps max_tokens 0 and is refused, as engines do.
std::vector<Job> JobsOf(const Trace& trace, double speed, int64_t max_tokens, int64_t max_model_tokens);

}  // namespace vramgate
