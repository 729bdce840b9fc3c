#include "admission/server/gateway_counters.h"

#include "admission/check.h"

namespace vramgate {

std::string_view GatewayHeaderName(GatewayCounters::Header header) {
  switch (header) {
    case GatewayCounters::Header::kTenant:
      return "tenant";
    case GatewayCounters::Header::kPriority:
      return "priority";
    case GatewayCounters::Header::kTimeout:
      return "timeout";
    case GatewayCounters::Header::kPromptTokens:
      return "prompt_tokens";
  }
  CHECK(false, "GatewayHeaderName: no such header");
}

std::string_view GatewayUseName(GatewayCounters::Use use) {
  switch (use) {
    case GatewayCounters::Use::kUsed:
      return "used";
    case GatewayCounters::Use::kUntrusted:
      return "untrusted";
    case GatewayCounters::Use::kUnknown:
      return "unknown";
  }
  CHECK(false, "GatewayUseName: no such use");
}

}  // namespace vramgate
