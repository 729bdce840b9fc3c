// ./dev bench rpc: what asking costs against a unary RPC that does nothing, in one run on one server process, as
// ratios.
//
//   admit_over_null_p50, admit_over_null_p99   one Admit that is granted / one null
//   admit_release_over_two_nulls_p50           Admit and ReleaseLease / two nulls
//   session_over_null_p50                      a whole Session: open, grant, half-close, status / one null
//   admit_over_null_throughput                 calls a second of several callers, Admit / null
// and with the prefix loaded_ the same with 10,000 leases held and 1,000 requests waiting for another device.
//
// Each ratio is of one round; reported are the median of the rounds, and ..._min and ..._max. The null RPC answers the
// message that Admit answers with. null_p50_us is there to judge the machine by.
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "admission/check.h"
#include "tests/bench/report.h"
#include "tests/bench/rpc_load.h"
#include "tests/bench/rpc_server.h"
#include "tests/support/temporary_directory.h"

namespace vramgate {
namespace {

constexpr int kThreads = 4;
constexpr int kTurns = 4;  // of the throughput in a round

// This program again, as the server: forked before gRPC is touched.
class ServerProcess {
 public:
  explicit ServerProcess(const std::string& dir) {
    int in[2];
    int out[2];
    CHECK(pipe(in) == 0 && pipe(out) == 0, "pipe");
    pid_ = fork();
    if (pid_ == 0) {
      dup2(in[0], STDIN_FILENO);
      dup2(out[1], STDOUT_FILENO);
      for (const int fd : {in[0], in[1], out[0], out[1]}) close(fd);
      execl("/proc/self/exe", "bench_rpc", "--serve", dir.c_str(), static_cast<char*>(nullptr));
      _exit(127);
    }
    close(in[0]);
    close(out[1]);
    stdin_ = in[1];
    char line[512];
    CHECK(read(out[0], line, sizeof(line)) > 0, "the server did not start");
    close(out[0]);
  }
  ~ServerProcess() {
    close(stdin_);
    int status = 0;
    waitpid(pid_, &status, 0);
  }

 private:
  pid_t pid_ = -1;
  int stdin_ = -1;
};

using Ratios = std::map<std::string, std::vector<double>>;

void MeasureRound(RpcLoad& load, int calls, const std::string& prefix, Ratios& ratios, std::vector<double>& null_us) {
  const RpcLoad::Latencies l = load.Measure(calls);
  const double null_p50 = Median(l.null_us);
  null_us.push_back(null_p50);
  ratios[prefix + "admit_over_null_p50"].push_back(Median(l.admit_us) / null_p50);
  ratios[prefix + "admit_over_null_p99"].push_back(Quantile(l.admit_us, 0.99) / Quantile(l.null_us, 0.99));
  ratios[prefix + "admit_release_over_two_nulls_p50"].push_back(Median(l.admit_release_us) / Median(l.two_nulls_us));
  ratios[prefix + "session_over_null_p50"].push_back(Median(l.session_us) / null_p50);
  // In turns, so that a noisy second does not fall on one of the two alone.
  double null_rate = 0;
  double admit_rate = 0;
  for (int turn = 0; turn < kTurns; ++turn) {
    null_rate += load.NullThroughput(kThreads, calls);
    admit_rate += load.AdmitThroughput(kThreads, calls);
  }
  ratios[prefix + "admit_over_null_throughput"].push_back(admit_rate / null_rate);
}

int Run(int rounds, int calls, const std::string& json) {
  const TemporaryDirectory directory;
  Report report(rounds);
  Ratios ratios;
  std::vector<double> null_us;
  {
    const ServerProcess server(directory.path().string());
    RpcLoad load("unix:" + directory.At("gate.sock"));
    load.Measure(calls / 4 + 1);  // warm
    for (const std::string prefix : {"", "loaded_"}) {
      if (!prefix.empty()) load.HoldAndWait(10'000, 1'000);
      for (int r = 0; r < rounds; ++r) {
        std::fprintf(stderr, "\rround %d of %d %s ", r + 1, rounds, prefix.empty() ? "unloaded" : "loaded  ");
        MeasureRound(load, calls, prefix, ratios, null_us);
      }
    }
    std::fprintf(stderr, "\n");
  }
  for (const auto& [key, values] : ratios) report.Ratio(key, values);
  report.Value("null_p50_us", Median(null_us));
  return report.Write(json);
}

}  // namespace
}  // namespace vramgate

int main(int argc, char** argv) {
  CLI::App app("Measures Admit and Session against a unary RPC that does nothing, on the same server.");
  std::string json;
  std::string serve;
  int rounds = 7;
  int calls = 1000;
  app.add_option("--json", json, "Write the figures to this file");
  app.add_option("--rounds", rounds, "Rounds, of which the median is taken")->check(CLI::Range(1, 1000));
  app.add_option("--calls", calls, "Calls of each kind a round")->check(CLI::Range(10, 20000));
  app.add_option("--serve", serve, "")->group("");  // this program as the server
  CLI11_PARSE(app, argc, argv);
  return serve.empty() ? vramgate::Run(rounds, calls, json) : vramgate::ServeForBench(serve);
}
