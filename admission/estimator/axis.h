// One side of a matrix or of a state, and what of it stands on one device.
//
//   Axis heads = SplitAxis(/*units=*/8, /*unit=*/128);   // 8 KV heads of 128, shared by the devices
//   heads.OnDevice(4);                                    // 2 heads: 256 elements
//   heads.OnDevice(16);                                   // below one head a device: replicated, 128
//
// Plain values: no thread rule, no lifetime rule.
#pragma once

#include <cstdint>

namespace vramgate {

__extension__ using Wide = __int128;

// Rounded up. REQUIRES: a >= 0, b > 0.
constexpr Wide CeilDivide(Wide a, Wide b) {
  return (a + b - 1) / b;
}

// `units` of `unit` elements each. Devices that share it take whole units, each device the same number, rounded up.
struct Axis {
  int64_t units = 1;
  int64_t unit = 1;
  bool split = false;

  Wide OnDevice(int64_t devices) const { return (split ? CeilDivide(units, devices) : Wide{units}) * unit; }
  Wide elements() const { return Wide{units} * unit; }
  friend bool operator==(const Axis&, const Axis&) = default;
};

// On every device whole.
constexpr Axis WholeAxis(int64_t elements) {
  return {elements, 1, false};
}
// Shared by the devices in units of `unit` elements.
constexpr Axis SplitAxis(int64_t units, int64_t unit = 1) {
  return {units, unit, true};
}

}  // namespace vramgate
