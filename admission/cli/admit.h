// `vramgate admit`: asks for one request from the shell, holds what it got, gives it back on Ctrl-C or after --hold.
//
// stdout: one JSON line when granted,
// {"lease","instance","devices":[{"device","vram_bytes"}],"vram_bytes","queued_ms"}, or when refused,
// {"code","reason","message","retry_after_ms"}; words go to stderr. Exit codes: 0 released, 3 refused but may be
// retried, 4 refused for good, 1 the sidecar could not be asked. Thread and lifetime rules: those of
// admission/cli/command.h.
#pragma once

#include "admission/cli/command.h"

namespace vramgate {

Command AdmitCommand();

}  // namespace vramgate
