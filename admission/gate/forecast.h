// How fast bytes have come back lately, per island: what an estimated wait and a Retry-After are made of. No end of a
// generation is known at worst_case, so the past is all there is; before the first release nothing is said.
//
// Used by the Gate. Thread rule: the Gate's thread.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/time/time.h"
#include "admission/clock.h"

namespace vramgate {

class Forecast {
 public:
  explicit Forecast(int islands) : rates_(static_cast<size_t>(islands)) {}

  void Released(int island, int64_t bytes, Instant now);
  // Time until `bytes` more have come back at the rate of the last 10 to 30 seconds, at least 1 ms and at most an hour;
  // nullopt while nothing has come back in that time.
  std::optional<absl::Duration> TimeToFree(int island, int64_t bytes, Instant now) const;

 private:
  // Two windows that take turns: cheap, and never more than 30 s behind.
  struct Rate {
    Instant window_start{-1};
    Instant first;  // of the counted releases
    double current_bytes = 0;
    double previous_bytes = 0;
  };
  std::vector<Rate> rates_;
};

}  // namespace vramgate
