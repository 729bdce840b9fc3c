// What the statistical level costs with so many leases held: whether one more fits, an Admit that is granted, the gate
// alone, and a step of the engine after which every holder is a token further. Used by bench_gate.
#pragma once

#include <cstddef>

namespace vramgate {

struct LevelCost {
  double judge_ns = 0;  // Outlook::Fits, after a step that went over all holders
  double admit_ns = 0;
  double step_us = 0;
  double allocations = 0;
};

LevelCost MeasureStatistical(size_t leases, int rounds);

}  // namespace vramgate
