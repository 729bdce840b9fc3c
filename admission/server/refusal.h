// A request refused before the gate was asked, or a stream that broke the protocol: which field, and the way out.
#pragma once

#include <string>

#include "admission/decision.h"

namespace vramgate {

struct Refusal {
  Outcome outcome = Outcome::kRejectedInvalidRequest;
  std::string field;    // "demand.max_output_tokens"; "" where no field is at fault
  std::string message;  // the value and the way out
};

}  // namespace vramgate
