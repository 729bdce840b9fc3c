// Ratio, as SGLang admits: the head starts when the pool holds what runs now, `new_token_ratio` of what each of it may
// still generate, and the head's prompt with all that it may generate. The ratio falls with every step and jumps up
// when memory ran out.
//
// SGLang's PrefillAdder (python/sglang/srt/managers/schedule_policy.py: `rem_total_tokens`, `add_one_req`; what a
// request may generate is clipped at 4096) and scheduler: the ratio starts at 0.7, falls to 0.14 of that in 600 steps,
// goes back to the start when the engine is idle, and after a retraction becomes (generated + 20 x requests) /
// (max_new_tokens + 1) of those that stay. Retracted are those with the fewest generated tokens, the longest prompt
// first, until the next step of the rest fits (VictimRule::kFewestGenerated).
#pragma once

#include "admission/replay/queue_policy.h"

namespace vramgate {

class RatioPolicy final : public QueuePolicy {
 public:
  using QueuePolicy::QueuePolicy;

  void Preempted(int32_t index, Instant now) override;
  Instant Advance(Instant now) override;

 private:
  static constexpr double kFirstRatio = 0.7;
  static constexpr double kLeastRatio = 0.7 * 0.14;
  static constexpr double kDecay = (kFirstRatio - kLeastRatio) / 600;
  static constexpr int64_t kClipTokens = 4096;
  static constexpr int64_t kRetractTokens = 20;  // that each is to generate before the next retraction

  bool every_step() const override { return true; }
  void BeginPass(Instant now) override;
  bool Fits(int32_t index) override;
  void Started(int32_t index) override;
  int64_t MayGenerate(int32_t index) const;

  double ratio_ = kFirstRatio;
  double room_tokens_ = 0;  // in this pass
};

}  // namespace vramgate
