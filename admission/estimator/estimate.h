// The whole card, term by term: what a model and its requests take, and by which formula.
//
// Used by the Estimate RPC (one request) and by `vramgate estimate` (many). It adds words to a CostTable's numbers and
// computes none of its own, so that what is explained is what is charged. Pure functions: no thread rule, no lifetime
// rule.
//
//   absl::StatusOr<Estimate> card = EstimateCard(*table, {.prompt_tokens = 12'000, .concurrency = 32});
//   for (const Term& t : card->terms) std::cout << t.name << " " << t.bytes << " = " << t.formula << "\n";
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "admission/estimator/cost_table.h"

namespace vramgate {

enum class Quality : uint8_t {
  kExact,       // a measured row in the tests backs family, engine and element types
  kProfile,     // the formulas are sourced, but not measured for this engine
  kUpperBound,  // at least one term is a bound: resident activation, a window priced as full attention
};
std::string_view QualityName(Quality quality);  // "EXACT", "PROFILE", "UPPER_BOUND"

// One summand, on one device.
struct Term {
  std::string name;  // weights, rotary_cache, activation, overhead, kv
  int64_t bytes = 0;
  std::string formula;       // with its numbers and units
  bool per_request = false;  // `bytes` is of one request and comes once for each; else it is there whatever the load
};

// What is to be held at once.
struct Load {
  int64_t prompt_tokens = 0;
  int64_t output_tokens = 0;
  int64_t sequences = 1;    // of one request: n, best_of, beam width
  int64_t concurrency = 1;  // requests at once
};

// Bytes on each device of the instance.
struct Estimate {
  int64_t weights_bytes = 0;
  int64_t kv_bytes = 0;          // all requests, at their peak
  int64_t activation_bytes = 0;  // resident: all requests; batched: the engine's peak
  int64_t overhead_bytes = 0;
  int64_t total_bytes = 0;
  int64_t kv_bytes_per_token = 0;
  int64_t kv_bytes_per_request = 0;          // at its peak: what is admitted
  int64_t kv_bytes_per_request_steady = 0;   // once its prompt is read
  int64_t state_bytes_per_request = 0;       // of the above, what does not grow
  int64_t activation_bytes_per_request = 0;  // resident; batched: 0
  int64_t activation_resident_bytes = 0;     // all requests, were everything resident; 0: sizes are not known
  Quality quality = Quality::kProfile;
  std::vector<Term> terms;  // weights to overhead, then those of a request; they add up to the total
};

// INVALID_ARGUMENT: a negative count, or sequences or concurrency of 0. OUT_OF_RANGE: a sum beyond 8 EiB.
absl::StatusOr<Estimate> EstimateCard(const CostTable& table, const Load& load);

}  // namespace vramgate
