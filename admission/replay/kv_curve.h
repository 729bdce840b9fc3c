// What a sequence's KV takes in an engine's pool, by its tokens: whole blocks, from a model's cost table or by hand.
//
//   const KvCurve curve = KvCurve::Linear(/*bytes_per_token=*/131072, /*block_tokens=*/16);
//   curve.bytes(17);   // two blocks
//
// Used by the engine model and the policies. Immutable; any thread may read it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "admission/check.h"

namespace vramgate {

class KvCurve {
 public:
  // Every block takes the same.
  static KvCurve Linear(int64_t bytes_per_token, int64_t block_tokens) {
    return KvCurve(bytes_per_token * block_tokens, block_tokens, {});
  }
  // `by_blocks[n]`: of a sequence of n blocks, at least up to 1; not falling. More blocks than that are never asked for
  // (CHECKed).
  static KvCurve Table(std::vector<int64_t> by_blocks, int64_t block_tokens) {
    return KvCurve(0, block_tokens, std::move(by_blocks));
  }

  int64_t bytes(int64_t tokens) const {
    const int64_t blocks = (tokens + block_tokens_ - 1) / block_tokens_;
    if (linear()) return blocks * block_bytes_;
    CHECK(static_cast<size_t>(blocks) < by_blocks_.size(), "KvCurve: asked beyond its table");
    return by_blocks_[static_cast<size_t>(blocks)];
  }
  // Most that one block more takes.
  int64_t largest_block_bytes() const {
    int64_t most = block_bytes_;
    for (size_t n = 1; n < by_blocks_.size(); ++n) most = std::max(most, by_blocks_[n] - by_blocks_[n - 1]);
    return most;
  }
  // Of a long sequence, on average.
  double bytes_per_token() const {
    if (linear()) return static_cast<double>(block_bytes_) / static_cast<double>(block_tokens_);
    const auto tokens = static_cast<double>(by_blocks_.size() - 1) * static_cast<double>(block_tokens_);
    return static_cast<double>(by_blocks_.back()) / tokens;
  }
  bool linear() const { return by_blocks_.empty(); }
  int64_t block_bytes() const { return block_bytes_; }  // linear only
  int64_t block_tokens() const { return block_tokens_; }

 private:
  KvCurve(int64_t block_bytes, int64_t block_tokens, std::vector<int64_t> by_blocks)
      : block_bytes_(block_bytes), block_tokens_(block_tokens), by_blocks_(std::move(by_blocks)) {}

  int64_t block_bytes_;
  int64_t block_tokens_;
  std::vector<int64_t> by_blocks_;
};

}  // namespace vramgate
