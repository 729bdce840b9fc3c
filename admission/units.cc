#include "admission/units.h"

#include <array>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace vramgate {
namespace {

absl::string_view Absl(std::string_view s) {
  return {s.data(), s.size()};
}

// The largest double below 2^63.
constexpr long double kMaxBytes = 9223372036854775807.0L;

constexpr std::array<std::pair<std::string_view, int64_t>, 12> kUnits = {{{"", 1},
                                                                          {"B", 1},
                                                                          {"KB", 1000},
                                                                          {"kB", 1000},
                                                                          {"MB", 1000'000},
                                                                          {"GB", 1000'000'000},
                                                                          {"TB", 1000'000'000'000},
                                                                          {"KiB", kKiB},
                                                                          {"MiB", kMiB},
                                                                          {"GiB", kGiB},
                                                                          {"TiB", kGiB * 1024},
                                                                          {"PiB", kGiB * 1024 * 1024}}};

// Splits "80.5 GiB" into digits and unit. No sign and no exponent: a size is written plainly.
std::pair<std::string_view, std::string_view> SplitUnit(std::string_view text) {
  size_t end = 0;
  while (end < text.size() && (std::isdigit(static_cast<unsigned char>(text[end])) || text[end] == '.')) ++end;
  std::string_view unit = text.substr(end);
  while (!unit.empty() && unit.front() == ' ') unit.remove_prefix(1);
  return {text.substr(0, end), unit};
}

// The whole of `text` as a number; false for an empty string, several dots, trailing characters.
bool ParseNumber(std::string_view text, long double* out) {
  if (text.empty() || text.size() > 40) return false;
  const std::string copy(text);
  char* end = nullptr;
  *out = std::strtold(copy.c_str(), &end);
  return end == copy.c_str() + copy.size();
}

}  // namespace

absl::StatusOr<int64_t> ParseBytes(std::string_view text) {
  const auto [digits, unit] = SplitUnit(text);
  int64_t whole = 0;
  long double number = 0;
  const bool is_whole = absl::SimpleAtoi(Absl(digits), &whole);
  if (is_whole || ParseNumber(digits, &number)) {
    for (const auto& [name, factor] : kUnits) {
      if (name != unit) continue;
      int64_t product = 0;
      if (is_whole && !__builtin_mul_overflow(whole, factor, &product)) return product;
      const long double bytes = std::ceil(number * static_cast<long double>(factor));
      if (is_whole || bytes >= kMaxBytes) {
        return absl::InvalidArgumentError(absl::StrCat("\"", Absl(text), "\" is more than 8EiB"));
      }
      return static_cast<int64_t>(bytes);
    }
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "\"", Absl(text), "\" is not a size: write bytes, or a number with KiB, MiB, GiB, TiB, kB, MB, GB, TB"));
}

absl::StatusOr<int64_t> ParseCount(std::string_view text) {
  int64_t whole = 0;
  if (absl::SimpleAtoi(Absl(text), &whole) && whole >= 0) return whole;
  long double number = 0;
  const bool plain = !text.empty() && text.find_first_not_of("0123456789.eE+") == std::string_view::npos;
  if (!plain || !ParseNumber(text, &number) || number < 0 || number >= kMaxBytes || std::floor(number) != number) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", Absl(text), "\" is not a count: write a whole number such as 8030261248 or 72e9"));
  }
  return static_cast<int64_t>(number);
}

absl::StatusOr<absl::Duration> ParseDuration(std::string_view text) {
  absl::Duration d;
  if (text.size() <= 40 && absl::ParseDuration(Absl(text), &d) && d >= absl::ZeroDuration() &&
      d != absl::InfiniteDuration()) {
    return d;
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "\"", Absl(text), "\" is not a duration: write a number >= 0 with ms, s, m or h, such as 250ms or 30s"));
}

std::string FormatBytes(int64_t bytes) {
  constexpr std::array<std::pair<const char*, int64_t>, 4> kBinary = {
      {{"TiB", kGiB * 1024}, {"GiB", kGiB}, {"MiB", kMiB}, {"KiB", kKiB}}};
  if (bytes == std::numeric_limits<int64_t>::max()) return "unlimited";
  const int64_t magnitude =
      bytes == std::numeric_limits<int64_t>::min() ? std::numeric_limits<int64_t>::max() : std::abs(bytes);
  for (const auto& [name, factor] : kBinary) {
    if (magnitude < factor) continue;
    if (bytes % factor == 0) return absl::StrCat(bytes / factor, name);
    return absl::StrFormat("%.2f%s", static_cast<double>(bytes) / static_cast<double>(factor), name);
  }
  return absl::StrCat(bytes, "B");
}

}  // namespace vramgate
