// What a config must be beyond its schema: names that are unique and refer to something, settings that go together,
// sockets that are safe. Needs no device and no model file.
//
// Used by config.h. A pure function.
#pragma once

#include <string>
#include <vector>

#include "admission/server/config_errors.h"
#include "vramgate/v1/config.pb.h"

namespace vramgate {

// Adds every fault to `errors`, and to `warnings` what is legal but has no effect or an odd one. `config` may be
// incomplete where `errors` already says so.
void CheckConfig(const v1::Config& config, const SourceMap& lines, ErrorList& errors,
                 std::vector<std::string>& warnings);

}  // namespace vramgate
