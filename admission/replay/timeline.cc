#include "admission/replay/timeline.h"

#include <algorithm>

namespace vramgate {

Timeline::Sums& Timeline::At(int64_t ns) {
  while (static_cast<size_t>(ns / span_ns_) >= kMost) {
    const size_t half = (sums_.size() + 1) / 2;
    for (size_t i = 0; i < half; ++i) {
      Sums merged = sums_[2 * i];
      if (2 * i + 1 < sums_.size()) {
        const Sums& other = sums_[2 * i + 1];
        merged.byte_ns += other.byte_ns;
        merged.span.starts += other.span.starts;
        merged.span.most_bytes = std::max(merged.span.most_bytes, other.span.most_bytes);
        merged.span.most_waiting = std::max(merged.span.most_waiting, other.span.most_waiting);
        merged.span.longest_wait_s = std::max(merged.span.longest_wait_s, other.span.longest_wait_s);
      }
      sums_[i] = merged;
    }
    sums_.resize(half);
    span_ns_ *= 2;
  }
  const auto index = static_cast<size_t>(ns / span_ns_);
  if (sums_.size() <= index) sums_.resize(index + 1);
  return sums_[index];
}

void Timeline::Add(Instant from, Instant to, int64_t bytes, int64_t waiting) {
  At(to.ns);  // spans are as long as they must be from here on
  for (int64_t at = from.ns; at < to.ns;) {
    const int64_t end = std::min(to.ns, (at / span_ns_ + 1) * span_ns_);
    Sums& sums = At(at);
    sums.byte_ns += static_cast<double>(bytes) * static_cast<double>(end - at);
    sums.span.most_bytes = std::max(sums.span.most_bytes, bytes);
    sums.span.most_waiting = std::max(sums.span.most_waiting, waiting);
    at = end;
  }
}

void Timeline::Waited(Instant at, double wait_s) {
  Span& span = At(at.ns).span;
  ++span.starts;
  span.longest_wait_s = std::max(span.longest_wait_s, wait_s);
}

std::vector<Timeline::Span> Timeline::spans() const {
  std::vector<Span> out;
  for (const Sums& sums : sums_) {
    out.push_back(sums.span);
    out.back().mean_bytes = sums.byte_ns / static_cast<double>(span_ns_);
  }
  return out;
}

}  // namespace vramgate
