#include "admission/replay/ratio_policy.h"

#include <algorithm>

namespace vramgate {

int64_t RatioPolicy::MayGenerate(int32_t index) const {
  return std::min<int64_t>(job(index).max_tokens - scene_.engine.generated(index), kClipTokens);
}

void RatioPolicy::BeginPass(Instant now) {
  (void)now;
  room_tokens_ = static_cast<double>(scene_.engine.free_bytes()) / curve().bytes_per_token();
  for (const Sequence& s : scene_.engine.running()) {
    const int64_t left = std::min<int64_t>(job(s.job).max_tokens - s.generated_tokens, kClipTokens);
    room_tokens_ -= static_cast<double>(left) * ratio_;
  }
}

bool RatioPolicy::Fits(int32_t index) {
  return static_cast<double>(start_tokens(index) + MayGenerate(index)) <= room_tokens_;
}

void RatioPolicy::Started(int32_t index) {
  room_tokens_ -= static_cast<double>(start_tokens(index) + MayGenerate(index));
}

Instant RatioPolicy::Advance(Instant now) {
  if (scene_.engine.running().empty()) {
    ratio_ = kFirstRatio;
  } else {
    ratio_ = std::max(kLeastRatio, ratio_ - kDecay);
  }
  return QueuePolicy::Advance(now);
}

void RatioPolicy::Preempted(int32_t index, Instant now) {
  QueuePolicy::Preempted(index, now);
  double generated = 0;
  double most = 1;
  for (const Sequence& s : scene_.engine.running()) {
    generated += s.generated_tokens + kRetractTokens;
    most += job(s.job).max_tokens;
  }
  ratio_ = std::min(1.0, generated / most);
}

}  // namespace vramgate
