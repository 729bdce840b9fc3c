// Compares the pool that an engine says it has with the pool that the prices assume, and says what to hold to.
//
// Used by the watch of running engines; anybody with a PredictedPool may. The ratio is k = actual / predicted capacity,
// both in the gate's own bytes: below 1 the engine holds less than the gate would give out.
//
//   Drift drift = CompareAtAttach(predicted, pool);           // when the engine is found, and when its pool changes
//   int64_t capacity = CapacityNow(drift, {page.used_ratio, reserved_bytes});   // at every later reading
//
// Rules:
//   - within 2 % (and the rounding of what was printed) the theory is trusted: capacity stays as predicted;
//   - prices rise, that is capacity falls, by any capacity that the engine states, and by measured use: what it holds
//     beyond all that is reserved is off the capacity for as long as it holds it;
//   - prices fall, that is capacity rises, by the engine's number of blocks alone. Never by live use: requests share
//     blocks, and have not yet taken all they may;
//   - k is kept within 0.5 and 4.
// Pure functions: no thread rule.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "admission/estimator/engine_pool.h"

namespace vramgate {

inline constexpr double kTrustedDrift = 0.02;
inline constexpr double kLeastDrift = 0.5;
inline constexpr double kMostDrift = 4.0;

// What the gate goes by, on one device. A field that is not known is 0.
struct PredictedPool {
  int64_t pool_bytes = 0;                 // what the pool's account may hold. REQUIRES: > 0
  int64_t block_tokens = 0;               // tokens in a block of layers that keep every token
  int64_t bytes_per_block = 0;            // price of one block id
  int64_t bytes_per_token = 0;            // price of a token, where all layers keep every token (`uniform`)
  int64_t max_model_len = 0;              //
  int64_t bytes_per_longest_request = 0;  // price of one request of max_model_len tokens
  bool uniform = true;                    // all layers keep every token: any count of tokens means the same
};

// What the actual capacity was taken from, best first.
enum class DriftBasis : uint8_t {
  kNone,         // the engine says nothing that could be compared
  kBlocks,       // its block ids x the price of one
  kConcurrency,  // requests of its longest length at once x the price of one
  kTokens,       // its tokens x the price of one
  kBytes,        // its pool's bytes
};
std::string_view DriftBasisName(DriftBasis basis);  // "blocks", ...

struct Drift {
  DriftBasis basis = DriftBasis::kNone;
  double ratio = 1;             // k as it is
  double tolerance = 0;         // of k, by the rounding of what was printed
  bool trusted = true;          // within kTrustedDrift
  int64_t actual_bytes = 0;     // capacity as the engine states it, in the gate's bytes; kNone: as predicted
  int64_t capacity_bytes = 0;   // what the pool's account should have
  int64_t predicted_bytes = 0;  //
  std::string words;            // one sentence for the log; "" while trusted
};

// REQUIRES: predicted.pool_bytes > 0.
Drift CompareAtAttach(const PredictedPool& predicted, const EnginePool& pool);

// One live reading.
struct LiveUse {
  double used_ratio = 0;       // of the engine's pool
  int64_t reserved_bytes = 0;  // the most that was reserved of the pool's account while the reading was taken
};

// Bytes in use that no reservation explains [B]: 0 while use is within kTrustedDrift of what is reserved.
int64_t UnexplainedBytes(const Drift& drift, const LiveUse& use);

// What the pool's account should have now: drift.capacity_bytes less the unexplained bytes, at least 0.
int64_t CapacityNow(const Drift& drift, const LiveUse& use);

// k as it is held to: capacity now / predicted capacity; while nothing is unexplained, drift.ratio.
double DriftRatioNow(const Drift& drift, const LiveUse& use);

}  // namespace vramgate
