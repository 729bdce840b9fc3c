// One row of a ledger file, read strictly: the auditor's own reading of the format, apart from what writes it.
//
//   absl::StatusOr<AuditRow> row = ParseAuditRow("12.000000000,GRANT,0000000000000001,device/0,1024,2048,4096");
//
// Plain values that view the line. Used by audit.cc only.
#pragma once

#include <cstdint>
#include <string_view>

#include "absl/status/statusor.h"

namespace vramgate {

struct AuditRow {
  enum class Event : uint8_t {
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
    kStop,
  };
  int64_t time_ns = 0;
  Event event = Event::kStart;
  uint64_t lease = 0;        // 0: none. kLost: how many rows
  std::string_view account;  // kLost: empty
  int64_t delta_bytes = 0;
  int64_t used_bytes = 0;
  int64_t capacity_bytes = 0;
};

// INVALID_ARGUMENT says which of the seven columns is wrong: a time without nine decimals, an event that does not
// exist, a lease of other than 16 hex digits, an account with characters that the format encodes, a delta where the
// event has none, no number.
absl::StatusOr<AuditRow> ParseAuditRow(std::string_view line);

}  // namespace vramgate
