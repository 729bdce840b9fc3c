// A picture of replays: KV over time against the budget, the queue, and waits, one line for each policy. An SVG that a
// browser opens by itself, readable on light and on dark.
//
//   std::string svg = PlotSvg("azure2023_conv.csv, 60,000 tokens", pool_bytes, results);
//
// Used by `vramgate replay --plot`. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "admission/replay/replay.h"

namespace vramgate {

std::string PlotSvg(std::string_view title, int64_t pool_bytes, const std::vector<ReplayResult>& results);

}  // namespace vramgate
