// Replays of the slices in tests/data/traces, in front of one pool.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "admission/replay/replay.h"
#include "tests/support/one_pool.h"

namespace vramgate {

inline Trace Slice(const std::string& name, int64_t first = Trace::kMaxRows) {
  absl::StatusOr<Trace> trace = ReadTraceFile(VRAMGATE_TEST_DATA "/traces/" + name + ".csv", first);
  EXPECT_TRUE(trace.ok()) << trace.status();
  return trace.ok() ? *std::move(trace) : Trace{};
}

inline ReplayInput InputOf(const Trace& trace, int64_t kv_tokens, int64_t max_tokens, double speed) {
  return OnePool(JobsOf(trace, speed, max_tokens, int64_t{1} << 40), trace.tenants, kv_tokens);
}

inline ReplayResult Replayed(const char* policy, const ReplayInput& input, Recorder* recorder = nullptr) {
  const PolicyKind* kind = FindPolicy(policy);
  EXPECT_NE(kind, nullptr) << policy;
  return Replay({kind}, input, {.recorder = recorder});
}

}  // namespace vramgate
