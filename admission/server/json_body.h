// The reader behind request_body.h for JSON that is no tensors: one pass, by the members of body_members.h.
//
// Used by the readers of bodies. Hostile input, as said there. Pure; any thread.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string_view>

#include "admission/server/endpoint.h"
#include "admission/server/refusal.h"
#include "admission/server/request_body.h"

namespace vramgate {

inline constexpr int kMostBodyDepth = 64;

// How much is to be generated of each prompt.
struct OutputLimits {
  std::optional<int64_t> tokens;
  int64_t n = 1;
  int64_t best_of = 1;

  // The larger of each.
  void Add(const OutputLimits& other) {
    if (other.tokens) tokens = std::max(*other.tokens, tokens.value_or(0));
    n = std::max(n, other.n);
    best_of = std::max(best_of, other.best_of);
  }
};

// nullopt: *out is filled in. REQUIRES: an endpoint whose members body_members.h lists.
[[nodiscard]] std::optional<Refusal> ReadJsonBody(Endpoint endpoint, std::string_view json, RequestBody* out);

// An object of parameters, such as Triton's sampling_parameters; a count may be written as text. What is given goes
// into *out. `name` is of the whole, for the refusal.
[[nodiscard]] std::optional<Refusal> ReadParams(Endpoint endpoint, std::string_view name, std::string_view json,
                                                OutputLimits* out);

// Whether text under a key, or the kind of a part, is of an image, a sound, a film or a file.
bool IsMedia(std::string_view word);

}  // namespace vramgate
