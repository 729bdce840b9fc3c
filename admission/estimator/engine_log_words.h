// What the readers of several engines' lines share. Used by engine_log*.cc only. Pure functions.
#pragma once

#include <algorithm>
#include <optional>
#include <string_view>

#include "admission/estimator/text_scanner.h"

namespace vramgate {

// Whether the line says `what`; *scan then stands behind it. What comes behind a quotation mark is not the engine's
// word but somebody's text: it counts for nothing.
inline bool Says(std::string_view line, std::string_view what, TextScanner* scan) {
  const size_t at = line.find(what);
  if (at == std::string_view::npos || line.substr(0, at).find_first_of("'\"") != std::string_view::npos) return false;
  *scan = TextScanner(line.substr(at + what.size()));
  return true;
}

// Of several ranks' figures: the least pool, the largest rest.
template <typename T>
void KeepLeast(std::optional<T>& kept, T value) {
  kept = kept ? std::min(*kept, value) : value;
}
inline void KeepLeast(std::optional<PrintedBytes>& kept, const PrintedBytes& value) {
  if (!kept || value.bytes < kept->bytes) kept = value;
}
inline void KeepMost(std::optional<PrintedBytes>& kept, const PrintedBytes& value) {
  if (!kept || value.bytes > kept->bytes) kept = value;
}
inline void Add(std::optional<PrintedBytes>& sum, const PrintedBytes& value) {
  sum = sum.value_or(PrintedBytes{}) + value;
}

// SGLang marks its lines "[2025-03-25 16:37:06 TP3] ...": every rank says the same, one is heard.
inline bool OfFirstRank(std::string_view line) {
  if (!line.starts_with('[')) return true;
  const std::string_view mark = line.substr(0, line.find(']'));
  for (const std::string_view kind : {" TP", " DP", " PP", " EP"}) {
    const size_t at = mark.find(kind);
    if (at != std::string_view::npos && !mark.substr(at + kind.size()).starts_with('0')) return false;
  }
  return true;
}

}  // namespace vramgate
