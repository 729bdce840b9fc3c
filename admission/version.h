// The version of vramgate, from the build (CMakeLists.txt's project version and, where git knows it, the commit).
#pragma once

namespace vramgate {

inline constexpr const char* kVersion = VRAMGATE_VERSION;

}  // namespace vramgate
