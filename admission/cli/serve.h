// `vramgate serve`: the sidecar. Prints one line on stdout when it is ready, then logs on stderr until SIGTERM or
// SIGINT: waiters are refused at once, holders may finish within drain.grace; a second signal ends it at once. Exit
// codes: 0 ended as told and the ledger complete, 1 not, 2 the config is wrong. Thread and lifetime rules: those of
// admission/cli/command.h.
#pragma once

#include "admission/cli/command.h"

namespace vramgate {

Command ServeCommand();

}  // namespace vramgate
