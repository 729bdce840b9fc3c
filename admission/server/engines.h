// Which engines the config wants watched, and what of each is predicted.
//
//   EngineWatch watch(controller, EnginesToWatch(loaded, models, controller.fleet()), say);
//
// Used by serve. Pure functions: no thread rule.
#pragma once

#include <vector>

#include "admission/gate/fleet.h"
#include "admission/server/config.h"
#include "admission/server/engine_watch.h"
#include "admission/server/metrics.h"
#include "admission/server/model_table.h"

namespace vramgate {

// The instances with `engine_metrics` or `engine_log`. REQUIRES: `models` and `fleet` are made from the config.
std::vector<WatchedEngine> EnginesToWatch(const LoadedConfig& loaded, const ModelTable& models, const Fleet& fleet);

// By prices alone: of one block, of the longest request, and whether the second is blocks of the first.
PredictedPool PredictPool(const ServedModel& model, const ServedModel::Instance& instance);

std::vector<Metrics::DriftView> Drifts(const EngineWatch& watch);

}  // namespace vramgate
