#include "admission/estimator/pool.h"

#include <algorithm>
#include <cmath>

#include "admission/check.h"
#include "admission/estimator/arithmetic.h"

namespace vramgate {
namespace {

int64_t ReportedTokens(const CostTable& t, const Pool& pool, int64_t max_model_len) {
  const PoolLayout& layout = t.layout();
  switch (t.options().profile.tokens) {
    case TokensMeaning::kBlocksOverGroups:
      return SaturatingMultiply(pool.blocks / layout.group_count(), layout.smallest_block());
    case TokensMeaning::kConcurrencyTimesLength: {
      const double tokens = pool.max_concurrency * static_cast<double>(max_model_len);
      return tokens < static_cast<double>(kMaxBytes) ? static_cast<int64_t>(tokens) : kMaxBytes;
    }
    case TokensMeaning::kPool: {
      const int64_t block = layout.smallest_block();
      const int64_t block_bytes = SaturatingMultiply(layout.bytes_per_token(), block);
      return block_bytes > 0 ? pool.bytes / block_bytes * block : 0;
    }
  }
  CHECK(false, "TokensMeaning: a value outside of the enum");
}

}  // namespace

int64_t PoolBytes(const CostTable& t, int64_t device_bytes, double utilization) {
  const EngineProfile& profile = t.options().profile;
  const auto share = static_cast<int64_t>(static_cast<double>(device_bytes) * utilization);
  Wide left = Wide{share} - t.weights_bytes() - t.activation_bytes();
  if (!t.overhead_measured()) {
    left -= t.overhead_bytes();
  } else {
    left -= t.non_torch_bytes();
    if (profile.context_in_share) left -= t.context_bytes();
    if (profile.graphs_in_pool) left -= t.graph_bytes();
  }
  left = std::max<Wide>(left, 0);
  return static_cast<int64_t>(static_cast<double>(left) * profile.pool_share);
}

int64_t CellPoolBytes(const CostTable& t, int64_t context_tokens, int64_t slots, bool unified) {
  if (slots <= 0 || context_tokens <= 0) return 0;
  if (!unified) {
    // Each slot has its share of the context, rounded up to whole rows of cells.
    return SaturatingMultiply(t.KvBytes((context_tokens + slots - 1) / slots, Phase::kPeak), slots);
  }
  int64_t bytes = 0;
  for (PoolGroup g : t.layout().groups()) {
    if (!g.grows) {
      g.fixed_blocks = SaturatingMultiply(g.fixed_blocks, slots);
    } else if (g.peak_cap > 0) {
      // Windows of all slots stand in one cache, beside one step.
      const int64_t window = g.peak_cap - t.options().max_batched_tokens;
      g.peak_cap = SaturatingAdd(SaturatingMultiply(window, slots), t.options().max_batched_tokens);
    }
    bytes = SaturatingAdd(bytes, SaturatingMultiply(g.Blocks(context_tokens, Phase::kPeak), g.block_bytes));
  }
  return bytes;
}

Pool MakePool(const CostTable& t, int64_t bytes, int64_t max_model_len) {
  CHECK(bytes >= 0 && max_model_len >= 0, "MakePool: a negative size");
  const PoolLayout& layout = t.layout();
  Pool pool{.bytes = bytes};
  const int64_t whole = layout.Bytes(max_model_len, Phase::kPeak);
  if (layout.id_bytes() > 0) {
    pool.blocks = bytes / layout.id_bytes();
    const int64_t request = layout.Blocks(max_model_len, Phase::kPeak);
    if (request > 0) pool.max_concurrency = static_cast<double>(pool.blocks) / static_cast<double>(request);
  } else {
    const int64_t block = SaturatingMultiply(layout.bytes_per_token(), layout.smallest_block());
    if (block > 0) pool.blocks = bytes / block;
    if (whole > 0) pool.max_concurrency = static_cast<double>(bytes) / static_cast<double>(whole);
  }
  pool.tokens = ReportedTokens(t, pool, max_model_len);
  return pool;
}

int64_t LongestSequence(const CostTable& t, int64_t bytes, int64_t limit) {
  return LargestThat(limit, [&](int64_t tokens) { return t.KvBytes(tokens, Phase::kPeak) <= bytes; });
}

}  // namespace vramgate
