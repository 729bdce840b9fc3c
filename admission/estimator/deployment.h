// A model on its devices: every rank priced, its KV pool on a card, and whether it fits.
//
//   absl::StatusOr<Deployment> d = Deploy(shape, {.cost = {.tensor_parallel = 2}, .device_bytes = card.bytes});
//   d->worst().pool.max_concurrency;      // the rank with the least room decides
//
// Used by `vramgate estimate`. Pure functions: no thread rule.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "admission/estimator/cost_table.h"
#include "admission/estimator/estimate.h"
#include "admission/estimator/pool.h"

namespace vramgate {

struct DeploymentOptions {
  CostOptions cost;  // its stage is set for each
  Load load;
  std::optional<int64_t> device_bytes;   // of each card; absent: not known, nothing is said of fitting
  std::optional<double> utilization;     // absent: the profile's
  std::optional<int64_t> kv_pool_bytes;  // known: the rest is not needed to count in it
  int64_t max_model_len = 0;
  bool unified = false;  // kCells: one cache for all slots
};

// One stage of the pipeline; its tensor-parallel ranks are alike.
struct StageReport {
  CostTable table;
  Estimate estimate;
  Pool pool;
};

struct Deployment {
  std::vector<StageReport> stages;
  size_t worst_stage = 0;  // the least concurrency; where there is no pool, the most bytes
  std::optional<bool> fits;
  int64_t longest_tokens = 0;  // the longest request that the worst rank's pool holds alone; 0 without a pool
  const StageReport& worst() const { return stages[worst_stage]; }
};

absl::StatusOr<Deployment> Deploy(const ModelShape& shape, const DeploymentOptions& options);

// What would make it fit, cheapest first: "fp8 KV", "2 devices (--tp 2)", "a context of 9000 tokens", ... Empty:
// nothing of these does.
std::vector<std::string> WaysToFit(const ModelShape& shape, const DeploymentOptions& options);

}  // namespace vramgate
