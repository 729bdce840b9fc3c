// Prompt + watermark with preemption, as vLLM admits: the head starts when the blocks of its prompt fit and 1 % of the
// pool is left free; what its output will take is not asked. Where the pool runs full the newest sequence is preempted
// and recomputed.
//
// vLLM's block manager (vllm/core/block_manager.py, `can_allocate`: watermark 0.01 of the blocks; NEVER where the
// prompt does not fit beside it) and scheduler (the last of `running` is preempted, by recomputation). Its V1 scheduler
// dropped the watermark: then it preempts more.
#pragma once

#include "admission/replay/queue_policy.h"

namespace vramgate {

class WatermarkPolicy final : public QueuePolicy {
 public:
  using QueuePolicy::QueuePolicy;

 private:
  static constexpr int64_t kWatermarkShare = 100;  // 1 / this of the pool

  void BeginPass(Instant now) override { (void)now; }
  bool Fits(int32_t index) override {
    return curve().bytes(start_tokens(index)) <= scene_.engine.free_bytes() - reserved_bytes();
  }
  void Started(int32_t index) override { (void)index; }
  int64_t reserved_bytes() const override { return pool_bytes() / kWatermarkShare; }
};

}  // namespace vramgate
