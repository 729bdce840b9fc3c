#include "admission/decision.h"

namespace vramgate {

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
    case Outcome::kRejectedDeadlineInfeasible:
      return "rejected_deadline_infeasible";
    case Outcome::kRejectedNeverFits:
      return "rejected_never_fits";
    case Outcome::kRejectedUnknownModel:
      return "rejected_unknown_model";
    case Outcome::kRejectedModelNotLoaded:
      return "rejected_model_not_loaded";
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
    case Outcome::kRejectedDeadlineInfeasible:
      return "DEADLINE_INFEASIBLE";
    case Outcome::kRejectedNeverFits:
      return "NEVER_FITS";
    case Outcome::kRejectedUnknownModel:
      return "UNKNOWN_MODEL";
    case Outcome::kRejectedModelNotLoaded:
      return "MODEL_NOT_LOADED";
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

}  // namespace vramgate
