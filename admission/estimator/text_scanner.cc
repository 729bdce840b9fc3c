#include "admission/estimator/text_scanner.h"

#include <algorithm>
#include <array>
#include <utility>

#include "admission/units.h"

namespace vramgate {
namespace {

__extension__ using Wide = __int128;

constexpr int64_t kMaxMantissa = int64_t{1} << 59;  // times ten, and one digit more, is within 64 bits
constexpr int64_t kMaxScale = 1'000'000'000;
constexpr int64_t kLeastScale = 100;  // all engines print two decimals or more
constexpr int64_t kMaxVersionNumber = 100'000;

constexpr std::array<std::pair<std::string_view, int64_t>, 9> kUnits{{{"KiB", kKiB},
                                                                      {"MiB", kMiB},
                                                                      {"GiB", kGiB},
                                                                      {"TiB", kGiB * 1024},
                                                                      {"KB", kKiB},
                                                                      {"MB", kMiB},
                                                                      {"GB", kGiB},
                                                                      {"TB", kGiB * 1024},
                                                                      {"B", 1}}};

bool IsDigit(char c) {
  return c >= '0' && c <= '9';
}

bool IsLetterOrDigit(char c) {
  return IsDigit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

}  // namespace

bool TextScanner::SkipPast(std::string_view what) {
  const size_t at = rest_.find(what);
  if (at == std::string_view::npos) return false;
  rest_.remove_prefix(at + what.size());
  return true;
}

bool TextScanner::Eat(std::string_view what) {
  if (!rest_.starts_with(what)) return false;
  rest_.remove_prefix(what.size());
  return true;
}

void TextScanner::EatSpaces() {
  while (!rest_.empty() && (rest_.front() == ' ' || rest_.front() == '\t')) rest_.remove_prefix(1);
}

bool TextScanner::Count(int64_t* value) {
  TextScanner ahead = *this;
  ahead.EatSpaces();
  std::string_view text = ahead.rest_;
  int64_t count = 0;
  size_t i = 0;
  for (; i < text.size(); ++i) {
    // A comma belongs to the number where three digits follow it.
    if (text[i] == ',' && i > 0 && i + 3 < text.size() && IsDigit(text[i + 1]) && IsDigit(text[i + 2]) &&
        IsDigit(text[i + 3])) {
      continue;
    }
    if (!IsDigit(text[i])) break;
    count = count * 10 + (text[i] - '0');
    if (count > kMaxCount) return false;
  }
  // "12.5" is no count; "12." ends a sentence.
  if (i == 0 || (i + 1 < text.size() && text[i] == '.' && IsDigit(text[i + 1]))) return false;
  rest_ = text.substr(i);
  *value = count;
  return true;
}

bool TextScanner::ReadDigits(Digits* digits) {
  TextScanner ahead = *this;
  ahead.EatSpaces();
  const std::string_view text = ahead.rest_;
  Digits read;
  bool point = false;
  size_t i = 0;
  for (; i < text.size(); ++i) {
    if (text[i] == '.' && !point && i > 0 && i + 1 < text.size() && IsDigit(text[i + 1])) {
      point = true;
      continue;
    }
    if (!IsDigit(text[i])) break;
    if (read.mantissa > kMaxMantissa / 10 || (point && read.scale >= kMaxScale)) return false;
    read.mantissa = read.mantissa * 10 + (text[i] - '0');
    if (point) read.scale *= 10;
  }
  if (i == 0) return false;
  rest_ = text.substr(i);
  *digits = read;
  return true;
}

bool TextScanner::Decimal(double* value, double* half_digit) {
  Digits digits;
  if (!ReadDigits(&digits)) return false;
  *value = static_cast<double>(digits.mantissa) / static_cast<double>(digits.scale);
  *half_digit = 0.5 / static_cast<double>(digits.scale);
  return true;
}

bool TextScanner::Size(int64_t unit_bytes, PrintedBytes* value) {
  TextScanner ahead = *this;
  Digits digits;
  if (!ahead.ReadDigits(&digits)) return false;
  const Wide bytes = Wide{digits.mantissa} * unit_bytes / digits.scale;
  if (bytes > kMaxBytes) return false;
  value->bytes = static_cast<int64_t>(bytes);
  // Python's round(x, 2) drops zeros: "12.0 GiB" is as exact as "12.34 GiB". A count of bytes is exact.
  const int64_t scale = std::max(digits.scale, kLeastScale);
  value->tolerance_bytes = unit_bytes == 1 ? 0 : unit_bytes / (2 * scale) + 1;
  *this = ahead;
  return true;
}

bool TextScanner::SizeWithUnit(PrintedBytes* value) {
  TextScanner unit = *this;
  Digits digits;
  if (!unit.ReadDigits(&digits)) return false;
  unit.EatSpaces();
  for (const auto& [name, bytes] : kUnits) {
    if (!unit.Eat(name)) continue;
    if (!unit.rest_.empty() && IsLetterOrDigit(unit.rest_.front())) return false;
    if (!Size(bytes, value)) return false;
    rest_ = unit.rest_;
    return true;
  }
  return false;
}

bool TextScanner::Word(std::string_view* word) {
  TextScanner ahead = *this;
  ahead.EatSpaces();
  const size_t end = ahead.rest_.find_first_of(" \t");
  const std::string_view found = ahead.rest_.substr(0, end);
  if (found.empty()) return false;
  rest_ = ahead.rest_.substr(found.size());
  *word = found;
  return true;
}

bool TextScanner::Version(EngineVersion* version) {
  TextScanner ahead = *this;
  ahead.EatSpaces();
  ahead.Eat("v");
  std::array<int64_t, 2> numbers{};
  for (size_t n = 0; n < numbers.size(); ++n) {
    if (n > 0 && !ahead.Eat(".")) return false;
    size_t i = 0;
    while (i < ahead.rest_.size() && IsDigit(ahead.rest_[i]) && numbers[n] < kMaxVersionNumber) {
      numbers[n] = numbers[n] * 10 + (ahead.rest_[i++] - '0');
    }
    if (i == 0 || numbers[n] >= kMaxVersionNumber) return false;
    ahead.rest_.remove_prefix(i);
  }
  if (ahead.rest_.starts_with(".dev")) return false;
  *version = {static_cast<int>(numbers[0]), static_cast<int>(numbers[1])};
  *this = ahead;
  return true;
}

}  // namespace vramgate
