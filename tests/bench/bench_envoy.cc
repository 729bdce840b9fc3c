// ./dev bench envoy: what a request pays for being admitted behind a real Envoy, against the same Envoy alone and with
// an ext_proc server in C++ that does nothing, in one run with rounds of the three in turns. One Envoy worker, one chat
// of 1 KB a request, an engine that answers at once.
//
//   p50_over_envoy_alone, p99_over_envoy_alone   a request through vramgate / through Envoy alone
//   p50_over_noop_ext_proc                       ... / through the server that does nothing
//   cpu_us_per_request                           processor time of vramgate's process
//   cpu_over_noop                                ... / that of the server that does nothing
// all at one connection; with _8 appended, at eight. Each ratio is of one round; reported are the median of the rounds,
// and ..._min and ..._max. envoy_alone_p50_us is there to judge the machine by.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <map>
#include <string>
#include <vector>

#include "tests/bench/envoy_rig.h"
#include "tests/bench/report.h"

namespace vramgate {
namespace {

constexpr int kTurns = 4;  // of each way in a round, so that a noisy moment hits all alike

using Way = EnvoyRig::Way;
using Figures = std::map<std::string, std::vector<double>>;

struct Sums {
  std::vector<double> latencies_us;
  double envoy_cpu_us = 0;
  double sidecar_cpu_us = 0;
};

void MeasureRound(EnvoyRig& rig, int connections, int requests, const std::string& suffix, Figures& figures) {
  std::map<Way, Sums> sums;
  for (int turn = 0; turn < kTurns; ++turn) {
    for (const Way way : EnvoyRig::kWays) {
      const EnvoyRig::Result result = rig.Load(way, connections, requests / connections / kTurns);
      Sums& sum = sums[way];
      sum.latencies_us.insert(sum.latencies_us.end(), result.latencies_us.begin(), result.latencies_us.end());
      sum.envoy_cpu_us += result.envoy_cpu_us / kTurns;
      sum.sidecar_cpu_us += result.sidecar_cpu_us / kTurns;
    }
  }
  const Sums& alone = sums[Way::kAlone];
  const Sums& noop = sums[Way::kNoop];
  const Sums& gate = sums[Way::kVramgate];
  const auto add = [&](const std::string& key, double value) { figures[key + suffix].push_back(value); };
  add("p50_over_envoy_alone", Median(gate.latencies_us) / Median(alone.latencies_us));
  add("p99_over_envoy_alone", Quantile(gate.latencies_us, 0.99) / Quantile(alone.latencies_us, 0.99));
  add("p50_over_noop_ext_proc", Median(gate.latencies_us) / Median(noop.latencies_us));
  add("p99_over_noop_ext_proc", Quantile(gate.latencies_us, 0.99) / Quantile(noop.latencies_us, 0.99));
  add("noop_p50_over_envoy_alone", Median(noop.latencies_us) / Median(alone.latencies_us));
  add("cpu_us_per_request", gate.sidecar_cpu_us);
  add("cpu_over_noop", gate.sidecar_cpu_us / noop.sidecar_cpu_us);
  add("envoy_cpu_us_per_request", gate.envoy_cpu_us);
  add("envoy_alone_p50_us", Median(alone.latencies_us));
}

int Run(const std::string& envoy, int rounds, int requests, const std::string& json) {
  Report report(rounds);
  Figures figures;
  {
    EnvoyRig rig(envoy);
    Figures warm;
    MeasureRound(rig, 1, requests, "", warm);
    MeasureRound(rig, 8, requests, "", warm);
    for (int r = 0; r < rounds; ++r) {
      std::fprintf(stderr, "\rround %d of %d ", r + 1, rounds);
      MeasureRound(rig, 1, requests, "", figures);
      MeasureRound(rig, 8, 4 * requests, "_8", figures);
    }
    std::fprintf(stderr, "\n");
  }
  for (const auto& [key, values] : figures) report.Ratio(key, values);
  return report.Write(json);
}

}  // namespace
}  // namespace vramgate

int main(int argc, char** argv) {
  CLI::App app("Measures a request through a real Envoy with vramgate against the same without it.");
  std::string envoy;
  std::string json;
  std::string noop;
  bool engine = false;
  int rounds = 11;
  int requests = 800;
  app.add_option("--envoy", envoy, "Envoy's binary; ./dev bench envoy gives it");
  app.add_option("--json", json, "Write the figures to this file");
  app.add_option("--rounds", rounds, "Rounds, of which the median is taken")->check(CLI::Range(1, 1000));
  app.add_option("--requests", requests, "Requests of each kind a round, at one connection")
      ->check(CLI::Range(64, 100000));
  app.add_option("--noop", noop, "")->group("");    // this program as the sidecar that does nothing
  app.add_flag("--engine", engine, "")->group("");  // ... as the engine
  CLI11_PARSE(app, argc, argv);
  if (!noop.empty()) return vramgate::ServeNoop(noop);
  if (engine) return vramgate::ServeEngine();
  if (envoy.empty()) {
    std::fprintf(stderr, "--envoy: the path of Envoy's binary is missing\n");
    return 2;
  }
  return vramgate::Run(envoy, rounds, requests, json);
}
