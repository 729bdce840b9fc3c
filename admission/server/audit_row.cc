#include "admission/server/audit_row.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace vramgate {
namespace {

using Event = AuditRow::Event;

constexpr size_t kColumns = 7;
constexpr size_t kMaxAccountBytes = 1024;
constexpr size_t kLeaseDigits = 16;
constexpr size_t kDecimals = 9;
constexpr int64_t kMaxSeconds = 9'000'000'000;

struct EventRule {
  std::string_view name;
  Event event;
  bool has_delta;
};
constexpr std::array<EventRule, 14> kEvents = {{{"START", Event::kStart, false},
                                                {"CAPACITY", Event::kCapacity, false},
                                                {"FIXED", Event::kFixed, true},
                                                {"INHERIT", Event::kInherit, true},
                                                {"GRANT", Event::kGrant, true},
                                                {"EXTEND", Event::kExtend, true},
                                                {"SHRINK", Event::kShrink, true},
                                                {"LINGER", Event::kLinger, false},
                                                {"REVOKE", Event::kRevoke, false},
                                                {"OVERUSE", Event::kOveruse, false},
                                                {"RELEASE", Event::kRelease, true},
                                                {"EXPIRE", Event::kExpire, true},
                                                {"LOST", Event::kLost, false},
                                                {"STOP", Event::kStop, false}}};

template <typename Number>
bool ParseWhole(std::string_view text, Number* out, int base = 10) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *out, base);
  return error == std::errc() && end == text.data() + text.size();
}

bool ParseTime(std::string_view text, int64_t* ns) {
  const size_t dot = text.find('.');
  if (dot == std::string_view::npos || text.size() - dot - 1 != kDecimals) return false;
  uint64_t seconds = 0;
  uint64_t rest = 0;
  if (!ParseWhole(text.substr(0, dot), &seconds) || !ParseWhole(text.substr(dot + 1), &rest) || seconds > kMaxSeconds)
    return false;
  *ns = static_cast<int64_t>(seconds) * 1'000'000'000 + static_cast<int64_t>(rest);
  return true;
}

bool IsAccountName(std::string_view text) {
  return !text.empty() && text.size() <= kMaxAccountBytes &&
         std::all_of(text.begin(), text.end(), [](char c) { return c > 0x20 && c < 0x7f && c != '"'; });
}

absl::Status Wrong(const char* column, const char* wanted) {
  return absl::InvalidArgumentError(absl::StrCat(column, " is not ", wanted));
}

}  // namespace

absl::StatusOr<AuditRow> ParseAuditRow(std::string_view line) {
  std::array<std::string_view, kColumns> column;
  for (size_t i = 0; i < kColumns; ++i) {
    const size_t comma = line.find(',');
    if ((comma == std::string_view::npos) != (i == kColumns - 1)) return Wrong("the row", "seven columns");
    column[i] = line.substr(0, comma);
    line.remove_prefix(i == kColumns - 1 ? line.size() : comma + 1);
  }
  AuditRow row;
  if (!ParseTime(column[0], &row.time_ns)) return Wrong("t_s", "seconds with nine decimals");
  const auto* rule =
      std::find_if(kEvents.begin(), kEvents.end(), [&](const EventRule& r) { return r.name == column[1]; });
  if (rule == kEvents.end()) return Wrong("event", "one of the ledger's");
  row.event = rule->event;
  if (row.event == Event::kLost) {
    if (!ParseWhole(column[2], &row.lease)) return Wrong("lease", "the number of lost rows");
  } else if (!column[2].empty() &&
             (column[2].size() != kLeaseDigits || !ParseWhole(column[2], &row.lease, 16) || row.lease == 0)) {
    return Wrong("lease", "16 hex digits, or empty");
  }
  row.account = column[3];
  if (row.event == Event::kLost ? !row.account.empty() : !IsAccountName(row.account))
    return Wrong("account", "an encoded name");
  if (!ParseWhole(column[4], &row.delta_bytes)) return Wrong("delta_bytes", "a whole number");
  if (!rule->has_delta && row.delta_bytes != 0) return Wrong("delta_bytes", "0, as it is for this event");
  if (!ParseWhole(column[5], &row.used_bytes)) return Wrong("used_bytes", "a whole number");
  if (!ParseWhole(column[6], &row.capacity_bytes)) return Wrong("capacity_bytes", "a whole number");
  return row;
}

}  // namespace vramgate
