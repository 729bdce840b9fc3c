// What an engine does with one request: tokens at a steady pace, KV that grows with them, an end at its most. A lying
// one goes on past that.
#pragma once

#include <algorithm>
#include <cstdint>

#include "admission/types.h"

namespace vramgate::sim {

class SimEngine {
 public:
  // `full` is what the request costs at `max_tokens`; `stops_at` is where it really stops.
  SimEngine(const Costs& full, int64_t max_tokens, int64_t stops_at, absl::Duration per_token)
      : full_(full), max_tokens_(max_tokens), stops_at_(stops_at), per_token_(per_token) {}

  void Start(Instant now) { started_ = now; }
  int64_t TokensAt(Instant now) const { return std::min(stops_at_, (now - started_) / per_token_); }
  bool DoneAt(Instant now) const { return TokensAt(now) >= stops_at_; }
  Instant Done() const { return started_ + per_token_ * stops_at_; }

  Costs UsedAt(Instant now) const {
    Costs used = full_;  // activation is there from the first token
    for (RankCost& rank : used) {
      const __int128 bytes = (static_cast<__int128>(rank.kv_bytes) * TokensAt(now) + max_tokens_ - 1) / max_tokens_;
      rank.kv_bytes = static_cast<int64_t>(std::min<__int128>(bytes, INT64_MAX));
    }
    return used;
  }

 private:
  Costs full_;
  int64_t max_tokens_;
  int64_t stops_at_;
  absl::Duration per_token_;
  Instant started_;
};

}  // namespace vramgate::sim
