// The limits that meet a stated wait: how small the pool may be, how long the queue, and how small the risk.
//
//   const SweepResult found = Sweep(kind, input, 5, resize, nullptr);
//
// The first two by bisection over whole replays: the wait falls as the pool grows, and as the queue is cut. Risks are
// tried from the least on. Used by `vramgate replay --sweep`. Pure, one thread.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>

#include "admission/replay/replay.h"

namespace vramgate {

struct SweepResult {
  double target_wait_s = 0;
  int64_t runs = 0;
  // The smallest pool with which nobody is refused and the 99th percentile of waits is at most the target, to a block
  // or 1/256; nullopt: none up to kMostSweepTokens.
  std::optional<int64_t> kv_tokens;
  ReplayResult with_pool;  // of that pool
  // With the pool as given, the longest queue with which those that are admitted wait no longer; later ones are
  // refused.
  std::optional<int64_t> queue_requests;
  ReplayResult with_queue;
  // Of a policy that has one: with the pool as given and a queue without limits, the least of kSweepRisks.
  std::optional<double> risk;
  ReplayResult with_risk;
};

inline constexpr std::array<double, 8> kSweepRisks = {1e-5, 1e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.2};

inline constexpr int64_t kMostSweepTokens = int64_t{1} << 36;

// `resize` gives `input` a pool of so many tokens, in the engine and in the gate.
SweepResult Sweep(const PolicyRun& run, const ReplayInput& input, double target_wait_s,
                  const std::function<void(ReplayInput& input, int64_t kv_tokens)>& resize,
                  const std::function<void(int64_t runs)>& progress);

}  // namespace vramgate
