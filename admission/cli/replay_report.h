// What `vramgate replay` answers, for scripts and for people.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "admission/replay/replay.h"
#include "admission/replay/sweep.h"

namespace vramgate {

// A run and what the auditor found in its ledger.
struct ReplayAnswer {
  ReplayResult result;
  int64_t violations = 0;
};

struct SweepAnswer {
  std::string policy;
  SweepResult found;
};

// A list, one object for each policy.
std::string ReplayJson(const std::vector<ReplayAnswer>& answers);
std::string SweepJson(const std::vector<SweepAnswer>& answers);

// A table, one line for each policy.
std::string ReplayText(const std::vector<ReplayAnswer>& answers);
std::string SweepText(const std::vector<SweepAnswer>& answers);

}  // namespace vramgate
