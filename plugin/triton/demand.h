// What a request will cost, as far as its inputs and parameters tell: the words in which the gate is asked.
//
// Used by GatedRequest. Pure: no server, no gate. Where a request says a thing wrongly (a negative number of tokens, a
// text that is no JSON where a key of it is asked for) it is refused, never guessed; what it does not say is left to
// the gate's defaults.
//
//   Demand demand;
//   if (Error error = ReadDemand(copy, settings, &demand)) ...              INVALID_ARG, names the input or parameter
//
// Thread rule and lifetime rule: a value.
#pragma once

#include <cstdint>
#include <string>

#include "plugin/triton/request_copy.h"
#include "plugin/triton/settings.h"

namespace vramgate {

struct Demand {
  int64_t prompt_tokens = -1;  // of the longest row of a batch; -1: not known
  int64_t prompt_bytes = -1;   // the same, of text
  int64_t max_output_tokens = -1;
  int64_t sequences = 1;  // rows of the batch x sequences of each
  std::string tenant;
  int64_t priority = 0;
};

[[nodiscard]] Error ReadDemand(const RequestCopy& copy, const GateSettings& settings, Demand* demand);

}  // namespace vramgate
