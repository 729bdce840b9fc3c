// What bench_envoy measures: one Envoy with three listeners before an engine that answers at once. One has no ext_proc
// filter, one has a sidecar that does nothing, one has vramgate; all else is the same. Each sidecar is a process of its
// own on a Unix socket, as in use.
//
//   EnvoyRig rig(envoy_binary);
//   rig.Load(EnvoyRig::Way::kVramgate, /*connections=*/8, /*requests=*/2000);
//
// REQUIRES: gRPC is not touched before, since engine and idle sidecar are this program again.
#pragma once

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "tests/support/child.h"
#include "tests/support/temporary_directory.h"

namespace vramgate {

class EnvoyRig {
 public:
  enum class Way { kAlone, kNoop, kVramgate };
  static constexpr std::array<Way, 3> kWays = {Way::kAlone, Way::kNoop, Way::kVramgate};

  explicit EnvoyRig(const std::string& envoy);
  ~EnvoyRig();

  struct Result {
    std::vector<double> latencies_us;
    double envoy_cpu_us = 0;    // a request
    double sidecar_cpu_us = 0;  // a request; 0: there is none
  };
  // Closed loops: each connection asks again when it has its answer. CHECKs that every answer is 200.
  Result Load(Way way, int connections, int requests);

 private:
  TemporaryDirectory directory_;
  std::unique_ptr<Child> engine_;
  std::unique_ptr<Child> noop_;
  std::unique_ptr<Child> vramgate_;
  std::unique_ptr<Child> envoy_;
  std::array<int, 3> ports_{};
};

// The engine: answers each request at once, on a port that it prints, until it is killed.
int ServeEngine();

// The sidecar that does nothing, on unix:DIR/noop.sock, until it is killed.
int ServeNoop(const std::string& dir);

}  // namespace vramgate
