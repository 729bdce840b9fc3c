// Memory x time: what a lease or a tenant holds, added up over time.
//
//   use.Change(+bytes, now);   // it holds so much more from now on
//   use.At(later)              // byte-nanoseconds until then
//
// Used by the leases, the tenants and their fair shares. Plain value, no thread rule. A hundred TiB held for a thousand
// years are 2^112 byte-nanoseconds: it does not overflow.
#pragma once

#include <cstdint>

#include "admission/clock.h"

namespace vramgate {

__extension__ using ByteTime = __int128;  // bytes x ns
// The same where it is stored a hundred thousand times: 16 bytes that stand anywhere.
__extension__ typedef __int128 StoredByteTime __attribute__((aligned(8)));

struct MemoryUse {
  int64_t bytes = 0;
  Instant since;
  ByteTime before = 0;  // until `since`

  ByteTime At(Instant now) const { return before + ByteTime{bytes} * (now.ns - since.ns); }
  // REQUIRES: now >= since.
  void Change(int64_t delta_bytes, Instant now) {
    before = At(now);
    since = now;
    bytes += delta_bytes;
  }
};

}  // namespace vramgate
