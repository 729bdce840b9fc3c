// What a config says of gateways, checked: paths, names of headers, priorities.
//
// Used by the check of the whole config. Pure.
#pragma once

#include "admission/server/config_errors.h"
#include "vramgate/v1/config.pb.h"

namespace vramgate {

// Adds an error for everything that is wrong.
void CheckGateways(const v1::Gateways& config, const SourceMap& lines, ErrorList& errors);

}  // namespace vramgate
