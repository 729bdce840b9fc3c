#include "admission/types.h"

#include <charconv>

#include "absl/strings/str_format.h"

namespace vramgate {
namespace {
constexpr std::string_view kLeasePrefix = "leases/";
}  // namespace

std::string LeaseName(LeaseId id) {
  return absl::StrFormat("leases/%016x", id.value);
}

std::optional<LeaseId> ParseLeaseName(std::string_view name) {
  if (!name.starts_with(kLeasePrefix)) return std::nullopt;
  name.remove_prefix(kLeasePrefix.size());
  LeaseId id;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), id.value, 16);
  if (error != std::errc() || end != name.data() + name.size() || name.size() != 16 || id.value == 0)
    return std::nullopt;
  return id;
}

std::string_view OutcomeName(Outcome outcome) {
  switch (outcome) {
    case Outcome::kGranted:
      return "granted";
    case Outcome::kRejectedQueueFull:
      return "rejected_queue_full";
    case Outcome::kRejectedQueueTimeout:
      return "rejected_queue_timeout";
    case Outcome::kRejectedBudgetExhausted:
      return "rejected_budget_exhausted";
    case Outcome::kRejectedTenantQuota:
      return "rejected_tenant_quota";
    case Outcome::kRejectedNeverFits:
      return "rejected_never_fits";
    case Outcome::kRejectedUnknownModel:
      return "rejected_unknown_model";
    case Outcome::kRejectedDraining:
      return "rejected_draining";
    case Outcome::kRejectedTelemetryStale:
      return "rejected_telemetry_stale";
    case Outcome::kRejectedInvalidRequest:
      return "rejected_invalid_request";
    case Outcome::kCancelled:
      return "cancelled";
    case Outcome::kDeadline:
      return "deadline";
    case Outcome::kSuperseded:
      return "superseded";
    case Outcome::kCompleted:
      return "completed";
    case Outcome::kAborted:
      return "aborted";
    case Outcome::kExpired:
      return "expired";
    case Outcome::kRevoked:
      return "revoked";
  }
  return "unknown";
}

std::string_view OutcomeReason(Outcome outcome) {
  switch (outcome) {
    case Outcome::kRejectedQueueFull:
      return "QUEUE_FULL";
    case Outcome::kRejectedQueueTimeout:
      return "QUEUE_TIMEOUT";
    case Outcome::kRejectedBudgetExhausted:
      return "BUDGET_EXHAUSTED";
    case Outcome::kRejectedTenantQuota:
      return "TENANT_QUOTA";
    case Outcome::kRejectedNeverFits:
      return "NEVER_FITS";
    case Outcome::kRejectedUnknownModel:
      return "UNKNOWN_MODEL";
    case Outcome::kRejectedDraining:
      return "DRAINING";
    case Outcome::kRejectedTelemetryStale:
      return "TELEMETRY_STALE";
    case Outcome::kRejectedInvalidRequest:
      return "INVALID_REQUEST";
    case Outcome::kSuperseded:
      return "SUPERSEDED";
    case Outcome::kRevoked:
      return "LEASE_REVOKED";
    case Outcome::kGranted:
    case Outcome::kCancelled:
    case Outcome::kDeadline:
    case Outcome::kCompleted:
    case Outcome::kAborted:
    case Outcome::kExpired:
      return "";
  }
  return "";
}

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
