// ./dev bench gate: what a decision costs in the gate itself, whatever the number of leases, and what the program
// weighs.
//
//   decision_ns_N                one Admit that is granted, with N leases held (releases in random order beside it:
//   release_ns_N) controller_decision_ns_1024  the same through the Controller: its lock, its clock, its counters
//   statistical_judge_ns_16384   of that, whether it fits: the pass over what all holders may come to use
//   statistical_admit_ns_16384   one Admit that is granted at the statistical level
//   statistical_upkeep_share_... of one core, what 16,384 holders that emit 50 tokens a second take
//   allocations_per_decision     operator new, in Admit and End
//   drain_us_per_waiter          1,000 waiters that all fit when one large lease ends
//   bytes_per_lease              growth of the resident set over 50,000 leases
//   startup_ms, idle_rss_mib     of the real program with a small config
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <functional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_format.h"
#include "admission/check.h"
#include "admission/gate/controller.h"
#include "admission/gate/gate.h"
#include "tests/bench/counting_new.h"
#include "tests/bench/level_cost.h"
#include "tests/bench/report.h"
#include "tests/support/temporary_directory.h"

namespace vramgate {
namespace {

constexpr int64_t kGiB = int64_t{1} << 30;
constexpr int64_t kCost = int64_t{1} << 20;
constexpr int kBatch = 64;

double NowNs() {
  return static_cast<double>(std::chrono::steady_clock::now().time_since_epoch().count());
}

GateConfig TwoInstances(int64_t device_bytes) {
  GateConfig config;
  config.devices = {{"0", device_bytes, device_bytes}, {"1", device_bytes, device_bytes}};
  ModelSpec model{.name = "m"};
  model.instances = {{.name = "a", .devices = {0}, .fixed_bytes = kGiB},
                     {.name = "b", .devices = {1}, .fixed_bytes = kGiB}};
  config.models = {model};
  config.leases.max = 200'000;
  return config;
}

Request MakeRequest(std::string_view id, int64_t kv_bytes) {
  Request request;
  request.request_id = id;
  request.tenant = "team";
  request.costs[0].kv_bytes = kv_bytes;
  request.tokens = 1000;
  request.stream = true;
  return request;
}

struct DecisionCost {
  double admit_ns = 0;
  double release_ns = 0;
  double allocations = 0;
};

// Holds `leases`, then admits and releases batches, the release in random order.
DecisionCost MeasureDecision(size_t leases, int batches) {
  Gate gate(TwoInstances(int64_t{1} << 50));
  Effects effects;
  Instant now{1};
  std::mt19937_64 random(42);
  std::vector<LeaseRef> held;
  std::vector<std::string> ids(kBatch);
  size_t next = 0;
  int64_t serial = 0;
  // Callers make their ids, not the gate: not in the timed part.
  const auto name_batch = [&] {
    next = 0;
    for (std::string& id : ids) id = absl::StrFormat("request-%08d", serial++);
  };
  const auto admit = [&] {
    effects.Clear();
    now.ns += 1000;
    held.push_back(gate.Admit(MakeRequest(ids[next++], kCost), now, effects).lease);
  };
  const auto release = [&] {
    std::swap(held[random() % held.size()], held.back());
    effects.Clear();
    now.ns += 1000;
    gate.End(held.back(), Gate::EndKind::kCompleted, now, effects);
    held.pop_back();
  };
  held.reserve(leases + kBatch);
  for (size_t i = 0; i < leases + kBatch; ++i) {
    if (i % kBatch == 0) name_batch();
    admit();
  }
  for (int i = 0; i < kBatch; ++i) release();
  std::vector<double> admit_ns;
  std::vector<double> release_ns;
  admit_ns.reserve(static_cast<size_t>(batches));
  release_ns.reserve(static_cast<size_t>(batches));
  int64_t allocations = 0;
  for (int b = 0; b < batches; ++b) {
    name_batch();
    const int64_t before = Allocations();
    const double t0 = NowNs();
    for (int i = 0; i < kBatch; ++i) admit();
    const double t1 = NowNs();
    for (int i = 0; i < kBatch; ++i) release();
    const double t2 = NowNs();
    allocations += Allocations() - before;
    admit_ns.push_back((t1 - t0) / kBatch);
    release_ns.push_back((t2 - t1) / kBatch);
  }
  const double allocated = static_cast<double>(allocations) / (static_cast<double>(batches) * kBatch);
  return {Median(admit_ns), Median(release_ns), allocated};
}

double MeasureController(size_t leases, int batches) {
  const BootClock clock;
  Controller controller(TwoInstances(int64_t{1} << 50), clock, nullptr);
  std::vector<LeaseRef> held;
  char id[32];
  int64_t next = 0;
  const auto admit = [&] {
    const int n = std::snprintf(id, sizeof(id), "request-%08lld", static_cast<long long>(next++));
    held.push_back(controller.Admit(MakeRequest({id, static_cast<size_t>(n)}, kCost), nullptr).lease);
  };
  for (size_t i = 0; i < leases; ++i) admit();
  std::vector<double> ns;
  for (int b = 0; b < batches; ++b) {
    const double t0 = NowNs();
    for (int i = 0; i < kBatch; ++i) admit();
    ns.push_back((NowNs() - t0) / kBatch);
    for (int i = 0; i < kBatch; ++i) {
      controller.End(held.back(), Gate::EndKind::kCompleted);
      held.pop_back();
    }
  }
  return Median(ns);
}

double MeasureDrain(int waiters) {
  GateConfig config = TwoInstances(100 * kGiB);
  config.models[0].instances.pop_back();
  config.queue.bypass_window = absl::ZeroDuration();
  Gate gate(config);
  Effects effects;
  effects.decisions.reserve(4096);
  effects.rows.reserve(8192);
  Instant now{1};
  const LeaseRef large = gate.Admit(MakeRequest("large", 99 * kGiB), now, effects).lease;
  std::vector<std::string> ids;
  for (int i = 0; i < waiters; ++i) ids.push_back("waiter-" + std::to_string(i));
  for (const std::string& id : ids) {
    now.ns += 1000;
    effects.Clear();
    CHECK(gate.Admit(MakeRequest(id, kCost), now, effects).waiting, "a waiter did not wait");
  }
  effects.Clear();
  const double t0 = NowNs();
  gate.End(large, Gate::EndKind::kCompleted, now, effects);
  const double us = (NowNs() - t0) / 1000;
  CHECK(effects.decisions.size() == static_cast<size_t>(waiters) + 1, "not all waiters were granted");
  return us / waiters;
}

int64_t ResidentBytes(pid_t pid) {
  std::ifstream statm("/proc/" + std::to_string(pid) + "/statm");
  int64_t total = 0;
  int64_t resident = 0;
  statm >> total >> resident;
  return resident * sysconf(_SC_PAGESIZE);
}

double MeasureBytesPerLease() {
  constexpr int64_t kLeases = 50'000;
  Gate gate(TwoInstances(int64_t{1} << 50));
  Effects effects;
  const int64_t before = ResidentBytes(getpid());
  for (int64_t i = 0; i < kLeases; ++i) {
    effects.Clear();
    gate.Admit(MakeRequest("a-request-id-of-some-36-bytes-" + std::to_string(100'000 + i), kCost), {i + 1}, effects);
  }
  return static_cast<double>(ResidentBytes(getpid()) - before) / kLeases;
}

struct Weight {
  double startup_ms = 0;
  double idle_rss_mib = 0;
};

// Starts the real program, waits for its ready line, weighs it, ends it.
Weight MeasureProgram(const std::string& dir) {
  const std::string config = dir + "/config.yaml";
  std::ofstream(config) << absl::StrFormat(
      R"(listeners: {grpc: ["unix:%s/gate.sock"], operator: "unix:%s/operator.sock", admin: "127.0.0.1:0"}
devices: [{id: "0", simulated: {total: 80GiB}}]
models:
  - name: m
    shape: {parameters: 8030261248, layers: 32, heads: 32, kv_heads: 8, hidden: 4096}
    max_model_len: 8192
    instances: [{name: a, devices: ["0"], pool: preallocated, kv_pool: 40GiB}]
)",
      dir, dir);
  int out[2];
  CHECK(pipe(out) == 0, "pipe");
  const double t0 = NowNs();
  const pid_t child = fork();
  if (child == 0) {
    dup2(out[1], STDOUT_FILENO);
    CHECK(std::freopen("/dev/null", "w", stderr) != nullptr, "freopen");
    execl(VRAMGATE_PROGRAM, VRAMGATE_PROGRAM, "serve", "--config", config.c_str(), static_cast<char*>(nullptr));
    _exit(127);
  }
  close(out[1]);
  char line[512];
  CHECK(read(out[0], line, sizeof(line)) > 0, "vramgate serve said nothing");
  Weight weight{.startup_ms = (NowNs() - t0) / 1e6};
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  weight.idle_rss_mib = static_cast<double>(ResidentBytes(child)) / (1 << 20);
  kill(child, SIGTERM);
  int status = 0;
  waitpid(child, &status, 0);
  close(out[0]);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0, "vramgate serve did not end well");
  return weight;
}

int Run(int rounds, const std::string& json) {
  Report report(rounds);
  const auto median = [&](const std::function<double()>& measure) {
    std::vector<double> values;
    for (int r = 0; r < rounds; ++r) values.push_back(measure());
    return Median(values);
  };
  double allocations = 0;
  for (const size_t leases : {64, 1024, 16384}) {
    std::vector<double> admit;
    std::vector<double> release;
    for (int r = 0; r < rounds; ++r) {
      const DecisionCost cost = MeasureDecision(leases, 2000);
      admit.push_back(cost.admit_ns);
      release.push_back(cost.release_ns);
      allocations = std::max(allocations, cost.allocations);
    }
    report.Value("decision_ns_" + std::to_string(leases), Median(admit));
    report.Value("release_ns_" + std::to_string(leases), Median(release));
  }
  report.Value("controller_decision_ns_1024", median([] { return MeasureController(1024, 1000); }));
  report.Value("allocations_per_decision", allocations);
  const LevelCost level = MeasureStatistical(16'384, 300);
  report.Value("statistical_judge_ns_16384", level.judge_ns);
  report.Value("statistical_admit_ns_16384", level.admit_ns);
  report.Value("statistical_step_us_16384", level.step_us);
  report.Value("statistical_upkeep_share_50_steps_per_s", level.step_us * 50 / 1e6);
  report.Value("statistical_allocations_per_decision", level.allocations);
  report.Value("drain_us_per_waiter", median([] { return MeasureDrain(1000); }));
  report.Value("bytes_per_lease", MeasureBytesPerLease());
  const TemporaryDirectory directory;
  std::vector<double> startup;
  std::vector<double> rss;
  for (int r = 0; r < rounds; ++r) {
    const Weight weight = MeasureProgram(directory.path().string());
    startup.push_back(weight.startup_ms);
    rss.push_back(weight.idle_rss_mib);
  }
  report.Value("startup_ms", Median(startup));
  report.Value("idle_rss_mib", Median(rss));
  return report.Write(json);
}

}  // namespace
}  // namespace vramgate

int main(int argc, char** argv) {
  CLI::App app("Measures the gate itself: decisions, drain, memory, and the program's weight.");
  std::string json;
  int rounds = 5;
  app.add_option("--json", json, "Write the figures to this file");
  app.add_option("--rounds", rounds, "Take the median of so many")->check(CLI::Range(1, 1000));
  CLI11_PARSE(app, argc, argv);
  return vramgate::Run(rounds, json);
}
