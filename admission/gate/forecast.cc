#include "admission/gate/forecast.h"

#include <algorithm>

namespace vramgate {
namespace {
constexpr int64_t kWindowNs = 10'000'000'000;
constexpr double kShortestSpanNs = 1e9;  // one early release is no rate yet
}  // namespace

void Forecast::Released(int island, int64_t bytes, Instant now) {
  Rate& rate = rates_[static_cast<size_t>(island)];
  const int64_t age_ns = now.ns - rate.window_start.ns;
  if (rate.window_start.ns < 0 || age_ns >= 2 * kWindowNs) {
    rate = {.window_start = now, .first = now};
  } else if (age_ns >= kWindowNs) {
    rate.first = rate.window_start;
    rate.previous_bytes = rate.current_bytes;
    rate.current_bytes = 0;
    rate.window_start.ns += kWindowNs;
  }
  rate.current_bytes += static_cast<double>(bytes);
}

std::optional<absl::Duration> Forecast::TimeToFree(int island, int64_t bytes, Instant now) const {
  const Rate& rate = rates_[static_cast<size_t>(island)];
  if (rate.window_start.ns < 0 || now.ns - rate.window_start.ns >= 2 * kWindowNs) return std::nullopt;
  const double released = rate.current_bytes + rate.previous_bytes;
  if (released <= 0) return std::nullopt;
  const double span_ns = std::max(kShortestSpanNs, static_cast<double>(now.ns - rate.first.ns));
  const double wait_s = static_cast<double>(std::max<int64_t>(bytes, 0)) / released * span_ns / 1e9;
  return absl::Seconds(std::clamp(wait_s, 1e-3, 3600.0));
}

}  // namespace vramgate
