// How an engine stores what the layers keep: groups of layers, each with its block, and what a sequence takes of them.
//
// Compiled once from a model's layers and an engine's habits; pricing a sequence is then a few divisions (CostTable).
// Immutable; any thread may read it.
//
//   absl::StatusOr<PoolLayout> layout = PoolLayout::Compile(kept, options, profile);
//   layout->Blocks(9000, Phase::kPeak);        // ids of the pool
//   layout->Bytes(9000, Phase::kSteady);
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "admission/estimator/dtype.h"
#include "admission/estimator/engine_profile.h"
#include "admission/estimator/kept.h"
#include "admission/estimator/kept_bytes.h"

namespace vramgate {

// When in its life a sequence is priced.
enum class Phase : uint8_t {
  kPeak,    // while the prompt is read in steps: windows hold the step too
  kSteady,  // afterwards: windows hold their span
};

// Layers that grow alike.
struct PoolGroup {
  int64_t block_bytes = 0;  // of one block, all layers of the group, on one device
  int64_t block_tokens = 1;
  int64_t ratio = 1;     // tokens that share an entry of a block
  int64_t peak_cap = 0;  // tokens, at most; 0: no limit
  int64_t steady_cap = 0;
  int64_t extra_blocks = 0;  // a window may begin inside of a block
  int64_t fixed_blocks = 0;  // of every sequence, whatever its length
  int64_t copies = 1;        // groups that are alike
  bool grows = true;         // false: fixed_blocks alone

  // Saturating. REQUIRES: tokens >= 0.
  int64_t Blocks(int64_t tokens, Phase phase) const;
};

class PoolLayout {
 public:
  // `kept`: of each layer of one rank, flat. OUT_OF_RANGE: a size beyond 8 EiB.
  static absl::StatusOr<PoolLayout> Compile(const std::vector<Kept>& kept, const PoolOptions& options,
                                            const EngineProfile& profile);

  // One group of `bytes_per_token` (and `state_bytes` of a sequence), for models priced by hand.
  static PoolLayout ByHand(int64_t bytes_per_token, int64_t state_bytes, int64_t block_tokens);

  // On one device, of one sequence of `tokens`; a sequence without a token takes nothing. Saturating; allocate nothing.
  // A price in a few nanoseconds: without a division for lengths below kFastTokens.
  int64_t Bytes(int64_t tokens, Phase phase) const {
    return tokens < kFastTokens && fast_ ? FastBytes(static_cast<uint64_t>(tokens), phase) : SlowBytes(tokens, phase);
  }
  int64_t Blocks(int64_t tokens, Phase phase) const;  // ids of the pool; 0 where it is not made of ids

  // What one more token takes while windows are not full [B/token], before rounding to blocks and pages; rings left
  // out.
  int64_t bytes_per_token() const { return bytes_per_token_; }
  // What a sequence takes however short it is: states, an encoder's keys [B].
  int64_t state_bytes() const { return state_bytes_; }
  // kBlockIds: one id stands for so many bytes; else 0.
  int64_t id_bytes() const { return id_bytes_; }
  int64_t group_count() const;     // kBlockIds: groups an engine forms
  int64_t smallest_block() const;  // tokens of the smallest block
  const std::vector<PoolGroup>& groups() const { return groups_; }

 private:
  static constexpr int64_t kFastTokens = int64_t{1} << 31;
  static constexpr size_t kFastGroups = 8;

  // A PoolGroup that grows, ready to be multiplied: n / block_tokens is the upper half of n x reciprocal.
  struct FastGroup {
    uint64_t reciprocal = 0;  // 2^64 / block_tokens, rounded up: exact below 2^32; 0: blocks of one token
    uint64_t bytes = 0;       // of a block, all copies
    uint32_t round = 0;       // block_tokens - 1
    uint32_t ratio_shift = 0;
    uint32_t cap[2] = {};  // by Phase
    uint32_t extra = 0;

    uint64_t Ceil(uint64_t n) const {
      __extension__ using Product = unsigned __int128;
      return reciprocal == 0 ? n : static_cast<uint64_t>((Product{n + round} * reciprocal) >> 64);
    }
  };

  int64_t FastBytes(uint64_t tokens, Phase phase) const {
    if (tokens == 0) return 0;
    auto sum = static_cast<uint64_t>(state_bytes_);
    for (size_t i = 0; i < fast_count_; ++i) {
      const FastGroup& g = fast_groups_[i];
      const uint64_t cap = g.cap[static_cast<size_t>(phase)];
      uint64_t blocks = g.Ceil((tokens < cap ? tokens : cap) >> g.ratio_shift);
      if (g.extra > 0) {
        blocks += g.extra;
        if (phase == Phase::kSteady) {
          const uint64_t all = g.Ceil(tokens);
          blocks = blocks < all ? blocks : all;
        }
      }
      sum += blocks * g.bytes;
    }
    return static_cast<int64_t>(sum);
  }
  int64_t SlowBytes(int64_t tokens, Phase phase) const;
  void MakeFast();  // after the groups and state_bytes_ are set

  std::array<FastGroup, kFastGroups> fast_groups_{};
  size_t fast_count_ = 0;
  bool fast_ = false;
  std::vector<PoolGroup> groups_;
  int64_t bytes_per_token_ = 0;
  int64_t state_bytes_ = 0;
  int64_t id_bytes_ = 0;
};

}  // namespace vramgate
