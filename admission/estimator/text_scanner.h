// Walks along one line of text from outside and takes numbers out of it. Nothing is thrown, allocated or trusted: what
// does not read as a number in range is not one.
//
//   TextScanner scan(line);
//   int64_t tokens = 0;
//   if (scan.SkipPast("KV cache size: ") && scan.Count(&tokens) && scan.Eat(" tokens")) ...   // "1,215,552 tokens"
//
// Used by the readers of engines' logs and metric pages. Confined to one thread; the text outlives it.
#pragma once

#include <cstdint>
#include <string_view>

#include "admission/estimator/engine_pool.h"

namespace vramgate {

class TextScanner {
 public:
  static constexpr int64_t kMaxCount = int64_t{1} << 50;  // of tokens, blocks, cells
  static constexpr int64_t kMaxBytes = int64_t{1} << 60;  // of one size

  explicit TextScanner(std::string_view text) : rest_(text) {}

  // Moves behind the next `what`. False: there is none, and nothing moved. The same holds for all that follow.
  bool SkipPast(std::string_view what);
  bool Eat(std::string_view what);
  void EatSpaces();

  // A whole number, with or without commas in it; after spaces, if any.
  bool Count(int64_t* value);
  // Digits with at most one point among them. *half_digit: half of the last one.
  bool Decimal(double* value, double* half_digit);
  // The same as a number of `unit_bytes`, exactly.
  bool Size(int64_t unit_bytes, PrintedBytes* value);
  // A size and its unit: B, KiB, MiB, GiB, TiB, or KB, MB, GB, TB, by which engines mean powers of 1024 all the same.
  bool SizeWithUnit(PrintedBytes* value);
  // What stands before the next space or the end: of at least one byte.
  bool Word(std::string_view* word);
  // "0.19", "v0.6.3.post1": the first two numbers. A build without a release ("0.1.dev...") has no version.
  bool Version(EngineVersion* version);

  std::string_view rest() const { return rest_; }

 private:
  struct Digits {
    int64_t mantissa = 0;
    int64_t scale = 1;  // value = mantissa / scale
  };
  bool ReadDigits(Digits* digits);

  std::string_view rest_;
};

}  // namespace vramgate
