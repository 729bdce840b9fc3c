// A Pacer says when the next of many may go: at most `per_second` of them, with a few at once after a pause.
//
// Used by GateModel's worker. Triton's HTTP frontend loses replies when a thousand held requests are answered in one
// moment, so starts and refusals are spread.
//
//   if (pacer.Due(now)) { pacer.Take(now); ... } else { wait until pacer.next(); }
//
// Thread rule: confined to one thread. Lifetime rule: a value.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>

namespace vramgate {

class Pacer {
 public:
  using Instant = std::chrono::steady_clock::time_point;

  // 0 per second: no bound. REQUIRES: per_second >= 0.
  explicit Pacer(int64_t per_second)
      : gap_(per_second == 0 ? 0 : std::chrono::nanoseconds(std::chrono::seconds(1)).count() / per_second) {}

  bool Due(Instant now) const { return now >= next_; }
  Instant next() const { return next_; }
  // One goes now. What was not used for a while counts for kAtOnce of them at most.
  void Take(Instant now) { next_ = std::max(next_, now - kAtOnce * gap_) + gap_; }

 private:
  static constexpr int kAtOnce = 8;

  std::chrono::nanoseconds gap_;
  Instant next_ = Instant::min();
};

}  // namespace vramgate
