#include "admission/replay/future_peak.h"

#include <algorithm>
#include <utility>

namespace vramgate {
namespace {

bool LaterEnd(const Growth& a, const Growth& b) {
  return a.last_step > b.last_step;
}

Growth Shifted(Growth growth, int64_t steps) {
  growth.grow_step += steps;
  growth.last_step += steps;
  growth.first_step += steps;
  return growth;
}

}  // namespace

void FuturePeak::Set(std::vector<Growth> growths) {
  growths_ = std::move(growths);
  std::sort(growths_.begin(), growths_.end(), LaterEnd);
}

void FuturePeak::Add(const Growth& growth) {
  growths_.insert(std::upper_bound(growths_.begin(), growths_.end(), growth, LaterEnd), growth);
}

int64_t FuturePeak::ExactBytes(int64_t step) const {
  int64_t bytes = 0;
  for (const Growth& g : growths_) {
    if (g.last_step < step) break;
    if (g.first_step <= step) bytes += curve_.bytes(g.tokens(step));
  }
  return bytes;
}

bool FuturePeak::Fits(const Growth& candidate) {
  const auto at = growths_.insert(std::upper_bound(growths_.begin(), growths_.end(), candidate, LaterEnd), candidate);
  const auto index = at - growths_.begin();
  // Over those that are still there at the end looked at: at most held + count x (step + a block) tokens. Only where
  // that is too much, all are asked.
  int64_t count = 0;
  int64_t held = 0;
  bool fits = true;
  for (const Growth& g : growths_) {
    if (g.last_step < candidate.first_step) break;
    ++count;
    held += g.held_tokens;
    const int64_t block_tokens = curve_.block_tokens();
    const int64_t most_blocks = (held + count * (g.last_step + block_tokens - 1)) / block_tokens;
    const bool surely = curve_.linear() && most_blocks * curve_.block_bytes() <= pool_bytes_;
    fits = surely || ExactBytes(g.last_step) <= pool_bytes_;
    if (!fits) break;
  }
  growths_.erase(growths_.begin() + index);
  return fits;
}

int64_t FuturePeak::EarliestStart(const Growth& candidate) {
  if (Fits(candidate)) return 0;
  for (auto it = growths_.rbegin(); it != growths_.rend(); ++it) {
    const int64_t start = it->last_step + 1;
    if (std::next(it) != growths_.rend() && std::next(it)->last_step + 1 == start) continue;
    if (Fits(Shifted(candidate, start))) return start;
  }
  return growths_.empty() ? 0 : growths_.front().last_step + 1;
}

}  // namespace vramgate
