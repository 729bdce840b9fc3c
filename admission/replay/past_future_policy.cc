#include "admission/replay/past_future_policy.h"

#include <algorithm>
#include <utility>

namespace vramgate {

PastFuturePolicy::PastFuturePolicy(const Scene& scene)
    : QueuePolicy(scene), future_(curve(), pool_bytes() - reserved_bytes()), rng_(scene.seed) {}

void PastFuturePolicy::End(int32_t index, Instant now) {
  const int32_t length = job(index).output_tokens;  // as the engine reports it
  window_.push_back(length);
  sorted_.insert(std::upper_bound(sorted_.begin(), sorted_.end(), length), length);
  if (window_.size() > kWindow) {
    sorted_.erase(std::lower_bound(sorted_.begin(), sorted_.end(), window_.front()));
    window_.pop_front();
  }
  QueuePolicy::End(index, now);
}

int64_t PastFuturePolicy::DrawLength(int64_t more_than, int64_t most) {
  const auto longer = std::upper_bound(sorted_.begin(), sorted_.end(), more_than);
  const auto count = static_cast<uint64_t>(sorted_.end() - longer);
  if (count == 0) return most;
  return std::min<int64_t>(most, longer[static_cast<ptrdiff_t>(rng_.Below(count))]);
}

void PastFuturePolicy::BeginPass(Instant now) {
  (void)now;
  std::vector<Growth> growths;
  growths.reserve(scene_.engine.running().size() + 1);
  for (const Sequence& s : scene_.engine.running()) {
    const int64_t left = DrawLength(s.generated_tokens, job(s.job).max_tokens) - s.generated_tokens;
    growths.push_back({.held_tokens = s.length(), .last_step = std::max<int64_t>(left, 0)});
  }
  future_.Set(std::move(growths));
}

bool PastFuturePolicy::Fits(int32_t index) {
  const int64_t generated = scene_.engine.generated(index);
  const int64_t left = DrawLength(generated, job(index).max_tokens) - generated;
  candidate_ = {.held_tokens = start_tokens(index), .last_step = std::max<int64_t>(left, 0)};
  return future_.Fits(candidate_);
}

void PastFuturePolicy::Started(int32_t index) {
  (void)index;
  future_.Add(candidate_);
}

}  // namespace vramgate
