// Human units in and out: sizes (`80GiB`, `72GB`, `1024`) and durations (`30s`, `250ms`).
//
//   absl::StatusOr<int64_t> bytes = ParseBytes("80GiB");   // 85899345920
//   FormatBytes(85899345920)                               // "80GiB"
//
// Errors are INVALID_ARGUMENT and say the value and the forms that would be right.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace vramgate {

inline constexpr int64_t kKiB = int64_t{1} << 10;
inline constexpr int64_t kMiB = int64_t{1} << 20;
inline constexpr int64_t kGiB = int64_t{1} << 30;

// A number, whole or decimal, and an optional unit: B, kB/KB, MB, GB, TB (powers of 1000), KiB, MiB, GiB, TiB (of
// 1024). A fraction of a byte rounds up. Negative, overflowing or unknown: INVALID_ARGUMENT.
absl::StatusOr<int64_t> ParseBytes(std::string_view text);

// A count that may use scientific notation: `72e9`, `8000000000`. Must be whole, >= 0 and below 2^63.
absl::StatusOr<int64_t> ParseCount(std::string_view text);

// A number and ns, us, ms, s, m or h, or several (`1m30s`); `0` needs no unit. Negative: INVALID_ARGUMENT.
absl::StatusOr<absl::Duration> ParseDuration(std::string_view text);

// The shortest exact form where a binary unit divides it (`80GiB`), else two decimals (`14.96GiB`), plain bytes below 1
// KiB.
std::string FormatBytes(int64_t bytes);

}  // namespace vramgate
