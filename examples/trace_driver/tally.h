// What became of the requests of a run: one outcome each, and how long each granted one waited.
//
//   tally.Sent();
//   tally.Granted(absl::Milliseconds(12), /*queued=*/true);
//   tally.Ended("completed");
//
// Used by the Driver. Thread rule: one thread.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/time/time.h"

namespace vramgate {

inline constexpr std::string_view kCompleted = "completed";

// The smallest sample that at least `fraction` of all are not above (nearest rank): exact, no interpolation. Zero
// without samples. REQUIRES: 0 < fraction <= 1.
absl::Duration Percentile(std::vector<absl::Duration> samples, double fraction);

class Tally {
 public:
  void Sent() { ++sent_; }
  void Queued() { ++queued_; }
  // `waited`: from sending the request to its grant. `queued`: it was told that it waits.
  void Granted(absl::Duration waited, bool queued);
  // Once a request: kCompleted, or why it got no further (ErrorInfo.reason, or the name of the gRPC code).
  void Ended(std::string_view outcome);

  int64_t sent() const { return sent_; }
  int64_t queued() const { return queued_; }  // at least once told so
  int64_t granted() const { return static_cast<int64_t>(waits_.size()); }
  int64_t ended() const { return ended_; }
  int64_t count(std::string_view outcome) const;
  const std::map<std::string, int64_t, std::less<>>& outcomes() const { return outcomes_; }
  const std::vector<absl::Duration>& waits() const { return waits_; }                // of all granted
  const std::vector<absl::Duration>& queued_waits() const { return queued_waits_; }  // of those that were queued

 private:
  int64_t sent_ = 0;
  int64_t queued_ = 0;
  int64_t ended_ = 0;
  std::map<std::string, int64_t, std::less<>> outcomes_;
  std::vector<absl::Duration> waits_;
  std::vector<absl::Duration> queued_waits_;
};

}  // namespace vramgate
