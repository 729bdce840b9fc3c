// A row of the ledger file: one change of one account, and why.
//
// Used by the gate, which makes them, and by what writes them down. A plain value: no thread rule, no lifetime rule.
#pragma once

#include <cstdint>
#include <string_view>

#include "admission/clock.h"
#include "admission/types.h"

namespace vramgate {

// Why an account changed. Names as in the ledger file.
enum class LedgerEvent : uint8_t {
  kStart,
  kCapacity,
  kFixed,
  kInherit,
  kGrant,
  kExtend,
  kShrink,
  kLinger,
  kRevoke,
  kOveruse,
  kRelease,
  kExpire,
  kLost,
  kStop
};
std::string_view LedgerEventName(LedgerEvent event);

// One change of one account: a row of the ledger file.
struct LedgerRow {
  Instant time;
  LeaseId lease;  // 0: none. kLost: how many rows were lost
  AccountId account{0};
  LedgerEvent event = LedgerEvent::kStart;
  int64_t delta_bytes = 0;
  int64_t used_bytes = 0;      // after the row, fixed bytes included
  int64_t capacity_bytes = 0;  // as known then
};

}  // namespace vramgate
