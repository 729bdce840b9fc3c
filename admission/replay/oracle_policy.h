// The clairvoyant oracle: it knows what every request will generate, and lets one start when the peak of all their true
// futures fits the pool. Nobody can know that; it is the bound that others are measured against.
//
// First come first served; where nobody else is served first it is EASY (Lifka 1995): the head that does not fit gets
// the earliest start at which it will, and one behind it may go now where it fits beside that.
#pragma once

#include <vector>

#include "admission/replay/future_peak.h"
#include "admission/replay/queue_policy.h"

namespace vramgate {

class OraclePolicy final : public QueuePolicy {
 public:
  explicit OraclePolicy(const Scene& scene) : QueuePolicy(scene), future_(curve(), pool_bytes()) {}

 private:
  static constexpr size_t kDepth = 32;  // waiters behind the head that are tried

  void BeginPass(Instant now) override;
  bool Fits(int32_t index) override;
  void Started(int32_t index) override;
  void PassHead(Instant now) override;
  int64_t PrefillSteps(int64_t tokens) const;
  Growth GrowthOf(int32_t index) const;

  FuturePeak future_;
  int64_t prompt_tokens_ = 0;  // to be computed by those that run, and by those that this pass started
  Growth candidate_;
};

}  // namespace vramgate
