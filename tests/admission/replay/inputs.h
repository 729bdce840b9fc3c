// Replays of the slices in tests/data/traces, in front of one pool.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "admission/replay/replay.h"

namespace vramgate {

inline Trace Slice(const std::string& name, int64_t first = Trace::kMaxRows) {
  absl::StatusOr<Trace> trace = ReadTraceFile(VRAMGATE_TEST_DATA "/traces/" + name + ".csv", first);
  EXPECT_TRUE(trace.ok()) << trace.status();
  return trace.ok() ? *std::move(trace) : Trace{};
}

// One device, one pool, a queue without end.
inline ReplayInput InputOf(const Trace& trace, int64_t kv_tokens, int64_t max_tokens, double speed) {
  ReplayInput input;
  input.jobs = JobsOf(trace, speed, max_tokens, int64_t{1} << 40);
  input.tenants = trace.tenants;
  for (const Job& job : input.jobs) {
    Costs costs{};
    costs[0].kv_bytes = input.engine.curve.bytes(int64_t{job.prompt_tokens} + job.max_tokens);
    input.costs.push_back(costs);
  }
  input.engine.pool_bytes = input.engine.curve.bytes(kv_tokens);
  input.gate.devices.push_back({"0", input.engine.pool_bytes, input.engine.pool_bytes});
  input.gate.models.push_back({"model", {{.name = "0", .devices = {0}, .pool_bytes = input.engine.pool_bytes}}});
  input.gate.queue.max_requests = input.gate.queue.max_tokens = kUnlimitedBytes;
  input.gate.queue.max_wait = absl::InfiniteDuration();
  input.gate.leases.max = std::ssize(input.jobs) + 1;
  return input;
}

inline ReplayResult Replayed(const char* policy, const ReplayInput& input, Recorder* recorder = nullptr) {
  const PolicyKind* kind = FindPolicy(policy);
  EXPECT_NE(kind, nullptr) << policy;
  return Replay({kind}, input, {.recorder = recorder});
}

}  // namespace vramgate
