// The description of the HTTP door, proto/vramgate/v1/openapi.yaml, as it was built in. A constant: any thread.
#pragma once

#include <string_view>

namespace vramgate {

extern const std::string_view kOpenApiYaml;

}  // namespace vramgate
