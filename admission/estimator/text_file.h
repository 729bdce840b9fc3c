// Small text files that people write: configs of models, profiles of engines.
//
//   absl::StatusOr<std::string> text = ReadTextFile("profiles/mine.json");
//
// No thread rule.
#pragma once

#include <string>

#include "absl/status/statusor.h"

namespace vramgate {

// The whole file; of one that is too large to be a config, one byte more than ParseJsonObject takes, which then says
// so. NOT_FOUND: no such file. INVALID_ARGUMENT: not a regular file, or it cannot be read; messages begin with the
// path.
absl::StatusOr<std::string> ReadTextFile(const std::string& path);

}  // namespace vramgate
