// `vramgate estimate`: what a model and its requests take on a device, term by term, for people and for scripts.
//
// Works by shape (`--parameters 72e9 --layers 48 ...`) or by model (`--model PATH`). Exit codes: 0 printed, 2 wrong
// usage or input. Thread and lifetime rules: those of admission/cli/command.h.
#pragma once

#include "admission/cli/command.h"

namespace vramgate {

Command EstimateCommand();

}  // namespace vramgate
