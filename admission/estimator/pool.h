// The engine's KV pool on one rank: how large it comes out on a card, and what it holds.
//
//   int64_t bytes = PoolBytes(table, /*device_bytes=*/H100, /*utilization=*/0.95);
//   Pool pool = MakePool(table, bytes, /*max_model_len=*/8192);
//   pool.tokens;                        // what the engine prints of it
//
// Pure functions: no thread rule.
#pragma once

#include <cstdint>

#include "admission/estimator/cost_table.h"

namespace vramgate {

struct Pool {
  int64_t bytes = 0;
  int64_t blocks = 0;          // ids of the engine's pool, or blocks of tokens where it has no ids
  int64_t tokens = 0;          // as the engine would print it (EngineProfile::tokens)
  double max_concurrency = 0;  // requests of max_model_len at once
};

// What the engine has left for KV of a card at `utilization` [B]; never below 0. Engines count their context outside of
// their share, or inside, by the profile.
int64_t PoolBytes(const CostTable& table, int64_t device_bytes, double utilization);

// What an engine that allocates everything at start takes: a cache for each of the options' sequences, that share
// context_tokens (llama.cpp) [B]. `unified`: one cache for all.
int64_t CellPoolBytes(const CostTable& table, int64_t context_tokens, int64_t slots, bool unified);

// REQUIRES: bytes >= 0, max_model_len >= 0.
Pool MakePool(const CostTable& table, int64_t bytes, int64_t max_model_len);

// The longest sequence that `bytes` hold, at its peak, up to `limit` tokens.
int64_t LongestSequence(const CostTable& table, int64_t bytes, int64_t limit);

}  // namespace vramgate
