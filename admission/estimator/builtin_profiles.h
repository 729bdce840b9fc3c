// The profiles of admission/estimator/profiles, as they stand there; the build writes builtin_profiles.cc from them.
#pragma once

#include <span>
#include <string_view>

namespace vramgate {

struct BuiltinProfile {
  std::string_view name;  // the file's
  std::string_view json;
};

extern const std::span<const BuiltinProfile> kBuiltinProfiles;

}  // namespace vramgate
