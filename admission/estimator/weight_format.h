// How a matrix's elements are stored: bits of an element, and the scales beside them.
//
//   WeightFormat fp8_blocks{.name = "fp8", .bits = 8, .scale_bytes = 4, .block_in = 128, .block_out = 128};
//   WeightFormat gptq{.name = "gptq", .bits = 4, .scale_bytes = 2, .zero_bits = 4, .block_in = 128};
//
// Plain values: no thread rule, no lifetime rule.
#pragma once

#include <cstdint>
#include <string>

namespace vramgate {

struct WeightFormat {
  std::string name;         // for words; "": the model's own element type
  int64_t bits = 0;         // of an element; 0: the model's own element type
  int64_t scale_bytes = 0;  // of a scale; 0: none
  int64_t zero_bits = 0;    // of a zero point beside each scale
  int64_t block_in = 0;     // elements of the input side that share a scale; 0: all
  int64_t block_out = 1;    // outputs that share a scale; 0: all
  friend bool operator==(const WeightFormat&, const WeightFormat&) = default;
};

}  // namespace vramgate
