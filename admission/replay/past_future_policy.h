// Past-Future, as LightLLM admits: each request is taken to generate as much as one drawn from the last finished ones
// that generated more than it has so far, and the head starts when the peak of all their futures fits the pool less a
// reserve. Lengths are drawn anew in every pass.
//
// Gong et al., "Past-Future Scheduler for LLM Serving under SLA Guarantees", ASPLOS 2025 (doi 10.1145/3676641.3716011),
// and ModelTC/lightllm, lightllm/server/router/req_queue/continues_batch/impl.py: the peak is the largest of
// (tokens held by those that end last) + (their number) x (steps until the next of them ends). Before anything has
// finished a request is taken to generate all that it may. The paper reserves 3, 5 or 10 % of the pool: 5 % here.
#pragma once

#include <deque>
#include <vector>

#include "admission/replay/future_peak.h"
#include "admission/replay/queue_policy.h"
#include "admission/rng.h"

namespace vramgate {

class PastFuturePolicy final : public QueuePolicy {
 public:
  explicit PastFuturePolicy(const Scene& scene);

  void End(int32_t index, Instant now) override;

 private:
  static constexpr size_t kWindow = 1000;  // finished requests that are remembered
  static constexpr int64_t kReservePercent = 5;

  bool every_step() const override { return true; }
  void BeginPass(Instant now) override;
  bool Fits(int32_t index) override;
  void Started(int32_t index) override;
  int64_t reserved_bytes() const override { return pool_bytes() * kReservePercent / 100; }
  int64_t DrawLength(int64_t more_than, int64_t most);

  FuturePeak future_;
  Rng rng_;
  std::deque<int32_t> window_;   // lengths, oldest first
  std::vector<int32_t> sorted_;  // the same, by length
  Growth candidate_;
};

}  // namespace vramgate
