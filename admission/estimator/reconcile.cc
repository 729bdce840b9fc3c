#include "admission/estimator/reconcile.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "admission/check.h"
#include "admission/units.h"

namespace vramgate {
namespace {

struct Actual {
  DriftBasis basis = DriftBasis::kNone;
  double bytes = 0;      // in the gate's own
  double tolerance = 0;  // relative
};

// Blocks are worth what the gate takes for them, if they are blocks of the size it knows. Of a uniform model blocks of
// any size are worth their tokens.
std::optional<Actual> ByBlocks(const PredictedPool& predicted, const EnginePool& pool) {
  if (!pool.blocks) return std::nullopt;
  const auto blocks = static_cast<double>(*pool.blocks);
  const bool same_size = !pool.block_tokens || *pool.block_tokens == predicted.block_tokens;
  if (predicted.bytes_per_block > 0 && same_size) {
    return Actual{DriftBasis::kBlocks, blocks * static_cast<double>(predicted.bytes_per_block)};
  }
  if (predicted.uniform && predicted.bytes_per_token > 0 && pool.block_tokens && !pool.hybrid) {
    return Actual{DriftBasis::kBlocks,
                  blocks * static_cast<double>(*pool.block_tokens) * static_cast<double>(predicted.bytes_per_token)};
  }
  return std::nullopt;
}

// Where "tokens" are the product of both, each of the two follows from the other.
std::optional<Actual> ByConcurrency(const PredictedPool& predicted, const EnginePool& pool) {
  double requests = pool.max_concurrency.value_or(0);
  auto length = static_cast<double>(pool.max_model_len.value_or(0));
  if (pool.token_meaning == TokenMeaning::kConcurrency && pool.tokens) {
    const auto tokens = static_cast<double>(*pool.tokens);
    if (requests <= 0 && length > 0) requests = tokens / length;
    if (length <= 0 && requests > 0) length = std::round(tokens / requests);
  }
  if (requests <= 0 || predicted.bytes_per_longest_request <= 0) return std::nullopt;
  if (length != static_cast<double>(predicted.max_model_len)) return std::nullopt;
  return Actual{DriftBasis::kConcurrency, requests * static_cast<double>(predicted.bytes_per_longest_request),
                pool.max_concurrency ? pool.max_concurrency_tolerance / requests : 0};
}

// Where layers keep different spans, only "tokens" that stand for whole requests are comparable, and those are
// ByConcurrency's.
std::optional<Actual> ByTokens(const PredictedPool& predicted, const EnginePool& pool) {
  if (!pool.tokens || !predicted.uniform || predicted.bytes_per_token <= 0 || pool.hybrid) return std::nullopt;
  return Actual{DriftBasis::kTokens,
                static_cast<double>(*pool.tokens) * static_cast<double>(predicted.bytes_per_token)};
}

std::optional<Actual> ByBytes(const EnginePool& pool) {
  if (!pool.pool_bytes || pool.pool_bytes->bytes <= 0 || pool.blocks_overridden) return std::nullopt;
  const auto bytes = static_cast<double>(pool.pool_bytes->bytes);
  return Actual{DriftBasis::kBytes, bytes, static_cast<double>(pool.pool_bytes->tolerance_bytes) / bytes};
}

int64_t Whole(double bytes) {
  constexpr auto kMost = static_cast<double>(int64_t{1} << 62);
  return static_cast<int64_t>(std::clamp(bytes, 0.0, kMost));
}

std::string Words(const Drift& drift, const EnginePool& pool) {
  const std::string_view engine = EngineKindName(pool.engine);
  const std::string_view basis = DriftBasisName(drift.basis);
  std::string words =
      absl::StrFormat("%s has %.1f %% %s KV pool than the config and its prices say (%s of %s, by its %s)",
                      absl::string_view(engine.data(), engine.size()), std::abs(drift.ratio - 1) * 100,
                      drift.ratio < 1 ? "less" : "more", FormatBytes(drift.actual_bytes),
                      FormatBytes(drift.predicted_bytes), absl::string_view(basis.data(), basis.size()));
  if (drift.capacity_bytes == drift.predicted_bytes) {
    absl::StrAppend(&words, ": kept as configured, since only a count of blocks can raise it");
  } else {
    absl::StrAppend(&words, ": the pool counts as ", FormatBytes(drift.capacity_bytes), " from now on");
  }
  return words;
}

}  // namespace

std::string_view DriftBasisName(DriftBasis basis) {
  switch (basis) {
    case DriftBasis::kNone:
      return "nothing";
    case DriftBasis::kBlocks:
      return "blocks";
    case DriftBasis::kConcurrency:
      return "concurrency";
    case DriftBasis::kTokens:
      return "tokens";
    case DriftBasis::kBytes:
      return "bytes";
  }
  return "";
}

Drift CompareAtAttach(const PredictedPool& predicted, const EnginePool& pool) {
  CHECK(predicted.pool_bytes > 0, "CompareAtAttach: no pool is predicted");
  Drift drift;
  drift.predicted_bytes = drift.actual_bytes = drift.capacity_bytes = predicted.pool_bytes;
  std::optional<Actual> actual = ByBlocks(predicted, pool);
  if (!actual) actual = ByConcurrency(predicted, pool);
  if (!actual) actual = ByTokens(predicted, pool);
  if (!actual) actual = ByBytes(pool);
  if (!actual) return drift;
  const auto predicted_bytes = static_cast<double>(predicted.pool_bytes);
  drift.basis = actual->basis;
  drift.ratio = actual->bytes / predicted_bytes;
  drift.tolerance = actual->tolerance * drift.ratio;
  drift.actual_bytes = Whole(actual->bytes);
  constexpr double kHalfByte = 0.5;
  drift.trusted =
      std::abs(actual->bytes - predicted_bytes) <= (kTrustedDrift + drift.tolerance) * predicted_bytes + kHalfByte;
  if (drift.trusted) return drift;
  if (drift.ratio < 1 || drift.basis == DriftBasis::kBlocks) {
    drift.capacity_bytes = Whole(std::clamp(drift.ratio, kLeastDrift, kMostDrift) * predicted_bytes);
  }
  drift.words = Words(drift, pool);
  return drift;
}

int64_t UnexplainedBytes(const Drift& drift, const LiveUse& use) {
  const int64_t used = Whole(std::clamp(use.used_ratio, 0.0, 1.0) * static_cast<double>(drift.actual_bytes));
  const double trusted = static_cast<double>(use.reserved_bytes) * (1 + kTrustedDrift);
  return static_cast<double>(used) <= trusted ? 0 : used - use.reserved_bytes;
}

int64_t CapacityNow(const Drift& drift, const LiveUse& use) {
  return std::max<int64_t>(0, drift.capacity_bytes - UnexplainedBytes(drift, use));
}

double DriftRatioNow(const Drift& drift, const LiveUse& use) {
  if (UnexplainedBytes(drift, use) == 0) return drift.ratio;
  return static_cast<double>(CapacityNow(drift, use)) / static_cast<double>(drift.predicted_bytes);
}

}  // namespace vramgate
