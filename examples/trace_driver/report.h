// What a user sees of a run: a line while it goes on, and the summary.
//
//   std::cerr << ProgressLine(driver);
//   std::cout << SummaryText(driver);
//
// Used by the trace driver's program. One thread.
#pragma once

#include <string>

#include "examples/trace_driver/driver.h"

namespace vramgate {

// "  12.0s  trace 0:07:41 of 0:13:35  sent 2,011  held 98  waiting 23  completed 1,600  refused 290".
std::string ProgressLine(const Driver& driver);

// Outcomes, waits and what the figures mean; several lines.
std::string SummaryText(const Driver& driver);

// The same for machines: one JSON object, units in the keys.
std::string SummaryJson(const Driver& driver);

}  // namespace vramgate
