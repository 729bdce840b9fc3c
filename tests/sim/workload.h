// What a simulation is made of, by chance: a fleet with its limits, and requests to it. Bytes are small numbers, so
// that sums meet their bounds to the byte all the time; `unit_bytes` makes some fleets of them as large as real ones.
#pragma once

#include <string>

#include "admission/gate/gate_config.h"
#include "admission/types.h"
#include "tests/sim/op.h"
#include "tests/sim/rng.h"

namespace vramgate::sim {

class Workload {
 public:
  explicit Workload(uint64_t seed);

  const GateConfig& config() const { return config_; }
  // An Admit at `now`; one in a few can never fit.
  Op NextAdmit(Instant now);
  // A reading of a device by chance: a cut, a rise, stale, or as configured.
  Op NextReading(Instant now);
  // The reading as configured.
  Op GoodReading(Instant now, size_t device) const;
  absl::Duration NextGap() { return rng_.Between(absl::ZeroDuration(), gap_ * 2); }

 private:
  void MakeDevices();
  void MakeModels();
  void MakeLimits();

  Rng rng_;
  int64_t unit_bytes_ = 1;
  absl::Duration gap_;
  GateConfig config_;
  int keys_ = 0;
};

}  // namespace vramgate::sim
