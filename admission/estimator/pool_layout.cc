#include "admission/estimator/pool_layout.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "admission/check.h"
#include "admission/estimator/arithmetic.h"

namespace vramgate {
namespace {

// Equal layers together.
struct Item {
  Kept kept;
  int64_t layers = 0;
  Wide bytes = 0;  // KeptBytes of one layer
};

std::vector<Item> Gather(const std::vector<Kept>& kept, const PoolOptions& o, const EngineProfile& profile) {
  std::vector<Item> items;
  for (const Kept& k : kept) {
    const auto same = std::find_if(items.begin(), items.end(), [&](const Item& i) { return i.kept == k; });
    if (same != items.end()) {
      ++same->layers;
    } else if (const Wide bytes = KeptBytes(k, o, profile); bytes > 0) {
      items.push_back({k, 1, bytes});
    }
  }
  return items;
}

bool IsConstant(KeptKind kind) {
  return kind == KeptKind::kState || kind == KeptKind::kEncoder;
}

// Every token adds the same to each of these, so they can stand in one group whatever their sizes.
bool AllAlike(const std::vector<Item>& items) {
  return std::all_of(items.begin(), items.end(), [](const Item& i) {
    const KeptKind kind = i.kept.kind;
    return i.kept.ratio == 1 && (kind == KeptKind::kTokens || kind == KeptKind::kLatent || kind == KeptKind::kIndex);
  });
}

// How a group of this kind grows; its blocks' size is the caller's.
PoolGroup Growth(const Kept& k, const PoolOptions& o, const EngineProfile& profile) {
  const int64_t step = profile.step_in_window ? o.max_batched_tokens : 0;
  PoolGroup g;
  g.ratio = k.ratio;
  switch (k.kind) {
    case KeptKind::kTokens:
    case KeptKind::kLatent:
    case KeptKind::kIndex:
    case KeptKind::kCompressed:
      break;
    case KeptKind::kWindow: {
      // vLLM SlidingWindowSpec: the last window - 1 tokens and the step's; llama.cpp: window + step.
      const int64_t kept = profile.pool == PoolKind::kCells || step == 0 ? k.span : k.span - 1;
      g.peak_cap = std::max(kept + step, k.span);
      g.steady_cap = profile.pool == PoolKind::kCells ? g.peak_cap : k.span;
      g.extra_blocks = profile.extra_window_blocks;
      break;
    }
    case KeptKind::kChunk:
      g.peak_cap = k.span + step;
      g.steady_cap = profile.pool == PoolKind::kCells ? g.peak_cap : k.span;
      break;
    case KeptKind::kRing:
      g.peak_cap = g.steady_cap = k.span;
      break;
    case KeptKind::kEncoder:
    case KeptKind::kState:
      g.grows = false;
      g.fixed_blocks = 1;
      break;
  }
  return g;
}

int64_t EncoderTokens(const Kept& k, const PoolOptions& o, const EngineProfile& profile) {
  return profile.encoder_holds_step ? std::max(k.span, o.max_batched_tokens) : k.span;
}

absl::StatusOr<std::vector<PoolGroup>> ByteGroups(const std::vector<Item>& items, int64_t block_tokens,
                                                  const PoolOptions& o, const EngineProfile& profile) {
  std::vector<PoolGroup> groups;
  for (const Item& item : items) {
    PoolGroup g = Growth(item.kept, o, profile);
    g.block_tokens = g.grows ? block_tokens : 1;
    Wide factor = g.grows ? block_tokens : 1;
    if (item.kept.kind == KeptKind::kEncoder) factor = item.kept.span;
    if (item.kept.kind == KeptKind::kState) factor = 1 + o.speculative_tokens;
    absl::StatusOr<int64_t> bytes = Narrow(item.bytes * item.layers * factor, "a block of the KV cache");
    if (!bytes.ok()) return bytes.status();
    g.block_bytes = *bytes;
    const auto same = std::find_if(groups.begin(), groups.end(), [&](const PoolGroup& other) {
      return other.grows && g.grows && other.ratio == g.ratio && other.peak_cap == g.peak_cap &&
             other.steady_cap == g.steady_cap && other.extra_blocks == g.extra_blocks;
    });
    if (same == groups.end()) {
      groups.push_back(g);
    } else {
      same->block_bytes = SaturatingAdd(same->block_bytes, g.block_bytes);
    }
  }
  return groups;
}

// vLLM's _get_kv_cache_groups_uniform_page_size: pages of one size, groups of one number of layers.
struct Pages {
  int64_t block_tokens = 0;  // of attention layers with the largest page
  Wide page = 0;             // bytes of every page
};

Pages UnifyPages(const std::vector<Item>& items, int64_t block_tokens, const EngineProfile& profile) {
  Pages pages{.block_tokens = block_tokens};
  Wide token = 0;
  Wide state = 0;
  bool latent = false;
  for (const Item& item : items) {
    if (item.kept.kind == KeptKind::kState) {
      state = std::max(state, item.bytes);
    } else {
      token = std::max(token, item.bytes);
      latent = latent || item.kept.kind == KeptKind::kLatent;
    }
  }
  if (state > 0 && token > 0) {
    const Wide multiple = latent ? profile.state_block_multiple_latent : profile.state_block_multiple;
    const Wide grown = CeilDivide(state, multiple * token) * multiple;
    pages.block_tokens = static_cast<int64_t>(std::min<Wide>(std::max<Wide>(block_tokens, grown), kMaxBytes));
  }
  pages.page = std::max(state, token * pages.block_tokens);
  return pages;
}

int64_t LayersOfGroup(const std::vector<Item>& items, double stretch) {
  int64_t least = items.front().layers;
  int64_t most = 0;
  for (const Item& item : items) {
    least = std::min(least, item.layers);
    most = std::max(most, item.layers);
  }
  return static_cast<double>(most) < stretch * static_cast<double>(least) ? most : least;
}

absl::StatusOr<std::vector<PoolGroup>> IdGroups(const std::vector<Item>& items, int64_t block_tokens,
                                                const PoolOptions& o, const EngineProfile& profile) {
  const Pages pages = UnifyPages(items, block_tokens, profile);
  const int64_t layers = LayersOfGroup(items, profile.max_group_stretch);
  const absl::StatusOr<int64_t> id_bytes = Narrow(pages.page * layers, "a block of the KV cache");
  if (!id_bytes.ok()) return id_bytes.status();
  std::vector<PoolGroup> groups;
  for (const Item& item : items) {
    PoolGroup g = Growth(item.kept, o, profile);
    g.block_bytes = *id_bytes;
    g.copies = static_cast<int64_t>(CeilDivide(item.layers, layers));
    // A layer with smaller entries has more tokens in a page.
    const Wide fit = item.kept.kind == KeptKind::kState ? 1 : pages.page / item.bytes;
    const Wide whole = std::max<Wide>(fit / pages.block_tokens, 1) * pages.block_tokens;
    const absl::StatusOr<int64_t> tokens = Narrow(whole * item.kept.ratio, "tokens of a block");
    if (!tokens.ok()) return tokens.status();
    g.block_tokens = *tokens;
    g.ratio = 1;
    if (item.kept.kind == KeptKind::kState) g.fixed_blocks = profile.state_blocks + o.speculative_tokens;
    if (item.kept.kind == KeptKind::kEncoder) {
      g.fixed_blocks = static_cast<int64_t>(CeilDivide(EncoderTokens(item.kept, o, profile), g.block_tokens));
    }
    groups.push_back(g);
  }
  return groups;
}

// All layers in one group, whatever their sizes.
absl::StatusOr<std::vector<PoolGroup>> OneGroup(const std::vector<Item>& items, int64_t block_tokens) {
  Wide bytes = 0;
  for (const Item& item : items) bytes += item.bytes * item.layers;
  const absl::StatusOr<int64_t> block = Narrow(bytes * block_tokens, "a block of the KV cache");
  if (!block.ok()) return block.status();
  return std::vector<PoolGroup>{{.block_bytes = *block, .block_tokens = block_tokens}};
}

int64_t BlockTokens(const std::vector<Item>& items, const PoolOptions& o, const EngineProfile& profile) {
  if (profile.pool == PoolKind::kCells) return profile.window_cells_multiple;
  const bool indexed =
      std::any_of(items.begin(), items.end(), [](const Item& i) { return i.kept.kind == KeptKind::kIndex; });
  const int64_t habit = indexed && profile.index_block_tokens > 0 ? profile.index_block_tokens : profile.block_tokens;
  return o.block_tokens > 0 ? o.block_tokens : habit;
}

}  // namespace

int64_t PoolGroup::Blocks(int64_t tokens, Phase phase) const {
  if (!grows) return fixed_blocks;
  const int64_t cap = phase == Phase::kPeak ? peak_cap : steady_cap;
  const int64_t held = cap > 0 ? std::min(tokens, cap) : tokens;
  // An entry stands for `ratio` tokens, once they are complete; a started block is taken whole.
  const int64_t entries = ratio > 1 ? held / ratio : held;
  const int64_t blocks = entries / block_tokens + (entries % block_tokens != 0 ? 1 : 0);
  if (extra_blocks == 0) return blocks;
  // While a prompt is read the engine reserves the extra block at once; afterwards no more than the tokens need.
  const int64_t all = tokens / block_tokens + (tokens % block_tokens != 0 ? 1 : 0);
  return phase == Phase::kPeak ? blocks + extra_blocks : std::min(blocks + extra_blocks, all);
}

absl::StatusOr<PoolLayout> PoolLayout::Compile(const std::vector<Kept>& kept, const PoolOptions& o,
                                               const EngineProfile& profile) {
  const std::vector<Item> items = Gather(kept, o, profile);
  PoolLayout layout;
  if (items.empty()) return layout;
  Wide per_token = 0;
  for (const Item& item : items) {
    if (!IsConstant(item.kept.kind) && item.kept.kind != KeptKind::kRing)
      per_token += CeilDivide(item.bytes * item.layers, item.kept.ratio);
  }
  const absl::StatusOr<int64_t> token = Narrow(per_token, "KV of a token");
  if (!token.ok()) return token.status();
  layout.bytes_per_token_ = *token;

  const int64_t block_tokens = BlockTokens(items, o, profile);
  const bool ids = profile.pool == PoolKind::kBlockIds;
  absl::StatusOr<std::vector<PoolGroup>> groups = !ids              ? ByteGroups(items, block_tokens, o, profile)
                                                  : AllAlike(items) ? OneGroup(items, block_tokens)
                                                                    : IdGroups(items, block_tokens, o, profile);
  if (!groups.ok()) return groups.status();
  layout.groups_ = *std::move(groups);
  if (ids) layout.id_bytes_ = layout.groups_.front().block_bytes;
  for (const PoolGroup& g : layout.groups_) {
    const int64_t fixed = SaturatingMultiply(SaturatingMultiply(g.fixed_blocks, g.block_bytes), g.copies);
    layout.state_bytes_ = SaturatingAdd(layout.state_bytes_, fixed);
  }
  layout.MakeFast();
  return layout;
}

// Left off where a sum could exceed 63 bits, or a group is of an unusual kind.
void PoolLayout::MakeFast() {
  constexpr Wide kMostFast = Wide{1} << 31;
  Wide most = state_bytes_;
  for (const PoolGroup& g : groups_) {
    if (!g.grows) continue;
    const bool plain = g.fixed_blocks == 0 && g.block_tokens < kMostFast && (g.ratio & (g.ratio - 1)) == 0 &&
                       g.extra_blocks < kMostFast;
    if (!plain || fast_count_ == kFastGroups) return;
    most += (kMostFast + g.extra_blocks) * g.block_bytes * g.copies;
    FastGroup& f = fast_groups_[fast_count_++];
    const auto block = static_cast<uint64_t>(g.block_tokens);
    f.reciprocal = block == 1 ? 0 : ~uint64_t{0} / block + 1;
    f.bytes = static_cast<uint64_t>(SaturatingMultiply(g.block_bytes, g.copies));
    f.round = static_cast<uint32_t>(block - 1);
    f.ratio_shift = static_cast<uint32_t>(std::countr_zero(static_cast<uint64_t>(g.ratio)));
    const auto cap = [](int64_t tokens) {
      return static_cast<uint32_t>(tokens > 0 ? std::min<int64_t>(tokens, kFastTokens) : kFastTokens);
    };
    f.cap[static_cast<size_t>(Phase::kPeak)] = cap(g.peak_cap);
    f.cap[static_cast<size_t>(Phase::kSteady)] = cap(g.steady_cap);
    f.extra = static_cast<uint32_t>(g.extra_blocks);
  }
  fast_ = most <= kMaxBytes;
}

PoolLayout PoolLayout::ByHand(int64_t bytes_per_token, int64_t state_bytes, int64_t block_tokens) {
  PoolLayout layout;
  layout.bytes_per_token_ = bytes_per_token;
  layout.state_bytes_ = state_bytes;
  layout.groups_.push_back(
      {.block_bytes = SaturatingMultiply(bytes_per_token, block_tokens), .block_tokens = block_tokens});
  if (state_bytes > 0) layout.groups_.push_back({.block_bytes = state_bytes, .fixed_blocks = 1, .grows = false});
  layout.MakeFast();
  return layout;
}

int64_t PoolLayout::SlowBytes(int64_t tokens, Phase phase) const {
  if (tokens == 0) return 0;
  int64_t sum = 0;
  for (const PoolGroup& g : groups_) {
    const int64_t blocks = SaturatingMultiply(g.Blocks(tokens, phase), g.copies);
    sum = SaturatingAdd(sum, SaturatingMultiply(blocks, g.block_bytes));
  }
  return sum;
}

int64_t PoolLayout::Blocks(int64_t tokens, Phase phase) const {
  if (tokens == 0 || id_bytes_ == 0) return 0;
  int64_t sum = 0;
  for (const PoolGroup& g : groups_) {
    sum = SaturatingAdd(sum, SaturatingMultiply(g.Blocks(tokens, phase), g.copies));
  }
  return sum;
}

int64_t PoolLayout::group_count() const {
  int64_t count = 0;
  for (const PoolGroup& g : groups_) count += g.copies;
  return std::max<int64_t>(count, 1);
}

int64_t PoolLayout::smallest_block() const {
  int64_t smallest = kMaxBytes;
  for (const PoolGroup& g : groups_) {
    if (g.grows) smallest = std::min(smallest, g.block_tokens);
  }
  return smallest == kMaxBytes ? 1 : smallest;
}

}  // namespace vramgate
