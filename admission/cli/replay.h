// `vramgate replay`: what would this config have done with this traffic?
#pragma once

#include "admission/cli/command.h"

namespace vramgate {

Command ReplayCommand();

}  // namespace vramgate
