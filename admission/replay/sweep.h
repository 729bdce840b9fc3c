// The limits that meet a stated wait: how small the pool may be, and how long the queue.
//
//   const SweepResult found = Sweep(kind, input, 5, resize, nullptr);
//
// Both by bisection over whole replays: the wait falls as the pool grows, and as the queue is cut. Used by
// `vramgate replay --sweep`. Pure, one thread.
#pragma once

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
};

inline constexpr int64_t kMostSweepTokens = int64_t{1} << 36;

// `resize` gives `input` a pool of so many tokens, in the engine and in the gate.
SweepResult Sweep(const PolicyRun& run, const ReplayInput& input, double target_wait_s,
                  const std::function<void(ReplayInput& input, int64_t kv_tokens)>& resize,
                  const std::function<void(int64_t runs)>& progress);

}  // namespace vramgate
