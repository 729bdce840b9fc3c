#include "examples/trace_driver/tally.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "admission/check.h"

namespace vramgate {

absl::Duration Percentile(std::vector<absl::Duration> samples, double fraction) {
  CHECK(fraction > 0 && fraction <= 1, "Percentile: a fraction is in (0, 1]");
  if (samples.empty()) return absl::ZeroDuration();
  const auto rank = static_cast<size_t>(std::ceil(fraction * static_cast<double>(samples.size())));
  const auto nth = samples.begin() + static_cast<ptrdiff_t>(std::clamp<size_t>(rank, 1, samples.size()) - 1);
  std::nth_element(samples.begin(), nth, samples.end());
  return *nth;
}

void Tally::Granted(absl::Duration waited, bool queued) {
  waits_.push_back(waited);
  if (queued) queued_waits_.push_back(waited);
}

void Tally::Ended(std::string_view outcome) {
  ++ended_;
  ++outcomes_[std::string(outcome)];
}

int64_t Tally::count(std::string_view outcome) const {
  const auto it = outcomes_.find(outcome);
  return it == outcomes_.end() ? 0 : it->second;
}

}  // namespace vramgate
