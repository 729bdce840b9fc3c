#include "admission/ledger_row.h"

namespace vramgate {

std::string_view LedgerEventName(LedgerEvent event) {
  switch (event) {
    case LedgerEvent::kStart:
      return "START";
    case LedgerEvent::kCapacity:
      return "CAPACITY";
    case LedgerEvent::kFixed:
      return "FIXED";
    case LedgerEvent::kInherit:
      return "INHERIT";
    case LedgerEvent::kGrant:
      return "GRANT";
    case LedgerEvent::kExtend:
      return "EXTEND";
    case LedgerEvent::kShrink:
      return "SHRINK";
    case LedgerEvent::kLinger:
      return "LINGER";
    case LedgerEvent::kRevoke:
      return "REVOKE";
    case LedgerEvent::kOveruse:
      return "OVERUSE";
    case LedgerEvent::kRelease:
      return "RELEASE";
    case LedgerEvent::kExpire:
      return "EXPIRE";
    case LedgerEvent::kLost:
      return "LOST";
    case LedgerEvent::kStop:
      return "STOP";
  }
  return "UNKNOWN";
}

}  // namespace vramgate
