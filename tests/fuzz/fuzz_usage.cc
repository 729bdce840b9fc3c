// Bodies of HTTP answers. What is read is in range, and does not depend on where the body was cut.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "admission/check.h"
#include "admission/server/usage_reader.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view body(reinterpret_cast<const char*>(data), size);
  vramgate::UsageReader whole;
  whole.Feed(body);
  // Three counts of a usage may be added up.
  const int64_t prompt = whole.usage().prompt_tokens.value_or(0);
  const int64_t output = whole.usage().output_tokens.value_or(0);
  CHECK(prompt >= 0 && prompt <= 3 * vramgate::UsageScanner::kMostTokens, "a negative or unreal prompt");
  CHECK(output >= 0 && output <= vramgate::UsageScanner::kMostTokens, "a negative or unreal output");
  const size_t piece = size == 0 ? 1 : 1 + data[0] % 16;
  vramgate::UsageReader pieces;
  for (size_t at = 0; at < size; at += piece) pieces.Feed(body.substr(at, piece));
  CHECK(pieces.usage().prompt_tokens == whole.usage().prompt_tokens, "another prompt, by where it was cut");
  CHECK(pieces.usage().output_tokens == whole.usage().output_tokens, "another output, by where it was cut");
  return 0;
}
