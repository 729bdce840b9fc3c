// `vramgate check`: is this config right, and what does it mean with every default filled in?
//
// Prints the effective config on stdout (YAML that reads back as the same, or JSON), warnings and errors on stderr, one
// a line with file, line and field. Exit codes: 0 good, 2 not. Thread and lifetime rules: those of
// admission/cli/command.h.
#pragma once

#include "admission/cli/command.h"

namespace vramgate {

Command CheckCommand();

}  // namespace vramgate
