// What an Error says, for tests: "" where there is none.
//
//   EXPECT_THAT(TextOf(ReadDemand(copy, settings, &demand)), HasSubstr("max_tokens"));
//
// Used by the tests of plugin/triton. Thread rule and lifetime rule: a value.
#pragma once

#include <string>

#include "plugin/triton/error.h"

namespace vramgate {

inline std::string TextOf(const Error& error) {
  return error == nullptr ? std::string() : TRITONSERVER_ErrorMessage(error.get());
}

}  // namespace vramgate
