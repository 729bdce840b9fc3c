// CHECK for what cannot happen: always on, in release too. What the world can do wrong is an absl::Status instead.
//
//   CHECK(held >= 0, "Budget: an account was given back more than it lent");
//
// Prints file, line, condition and message to stderr, then aborts.
#pragma once

#include <cstdio>
#include <cstdlib>

namespace vramgate::internal {

[[noreturn]] inline void CheckFailed(const char* file, int line, const char* condition, const char* message) {
  std::fprintf(stderr, "%s:%d: CHECK(%s) failed: %s\n", file, line, condition, message);
  std::abort();
}

}  // namespace vramgate::internal

#define CHECK(condition, message)                                                 \
  do {                                                                            \
    if (__builtin_expect(!(condition), 0)) {                                      \
      ::vramgate::internal::CheckFailed(__FILE__, __LINE__, #condition, message); \
    }                                                                             \
  } while (false)
