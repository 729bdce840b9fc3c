// Time in the core is monotonic and handed in: an Instant is an argument, never read. Only the shell asks a Clock.
//
//   Instant deadline = clock.Now() + absl::Seconds(30);
//
// An Instant counts nanoseconds of CLOCK_BOOTTIME (it goes on while the machine sleeps, and never back).
#pragma once

#include <atomic>
#include <compare>
#include <cstdint>
#include <limits>

#include "absl/time/time.h"

namespace vramgate {

struct Instant {
  int64_t ns = 0;
  friend auto operator<=>(const Instant&, const Instant&) = default;
};

inline constexpr Instant kNever{std::numeric_limits<int64_t>::max()};

// Saturates at kNever, so that "now + a very long time" is safe.
Instant operator+(Instant t, absl::Duration d);
absl::Duration operator-(Instant a, Instant b);

// Nanoseconds of `d`, at least 0, saturated at int64's maximum.
int64_t NonNegativeNanos(absl::Duration d);

// Thread-safe.
class Clock {
 public:
  virtual ~Clock() = default;
  virtual Instant Now() const = 0;
};

class BootClock final : public Clock {
 public:
  Instant Now() const override;
};

// Stands still until told: for tests and simulations.
class FakeClock final : public Clock {
 public:
  Instant Now() const override { return {now_ns_.load()}; }
  void Advance(absl::Duration d) { now_ns_ += absl::ToInt64Nanoseconds(d); }
  void Set(Instant t) { now_ns_ = t.ns; }

 private:
  std::atomic<int64_t> now_ns_{1};
};

}  // namespace vramgate
