// The metrics page: what the controller has counted and holds now, under the names of docs/reference.md.
//
//   Metrics metrics(controller, {.build = {{"version", "0.1.0"}}, .log_dropped = [&] { return log.dropped(); }});
//   std::string page = MetricsText(metrics);   // Prometheus' text format 0.0.4
//
// Nothing is counted here: a scrape takes one Snapshot and one copy of the Stats, so the hot path knows nothing of
// metrics. Labels are bounded whatever callers send: the accounts of all devices and pools and of kMostTenants tenants,
// kMostQueueRows pairs of model and priority; the rest is summed under "other".
//
// Used by the admin listener. Thread rule: any thread. Lifetime rule: the controller outlives it.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "admission/gate/controller.h"
#include "admission/server/ext_proc_ends.h"
#include "admission/server/gateway_counters.h"
#include "admission/server/token_ratios.h"
#include "prometheus/collectable.h"
#include "prometheus/metric_family.h"

namespace vramgate {

class Metrics final : public prometheus::Collectable {
 public:
  static constexpr size_t kMostTenants = 100;
  static constexpr size_t kMostQueueRows = 100;

  // vramgate_estimate_drift_ratio of one instance.
  struct DriftView {
    std::string model;
    std::string instance;
    double ratio = 1;
  };

  struct Options {
    std::map<std::string, std::string> build;           // labels of vramgate_build_info
    std::function<int64_t()> log_dropped;               // log lines that are missing; absent: 0
    std::function<std::vector<DriftView>()> drifts;     // of engines that are watched; absent: none
    std::function<TokenRatios::View(ModelId)> prompts;  // what is learned of a model's; absent: nothing
    std::function<std::vector<std::shared_ptr<const GatewayCounters>>()> gateways;  // of all listeners; absent: none
    std::function<int64_t()> plugins;       // connections to the plugin socket; absent: 0
    const ExtProcEnds* ext_proc = nullptr;  // streams of gateways; outlives this
  };

  Metrics(const Controller& controller, Options options) : controller_(controller), options_(std::move(options)) {}

  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  const Controller& controller_;
  const Options options_;
};

std::string MetricsText(const prometheus::Collectable& metrics);

}  // namespace vramgate
