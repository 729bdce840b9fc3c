// What may be given out of a device: a reading and what the ledger holds there become a capacity. Pure arithmetic.
//
// Used by the server after every reading. The ledger is the authority: an engine that takes its KV pool once at start
// shows the same free memory idle and full. The reading only bounds it, by what is in use and not explained by the
// ledger: foreign use.
//
//   Capacity c = CapacityOf(*memory.Read(0), {.fixed_bytes = GiB(55)}, /*headroom_bytes=*/GiB(1));
//   c.capacity_bytes;   // most bytes of the device that fixed bytes and reservations together may take
//
// How much of a foreign allocation is seen: all of it where the pools are preallocated, or dynamic ones are idle and
// their high-water mark is 0 or really held; where a dynamic engine holds less than the ledger allows it, only what
// exceeds that. An instance that is declared but has not loaded yet hides foreign use up to its fixed bytes, likewise.
// A simulated device shows nothing of its instances unless told to, hence no foreign use.
//
// All inputs may be anything: negative sizes count as 0, sums saturate. Always: 0 <= capacity_bytes <= total_bytes,
// 0 <= foreign_bytes <= used_bytes <= total_bytes. Thread rule, lifetime rule: none, these are values.
#pragma once

#include <cstdint>
#include <optional>

#include "gpu/device_memory.h"

namespace vramgate {

// What the ledger knows of one device.
struct DeviceLedger {
  int64_t fixed_bytes = 0;             // of all instances there: weights, overhead, activation peak, preallocated pools
  int64_t dynamic_reserved_bytes = 0;  // reserved now by requests that charge the device itself
  int64_t dynamic_high_water_bytes = 0;  // most ever reserved so: an engine's allocator may keep what it once had
};

struct Capacity {
  int64_t capacity_bytes = 0;  // total - headroom - context - foreign
  int64_t total_bytes = 0;
  int64_t used_bytes = 0;  // total - free, as read
  int64_t context_bytes = 0;
  int64_t foreign_bytes = 0;  // used - context - fixed - max(reserved, high water) of dynamic ones
};

Capacity CapacityOf(const MemoryReading& reading, const DeviceLedger& ledger, int64_t headroom_bytes);

struct ReadingAge {
  std::optional<int64_t> age_ns;  // nullopt: never read
  bool stale = true;              // no grants until a fresh reading
};

// How old the last good reading is. Stale: never read, or older than `stale_after_ns`. All of one monotonic clock; a
// reading from the future is of age 0.
ReadingAge AgeOf(std::optional<int64_t> read_at_ns, int64_t now_ns, int64_t stale_after_ns);

}  // namespace vramgate
