// `vramgate audit`: does a ledger file show that the gate kept its promise? The rules are admission/server/audit.h's.
//
// Exit codes: 0 clean, 1 an overrun, a leak or an incomplete file, 2 no ledger. Thread and lifetime rules: those of
// admission/cli/command.h.
#pragma once

#include "admission/cli/command.h"

namespace vramgate {

Command AuditCommand();

}  // namespace vramgate
