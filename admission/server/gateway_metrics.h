// The part of the metrics page that is of what gateways send on, and of what is learned of prompts.
//
// Used by the metrics page. Pure.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "admission/gate/snapshot.h"
#include "admission/server/gateway_counters.h"
#include "admission/server/token_ratios.h"
#include "prometheus/metric_family.h"

namespace vramgate {

void AddPromptRatios(const Snapshot& snapshot, const std::function<TokenRatios::View(ModelId)>& prompts,
                     std::vector<prometheus::MetricFamily>& out);
void AddGateways(const std::vector<std::shared_ptr<const GatewayCounters>>& listeners,
                 std::vector<prometheus::MetricFamily>& out);

}  // namespace vramgate
