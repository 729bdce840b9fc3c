// A policy decides which requests may start, in front of the engine model: the real gate, or what engines do
// themselves. The same input, engine and queue limits for each.
//
//   std::unique_ptr<Policy> policy = MakePolicy("worst_case", scene);   // policy_table.h
//   policy->Arrive(job, now);                                           // may call scene.starts.Start(job, now)
//
// Used by the replay, which owns the time. Thread rule: one thread. Lifetime rule: the scene outlives the policy.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "admission/clock.h"
#include "admission/gate/controller.h"
#include "admission/gate/gate_config.h"
#include "admission/replay/engine_model.h"
#include "admission/types.h"

namespace vramgate {

// A request of the replay. What it will generate is known to the engine, and to the oracle alone.
struct Job {
  Instant arrival;
  int32_t prompt_tokens = 0;
  int32_t max_tokens = 0;     // the most it may generate
  int32_t output_tokens = 0;  // what it does generate, at most max_tokens
  int32_t tenant = 0;
};

// What a policy may do with a request that waits. Each waiting request is started or refused once; a preempted one
// waits again.
class Starts {
 public:
  virtual ~Starts() = default;
  // False: the engine has no room for it now; it waits on.
  [[nodiscard]] virtual bool Start(int32_t job, Instant now) = 0;
  virtual void Refuse(int32_t job, Outcome why, Instant now) = 0;
  // Takes a running one's KV away: it waits again. Between two steps only.
  virtual void Stop(int32_t job, Instant now) = 0;
};

// How long decisions take, on a real clock that is handed in (null: nothing is measured).
class DecisionTimes {
 public:
  explicit DecisionTimes(const Clock* clock) : clock_(clock) {}
  Instant Begin() const { return clock_ == nullptr ? Instant{} : clock_->Now(); }
  void End(Instant begin) {
    if (clock_ != nullptr) ++counts_[Bucket(clock_->Now().ns - begin.ns)];
  }
  // Of the decisions' times [ns], to 1/16 of the value; 0 where nothing was measured.
  double Quantile(double q) const;

 private:
  static size_t Bucket(int64_t ns);
  static double Value(size_t bucket);

  const Clock* clock_;
  std::vector<int64_t> counts_ = std::vector<int64_t>(60 * 16);
};

// All that a policy sees.
struct Scene {
  const std::vector<Job>& jobs;
  const std::vector<std::string>& tenants;
  const EngineModel& engine;
  const GateConfig& gate;  // its queue's limits hold for every policy
  ModelId model{0};
  InstanceId instance = kAnyInstance;
  const std::vector<Costs>& costs;  // by job
  std::optional<Assurance> level;   // of a policy that is the gate
  double risk = 0;                  // wanted, where it has one
  bool fcfs = false;                // strictly first come first served: nobody passes anybody
  uint64_t seed = 1;
  Recorder* recorder = nullptr;  // null: nobody wants the ledger
  Starts& starts;
  DecisionTimes& times;
};

// How a policy kept the risk that it was run at.
struct RiskReport {
  double rate = 0;        // of its windows, those with an error
  double bound = 0;       // which the rate cannot pass
  double deviations = 0;  // z, on average
  int64_t windows = 0;
  int64_t delay = 0;  // D [windows]
};

// How long waits were told to be, of those who waited and were granted.
struct WaitReport {
  int64_t estimates = 0;
  double error_p50_s = 0;  // |waited - told|
  double error_p90_s = 0;
  double ratio_p50 = 0;  // waited / told
};

class Policy {
 public:
  virtual ~Policy() = default;
  // Of those that tell.
  virtual std::optional<WaitReport> estimates() { return std::nullopt; }
  // Of those that have a risk.
  virtual std::optional<RiskReport> control() const { return std::nullopt; }
  virtual void Arrive(int32_t job, Instant now) = 0;
  // Its output is complete, and its KV is free.
  virtual void End(int32_t job, Instant now) = 0;
  // The engine took its KV away: it waits again.
  virtual void Preempted(int32_t job, Instant now) = 0;
  // Called before every step of the engine, after the Ends of the last, and when due. Returns when something is due
  // next, whatever the engine does.
  virtual Instant Advance(Instant now) = 0;
  // Everything has ended: the last rows of the ledger.
  virtual void Stop(Instant now) = 0;
};

}  // namespace vramgate
