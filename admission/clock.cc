#include "admission/clock.h"

#include <time.h>

#include <algorithm>

namespace vramgate {

Instant operator+(Instant t, absl::Duration d) {
  int64_t sum = 0;
  if (__builtin_add_overflow(t.ns, absl::ToInt64Nanoseconds(d), &sum)) return kNever;
  return {sum};
}

absl::Duration operator-(Instant a, Instant b) {
  return absl::Nanoseconds(a.ns) - absl::Nanoseconds(b.ns);
}

int64_t NonNegativeNanos(absl::Duration d) {
  return std::max<int64_t>(0, absl::ToInt64Nanoseconds(d));
}

Instant BootClock::Now() const {
  timespec t{};
  clock_gettime(CLOCK_BOOTTIME, &t);
  return {int64_t{t.tv_sec} * 1'000'000'000 + t.tv_nsec};
}

}  // namespace vramgate
