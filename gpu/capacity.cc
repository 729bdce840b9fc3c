#include "gpu/capacity.h"

#include <algorithm>
#include <limits>

namespace vramgate {
namespace {

int64_t AtLeastZero(int64_t bytes) {
  return std::max<int64_t>(0, bytes);
}

// a - b, at least 0. REQUIRES: a, b >= 0, hence no overflow.
int64_t Minus(int64_t a, int64_t b) {
  return a > b ? a - b : 0;
}

}  // namespace

Capacity CapacityOf(const MemoryReading& reading, const DeviceLedger& ledger, int64_t headroom_bytes) {
  Capacity result;
  result.total_bytes = AtLeastZero(reading.total_bytes);
  result.used_bytes = Minus(result.total_bytes, AtLeastZero(reading.free_bytes));
  result.context_bytes = AtLeastZero(reading.context_bytes);

  int64_t foreign_bytes = Minus(result.used_bytes, result.context_bytes);
  foreign_bytes = Minus(foreign_bytes, AtLeastZero(ledger.fixed_bytes));
  foreign_bytes =
      Minus(foreign_bytes, AtLeastZero(std::max(ledger.dynamic_reserved_bytes, ledger.dynamic_high_water_bytes)));
  result.foreign_bytes = foreign_bytes;

  int64_t capacity_bytes = Minus(result.total_bytes, AtLeastZero(headroom_bytes));
  capacity_bytes = Minus(capacity_bytes, result.context_bytes);
  result.capacity_bytes = Minus(capacity_bytes, result.foreign_bytes);
  return result;
}

ReadingAge AgeOf(std::optional<int64_t> read_at_ns, int64_t now_ns, int64_t stale_after_ns) {
  if (!read_at_ns) return {};
  int64_t age_ns = 0;
  if (now_ns > *read_at_ns && __builtin_sub_overflow(now_ns, *read_at_ns, &age_ns)) {
    age_ns = std::numeric_limits<int64_t>::max();
  }
  return {.age_ns = age_ns, .stale = age_ns > AtLeastZero(stale_after_ns)};
}

}  // namespace vramgate
