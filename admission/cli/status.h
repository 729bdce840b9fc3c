// `vramgate status`: what holds the memory, who waits, what is scarce. Asks the operator socket of a running sidecar.
// Exit codes: 0 asked, 1 it could not be. Thread and lifetime rules: those of admission/cli/command.h.
#pragma once

#include "admission/cli/command.h"

namespace vramgate {

Command StatusCommand();

}  // namespace vramgate
