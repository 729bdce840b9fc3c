// Every answer that is an error: its code, its reason, and details that are honest.
#include <gtest/gtest.h>

#include "tests/admission/server/parts.h"
#include "tests/support/status_details.h"

namespace vramgate {
namespace {

struct Row {
  Outcome outcome;
  grpc::StatusCode code;
  const char* reason;
  bool retry;
};

// The table "Answers" of docs/admission.md.
constexpr Row kRows[] = {
    {Outcome::kRejectedQueueFull, grpc::StatusCode::RESOURCE_EXHAUSTED, "QUEUE_FULL", true},
    {Outcome::kRejectedQueueTimeout, grpc::StatusCode::RESOURCE_EXHAUSTED, "QUEUE_TIMEOUT", true},
    {Outcome::kRejectedBudgetExhausted, grpc::StatusCode::RESOURCE_EXHAUSTED, "BUDGET_EXHAUSTED", true},
    {Outcome::kRejectedTenantQuota, grpc::StatusCode::RESOURCE_EXHAUSTED, "TENANT_QUOTA", true},
    {Outcome::kRejectedModelNotLoaded, grpc::StatusCode::UNAVAILABLE, "MODEL_NOT_LOADED", true},
    {Outcome::kRejectedDeadlineInfeasible, grpc::StatusCode::RESOURCE_EXHAUSTED, "DEADLINE_INFEASIBLE", true},
    {Outcome::kRejectedNeverFits, grpc::StatusCode::FAILED_PRECONDITION, "NEVER_FITS", false},
    {Outcome::kRejectedUnknownModel, grpc::StatusCode::NOT_FOUND, "UNKNOWN_MODEL", false},
    {Outcome::kRejectedDraining, grpc::StatusCode::UNAVAILABLE, "DRAINING", true},
    {Outcome::kRejectedTelemetryStale, grpc::StatusCode::UNAVAILABLE, "TELEMETRY_STALE", true},
    {Outcome::kRejectedInvalidRequest, grpc::StatusCode::INVALID_ARGUMENT, "INVALID_REQUEST", false},
    {Outcome::kDeadline, grpc::StatusCode::DEADLINE_EXCEEDED, "", false},
    {Outcome::kRevoked, grpc::StatusCode::ABORTED, "LEASE_REVOKED", false},
    {Outcome::kSuperseded, grpc::StatusCode::ABORTED, "SUPERSEDED", false},
    {Outcome::kCancelled, grpc::StatusCode::CANCELLED, "", false},
    {Outcome::kAborted, grpc::StatusCode::ABORTED, "", false},
    {Outcome::kExpired, grpc::StatusCode::ABORTED, "", false},
};

TEST(AnswersTest, EveryOutcomeHasItsCodeAndDetails) {
  const Parts parts;
  for (const Row& row : kRows) {
    SCOPED_TRACE(std::string(OutcomeName(row.outcome)));
    Decision decision{.outcome = row.outcome};
    decision.tenant.Assign("team-a");
    const grpc::Status status = parts.converter->ToStatus(decision);
    EXPECT_EQ(status.error_code(), row.code);
    EXPECT_NE(status.error_message(), "");
    const StatusDetails details = DetailsOf(status);
    EXPECT_EQ(details.reason, row.reason);
    EXPECT_EQ(details.domain, *row.reason != '\0' ? "vramgate" : "");
    EXPECT_EQ(details.retry_after.has_value(), row.retry);
    EXPECT_EQ(details.retry_after.value_or(kDefaultRetryAfter), kDefaultRetryAfter) << "the gate has seen no release";
    EXPECT_EQ(details.quota_subject, row.outcome == Outcome::kRejectedTenantQuota ? "tenant:team-a" : "");
    EXPECT_EQ(details.field, row.outcome == Outcome::kRejectedInvalidRequest ? "request_id" : "");
    decision.retry_after = absl::Milliseconds(1500);
    EXPECT_EQ(DetailsOf(parts.converter->ToStatus(decision)).retry_after,
              row.retry ? std::optional(absl::Milliseconds(1500)) : std::nullopt);
  }
  EXPECT_TRUE(parts.converter->ToStatus(Decision{.outcome = Outcome::kGranted}).ok());
  EXPECT_TRUE(parts.converter->ToStatus(Decision{.outcome = Outcome::kCompleted}).ok());
}

TEST(AnswersTest, ARefusalNamesItsField) {
  const Parts parts;
  const grpc::Status status =
      parts.converter->ToStatus(Refusal{Outcome::kRejectedInvalidRequest, "demand.prompt_tokens", "-1 is not within"});
  EXPECT_EQ(status.error_message(), "demand.prompt_tokens: -1 is not within");
  EXPECT_EQ(DetailsOf(status).field, "demand.prompt_tokens");
  EXPECT_FALSE(DetailsOf(status).retry_after);
  const grpc::Status full = parts.converter->ToStatus(Refusal{Outcome::kRejectedQueueFull, "", "too many streams"});
  EXPECT_EQ(full.error_message(), "too many streams");
  EXPECT_EQ(DetailsOf(full).field, "");
  EXPECT_TRUE(DetailsOf(full).retry_after);
}

TEST(AnswersTest, AGrantSaysWhatItHoldsAndUntilWhen) {
  const Parts parts;
  Decision grant{.lease = {LeaseId{0x1000003e8}, 1}, .instance = InstanceId{1}};
  grant.cost = {.kv_bytes = 10 * kMiB, .activation_bytes = 5};
  v1::Lease unary;
  parts.converter->ToLease(grant, "team-a", /*stream=*/false, &unary);
  EXPECT_EQ(unary.name(), "leases/00000001000003e8");
  EXPECT_EQ(unary.state(), v1::Lease::HELD);
  EXPECT_EQ(unary.instance(), "tp");
  EXPECT_EQ(unary.tenant(), "team-a");
  ASSERT_EQ(unary.charges_size(), 2);
  EXPECT_EQ(unary.charges(1).device(), "1");
  EXPECT_EQ(unary.charges(1).vram_bytes(), 10 * kMiB + 5);
  EXPECT_EQ(unary.expire_time().seconds() - unary.grant_time().seconds(), 10) << "confirm_within";
  EXPECT_LT(FromProto(unary.renew_interval()), absl::Seconds(10));
  v1::Lease stream;
  parts.converter->ToLease(grant, "team-a", /*stream=*/true, &stream);
  EXPECT_FALSE(stream.has_expire_time());
  EXPECT_FALSE(stream.has_renew_interval());
}

TEST(AnswersTest, APositionHasAWaitOnlyWhereItIsKnown) {
  v1::Queued queued;
  Converter::ToQueued({.position = 2, .ahead_total = 5}, &queued);
  EXPECT_EQ(queued.position(), 2);
  EXPECT_EQ(queued.ahead_total(), 5);
  EXPECT_FALSE(queued.has_estimated_wait());
  Converter::ToQueued({.position = 2, .ahead_total = 5, .estimated_wait = absl::Milliseconds(1250)}, &queued);
  EXPECT_EQ(queued.estimated_wait().seconds(), 1);
  EXPECT_EQ(queued.estimated_wait().nanos(), 250'000'000);
}

}  // namespace
}  // namespace vramgate
