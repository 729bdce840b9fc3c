// The most KV that sequences of known lengths will occupy together, each growing by a token a step and then leaving:
// what the oracle and Past-Future ask before they let one more in.
//
//   FuturePeak future(curve, pool_bytes);
//   for (...) future.Add({.held_tokens = 400, .last_step = 60});
//   if (future.Fits(candidate)) future.Add(candidate);
//
// Usage grows between two ends, so it is looked at where somebody leaves, in whole blocks. Used by the policies.
// Confined to one thread. A question is O(n), and O(n) more for each end at which a simple bound does not tell.
#pragma once

#include <cstdint>
#include <vector>

#include "admission/replay/kv_curve.h"

namespace vramgate {

// Steps count from now.
struct Growth {
  int64_t held_tokens = 0;  // at first_step, and until it grows
  int64_t grow_step = 0;    // a token more with every step after this one
  int64_t last_step = 0;    // then it leaves; >= grow_step
  int64_t first_step = 0;   // > 0: not there before

  int64_t tokens(int64_t step) const { return held_tokens + (step > grow_step ? step - grow_step : 0); }
};

class FuturePeak {
 public:
  FuturePeak(const KvCurve& curve, int64_t pool_bytes) : curve_(curve), pool_bytes_(pool_bytes) {}

  // Forgets all but these.
  void Set(std::vector<Growth> growths);
  void Add(const Growth& growth);
  // Whether the pool holds all of them and `candidate`, at every step from candidate.first_step on.
  bool Fits(const Growth& candidate);
  // The first step, 0 or right after an end, from which on `candidate` (its steps counted from its start) fits.
  // REQUIRES: it fits an empty pool.
  int64_t EarliestStart(const Growth& candidate);

 private:
  int64_t ExactBytes(int64_t step) const;

  const KvCurve& curve_;
  const int64_t pool_bytes_;
  std::vector<Growth> growths_;  // latest end first
};

}  // namespace vramgate
