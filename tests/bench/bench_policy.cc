// ./dev bench policy: every policy in front of the engine model, on slices of real traces, against the oracle that
// knows every output; and whether the statistical level keeps its risk over so many windows as no trace has.
//
//   SCENE_POLICY_utilization_while_queued, ..._over_oracle, ..._revocation_rate, ..._recomputed_per_output,
//   ..._violations (by audit of the run's ledger), ..._output_tokens_per_s, ..._wait_p50_s
//   backlog_RISK_rate, ..._rate_low (95 %), ..._windows: resampled from the conversation trace, always a queue
//   backlog_RISK_counted_rate, ..._counted_windows, ..._bound: as the controller counts, which leaves windows out
//   shift_RISK_...: as backlog, and from its middle on every output is as long as it may be
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "admission/check.h"
#include "admission/replay/replay.h"
#include "admission/rng.h"
#include "admission/server/replay_ledger.h"
#include "tests/bench/report.h"
#include "tests/support/one_pool.h"

namespace vramgate {
namespace {

struct Traffic {
  const char* name;
  const char* trace;
  int64_t kv_tokens;
  int64_t max_tokens;
  double speed;
};

constexpr Traffic kTraffic[] = {
    {"conversation", VRAMGATE_EXAMPLES "/traces/azure2023_conv_4000.csv", 60'000, 1024, 4},
    {"code", VRAMGATE_TEST_DATA "/traces/azure2023_code_2500.csv", 60'000, 1024, 4},
    {"arena", VRAMGATE_TEST_DATA "/traces/vtc_lmsys_arena_rescaled.csv", 10'000, 1024, 4},
};

// First come, first served.
ReplayInput InputOf(std::vector<Job> jobs, std::vector<std::string> tenants, int64_t kv_tokens) {
  ReplayInput input = OnePool(std::move(jobs), std::move(tenants), kv_tokens);
  input.fcfs = true;
  return input;
}

Trace Read(const char* path) {
  const absl::StatusOr<Trace> trace = ReadTraceFile(path, Trace::kMaxRows);
  CHECK(trace.ok(), "a trace of the repository cannot be read");
  return *trace;
}

void Compare(const Traffic& scene, Report& report) {
  const Trace trace = Read(scene.trace);
  const ReplayInput input =
      InputOf(JobsOf(trace, scene.speed, scene.max_tokens, int64_t{1} << 40), trace.tenants, scene.kv_tokens);
  const double oracle = Replay({FindPolicy("oracle")}, input, {}).utilization_while_queued.value_or(0);
  for (const PolicyKind& kind : Policies()) {
    for (const double risk : kind.has_risk() ? std::vector<double>{1e-2, 1e-3} : std::vector<double>{0}) {
      const PolicyRun run{&kind, risk};
      absl::StatusOr<std::unique_ptr<ReplayLedger>> ledger = ReplayLedger::Open("");
      CHECK(ledger.ok(), "a ledger in memory cannot be opened");
      const BootClock stopwatch;
      const ReplayResult result = Replay(run, input, {.recorder = ledger->get(), .stopwatch = &stopwatch});
      const absl::StatusOr<AuditReport> audit = (*ledger)->Close();
      CHECK(audit.ok(), "a ledger in memory cannot be read");
      const std::string key = absl::StrCat(scene.name, "_", run.Label(), "_");
      const double used = result.utilization_while_queued.value_or(0);
      report.Value(key + "utilization_while_queued", used);
      report.Value(key + "over_oracle", used / oracle);
      report.Value(key + "output_tokens_per_s", result.output_tokens_per_s());
      report.Value(key + "revocation_rate", result.revocation_rate);
      report.Value(key + "recomputed_per_output",
                   static_cast<double>(result.recomputed_tokens) / static_cast<double>(result.output_tokens));
      report.Value(key + "violations", static_cast<double>(audit->overruns + audit->leaks));
      report.Value(key + "wait_p50_s", result.wait_p50_s);
      if (result.control) report.Value(key + "bound", result.control->bound);
    }
  }
}

// Requests drawn from the trace, coming a little faster than they can be served.
std::vector<Job> Resampled(const Trace& trace, int64_t max_tokens, int64_t count, double per_s, bool shift,
                           uint64_t seed) {
  Rng rng(seed);
  std::vector<Job> jobs;
  jobs.reserve(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) {
    const TraceRow& row = trace.rows[rng.Below(trace.rows.size())];
    const auto most = static_cast<int32_t>(max_tokens);
    Job job{.arrival = {std::llround(static_cast<double>(i) * 1e9 / per_s)},
            .prompt_tokens = row.prompt_tokens,
            .max_tokens = most,
            .output_tokens = std::min(row.output_tokens, most)};
    if (shift) job.output_tokens = i < count / 2 ? std::max(1, job.output_tokens / 4) : most;
    jobs.push_back(job);
  }
  return jobs;
}

void KeepsItsRisk(const char* name, double risk, int64_t windows, bool shift, Report& report) {
  const Traffic& scene = kTraffic[0];
  const Trace trace = Read(scene.trace);
  // What a window serves, from a short run; twice as much comes, for as long as it takes.
  const auto run = [&](int64_t count, double per_s) {
    const ReplayInput input =
        InputOf(Resampled(trace, scene.max_tokens, count, per_s, shift, 1), {""}, scene.kv_tokens);
    return Replay({FindPolicy("statistical"), risk}, input, {});
  };
  const ReplayResult probe = run(3'000, 1e6);
  const double per_window = 3'000 * 10 / static_cast<double>(probe.steps);
  const double served_per_s = 3'000 / probe.duration_s;
  const ReplayResult result =
      run(static_cast<int64_t>(1.1 * per_window * static_cast<double>(windows)), 1.1 * served_per_s);
  const double n = static_cast<double>(result.steps) / 10;
  const double rate = result.revocation_rate;
  const std::string key = absl::StrFormat("%s_%g_", name, risk);
  report.Value(key + "windows", n);
  report.Value(key + "rate", rate);
  report.Value(key + "rate_low", rate - 1.96 * std::sqrt(rate * (1 - rate) / n));
  report.Value(key + "counted_windows", static_cast<double>(result.control->windows));
  report.Value(key + "counted_rate", result.control->rate);
  report.Value(key + "bound", result.control->bound);
  report.Value(key + "delay_windows", static_cast<double>(result.control->delay));
  report.Value(key + "utilization_while_queued", result.utilization_while_queued.value_or(0));
  report.Value(key + "recomputed_per_output",
               static_cast<double>(result.recomputed_tokens) / static_cast<double>(result.output_tokens));
}

}  // namespace
}  // namespace vramgate

int main(int argc, char** argv) {
  CLI::App app{"Every policy, against the oracle"};
  std::string json;
  bool quick = false;
  app.add_option("--json", json, "write the figures to this file");
  app.add_flag("--quick", quick, "without the long runs, which take minutes");
  CLI11_PARSE(app, argc, argv);
  vramgate::Report report(1);
  for (const auto& scene : vramgate::kTraffic) {
    std::fprintf(stderr, "%s\n", scene.name);
    vramgate::Compare(scene, report);
  }
  for (const bool shift : {false, true}) {
    const char* name = shift ? "shift" : "backlog";
    std::fprintf(stderr, "%s, 10,000 windows at 1e-2\n", name);
    vramgate::KeepsItsRisk(name, 1e-2, 10'000, shift, report);
    if (quick) continue;
    std::fprintf(stderr, "%s, 200,000 windows at 1e-3\n", name);
    vramgate::KeepsItsRisk(name, 1e-3, 200'000, shift, report);
  }
  return report.Write(json);
}
