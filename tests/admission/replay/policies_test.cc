// Every policy in front of the engine model, on slices of real traces.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "admission/server/replay_ledger.h"
#include "tests/admission/replay/inputs.h"

namespace vramgate {
namespace {

struct Load {
  const char* trace;
  int64_t kv_tokens;
  int64_t max_tokens;
  double speed;
  bool fcfs;
};

// Budgets that make a queue.
const Load kLoads[] = {
    {"azure2023_conv_1500", 60'000, 1024, 4, true},     {"azure2023_conv_1500", 20'000, 1024, 1, false},
    {"azure2023_code_2500", 30'000, 2048, 2, false},    {"vtc_lmsys_arena_rescaled", 6'000, 1024, 2, true},
    {"vtc_lmsys_arena_rescaled", 6'000, 100, 4, false},
};

int64_t TokensWanted(const ReplayInput& input) {
  int64_t tokens = 0;
  for (const Job& job : input.jobs) tokens += job.output_tokens;
  return tokens;
}

AuditReport Audited(const PolicyKind& kind, const ReplayInput& input, ReplayResult* result) {
  absl::StatusOr<std::unique_ptr<ReplayLedger>> ledger = ReplayLedger::Open("");
  EXPECT_TRUE(ledger.ok()) << ledger.status();
  *result = Replay({&kind}, input, {.recorder = ledger->get()});
  const absl::StatusOr<AuditReport> report = (*ledger)->Close();
  EXPECT_TRUE(report.ok()) << report.status();
  return report.ok() ? *report : AuditReport{};
}

TEST(PoliciesTest, EverybodyEndsAndEveryTokenIsMade) {
  for (const Load& load : kLoads) {
    ReplayInput input = InputOf(Slice(load.trace), load.kv_tokens, load.max_tokens, load.speed);
    input.fcfs = load.fcfs;
    for (const PolicyKind& kind : Policies()) {
      SCOPED_TRACE(testing::Message() << load.trace << " " << kind.name);
      const ReplayResult result = Replay({&kind}, input, {});
      EXPECT_EQ(result.completed, result.requests);
      EXPECT_EQ(result.rejected, 0);
      EXPECT_EQ(result.output_tokens, TokensWanted(input));
      EXPECT_GT(result.utilization_while_queued.value_or(0), 0.05);
      EXPECT_LE(result.utilization_while_queued.value_or(0), 1);
      EXPECT_LE(result.wait_p50_s, result.wait_p99_s);
    }
  }
}

TEST(PoliciesTest, LedgersAreCleanByAudit) {
  for (const Load& load : kLoads) {
    const ReplayInput input = InputOf(Slice(load.trace), load.kv_tokens, load.max_tokens, load.speed);
    for (const PolicyKind& kind : Policies()) {
      SCOPED_TRACE(testing::Message() << load.trace << " " << kind.name);
      ReplayResult result;
      const AuditReport report = Audited(kind, input, &result);
      EXPECT_TRUE(report.clean()) << testing::PrintToString(report.findings);
      EXPECT_GT(report.rows, 2 * result.requests);
      EXPECT_EQ(report.open_leases, 0);
      EXPECT_LE(report.peak_used_bytes.at("pool/model/0"), input.engine.pool_bytes);
      EXPECT_GT(report.peak_used_bytes.at("pool/model/0"), input.engine.pool_bytes / 2);
    }
  }
}

// docs/admission.md has the bound and its proof. D is what was measured.
TEST(PoliciesTest, TheRateOfErrorsKeepsItsBound) {
  for (const Load& load : kLoads) {
    ReplayInput input = InputOf(Slice(load.trace), load.kv_tokens, load.max_tokens, load.speed);
    input.fcfs = load.fcfs;
    for (const double risk : {0.1, 0.001}) {
      SCOPED_TRACE(testing::Message() << load.trace << " " << risk);
      const ReplayResult result = Replay({FindPolicy("statistical"), risk}, input, {});
      ASSERT_TRUE(result.control.has_value());
      EXPECT_TRUE(result.control->windows > 0 || result.preemptions == 0) << "all were sure";
      EXPECT_LE(result.control->rate, result.control->bound);
      EXPECT_LE(result.control->delay, load.max_tokens / Outlook::kWindowSteps + 2) << "an error outlived its cause";
      EXPECT_EQ(result.preemptions > 0, result.revocation_rate > 0);
    }
  }
}

TEST(PoliciesTest, TheGuaranteedLevelsNeverPreemptAndNeverBeatTheOracle) {
  for (const Load& load : kLoads) {
    SCOPED_TRACE(load.trace);
    ReplayInput input = InputOf(Slice(load.trace), load.kv_tokens, load.max_tokens, load.speed);
    input.fcfs = load.fcfs;
    const ReplayResult worst = Replayed("worst_case", input);
    const ReplayResult oracle = Replayed("oracle", input);
    for (const ReplayResult& guaranteed : {worst, Replayed("lockstep", input)}) {
      EXPECT_EQ(guaranteed.preemptions, 0) << guaranteed.policy;
      EXPECT_EQ(guaranteed.recomputed_tokens, 0) << guaranteed.policy;
      EXPECT_EQ(guaranteed.revocation_rate, 0) << guaranteed.policy;
    }
    EXPECT_EQ(oracle.preemptions, 0) << "it knows";
    EXPECT_GE(oracle.utilization_while_queued, worst.utilization_while_queued);
    EXPECT_LE(oracle.duration_s, worst.duration_s * 1.0001);
    EXPECT_LE(oracle.wait_p99_s, worst.wait_p99_s);
  }
}

// The figures of the design, on a slice: docs/replay.md has those of the whole trace.
TEST(PoliciesTest, AzureConversationIsAsCalibrated) {
  ReplayInput input = InputOf(Slice("azure2023_conv_1500"), 60'000, 1024, 4);
  input.fcfs = true;
  EXPECT_NEAR(Replayed("worst_case", input).utilization_while_queued.value_or(0), 0.59, 0.03);
  EXPECT_NEAR(Replayed("lockstep", input).utilization_while_queued.value_or(0), 0.68, 0.03);
  const double oracle = Replayed("oracle", input).utilization_while_queued.value_or(0);
  EXPECT_NEAR(oracle, 0.98, 0.03);
  EXPECT_GT(Replayed("statistical", input).utilization_while_queued.value_or(0), 0.96 * oracle);
}

TEST(PoliciesTest, AdmittingOnThePromptAlonePreempts) {
  const ReplayInput input = InputOf(Slice("vtc_lmsys_arena_rescaled"), 6'000, 1024, 4);
  const ReplayResult result = Replayed("watermark", input);
  EXPECT_GT(result.preemptions, 100);
  EXPECT_GT(result.recomputed_tokens, result.output_tokens / 10);
  EXPECT_GT(result.revocation_rate, 0.1);
  EXPECT_LT(Replayed("past_future", input).preemptions, result.preemptions);
  EXPECT_LT(Replayed("ratio", input).preemptions, result.preemptions);
}

TEST(PoliciesTest, NothingIsGainedWhereEveryOutputIsItsCap) {
  Trace trace = Slice("azure2023_conv_1500", 400);
  for (TraceRow& row : trace.rows) row.output_tokens = 512;
  const ReplayInput input = InputOf(trace, 60'000, 512, 4);
  ReplayResult worst;
  EXPECT_TRUE(Audited(*FindPolicy("worst_case"), input, &worst).clean());
  const double oracle = Replayed("oracle", input).utilization_while_queued.value_or(0);
  EXPECT_GT(oracle, worst.utilization_while_queued);
  for (const char* policy : {"lockstep", "statistical"}) {
    ReplayResult result;
    EXPECT_TRUE(Audited(*FindPolicy(policy), input, &result).clean()) << policy;
    EXPECT_NEAR(result.utilization_while_queued.value_or(0), oracle, 0.03) << policy;
  }
}

TEST(PoliciesTest, ASeedIsARun) {
  const ReplayInput input = InputOf(Slice("vtc_lmsys_arena_rescaled"), 6'000, 1024, 4);
  ReplayInput other = input;
  other.seed = 2;
  for (const PolicyKind& kind : Policies()) {
    SCOPED_TRACE(kind.name);
    const ReplayResult a = Replay({&kind}, input, {});
    const ReplayResult b = Replay({&kind}, input, {});
    EXPECT_EQ(a.duration_s, b.duration_s);
    EXPECT_EQ(a.wait_p99_s, b.wait_p99_s);
    EXPECT_EQ(a.preemptions, b.preemptions);
    EXPECT_EQ(a.utilization, b.utilization);
  }
  EXPECT_NE(Replayed("past_future", input).utilization, Replayed("past_future", other).utilization);
}

TEST(PoliciesTest, QueueLimitsHoldForEveryPolicy) {
  ReplayInput input = InputOf(Slice("azure2023_conv_1500"), 30'000, 1024, 4);
  input.gate.queue.max_requests = 20;
  ReplayInput patient = input;
  patient.gate.queue.max_requests = kUnlimitedBytes;
  patient.gate.queue.max_wait = absl::Seconds(3);
  for (const PolicyKind& kind : Policies()) {
    SCOPED_TRACE(kind.name);
    const ReplayResult full = Replay({&kind}, input, {});
    EXPECT_GT(full.rejected, 0);
    EXPECT_EQ(full.completed + full.rejected, full.requests);
    const ReplayResult timed = Replay({&kind}, patient, {});
    EXPECT_GT(timed.rejected, 0);
    EXPECT_EQ(timed.completed + timed.rejected, timed.requests);
    EXPECT_LE(timed.wait_p99_s, 3.0);
  }
}

TEST(PoliciesTest, WhatNeverFitsIsRefused) {
  Trace trace;
  trace.tenants = {""};
  trace.rows = {{0, 900, 10, 0}, {1, 3000, 10, 0}, {2, 900, 10, 0}};
  const ReplayInput input = InputOf(trace, 2048, 1024, 1);
  for (const PolicyKind& kind : Policies()) {
    SCOPED_TRACE(kind.name);
    const ReplayResult result = Replay({&kind}, input, {});
    EXPECT_EQ(result.rejected, 1);
    EXPECT_EQ(result.completed, 2);
  }
}

TEST(PoliciesTest, APromptLongerThanTheModelIsRefused) {
  Trace trace;
  trace.tenants = {""};
  trace.rows = {{0, 100, 10, 0}, {0, 5000, 10, 0}, {0, 4090, 10, 0}};
  ReplayInput input = InputOf(trace, 60'000, 1024, 1);
  input.jobs = JobsOf(trace, 1, 1024, 4096);
  EXPECT_EQ(input.jobs[2].output_tokens, 6);
  const ReplayResult result = Replayed("worst_case", input);
  EXPECT_EQ(result.rejected, 1);
  EXPECT_EQ(result.output_tokens, 16);
}

TEST(PoliciesTest, FirstComeFirstServedIsStrict) {
  Trace trace;
  trace.tenants = {""};
  // The second does not fit beside the first; the third would.
  trace.rows = {{0, 1000, 500, 0}, {1'000'000, 3100, 10, 0}, {2'000'000, 100, 10, 0}};
  ReplayInput input = InputOf(trace, 4096, 512, 1);
  for (const char* policy : {"worst_case", "oracle"}) {
    SCOPED_TRACE(policy);
    input.fcfs = false;
    EXPECT_LT(Replayed(policy, input).wait_p50_s, 0.1) << "the third passes";
    input.fcfs = true;
    EXPECT_GT(Replayed(policy, input).wait_p50_s, 1) << "the third waits behind the second";
  }
}

TEST(PoliciesTest, NamesAreUniqueAndFound) {
  for (const PolicyKind& kind : Policies()) EXPECT_EQ(FindPolicy(kind.name), &kind);
  EXPECT_EQ(FindPolicy("magic"), nullptr);
  EXPECT_EQ(PolicyNames(), "worst_case, lockstep, statistical, watermark, ratio, past_future, oracle");
}

}  // namespace
}  // namespace vramgate
