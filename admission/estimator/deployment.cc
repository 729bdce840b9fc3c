#include "admission/estimator/deployment.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "admission/estimator/arithmetic.h"

namespace vramgate {
namespace {

bool Prealloc(const CostOptions& cost) {
  return cost.profile.pool == PoolKind::kCells;
}

absl::StatusOr<StageReport> ReportStage(const ModelShape& shape, const DeploymentOptions& o, int stage) {
  CostOptions cost = o.cost;
  cost.stage = stage;
  if (Prealloc(cost)) cost.context_tokens = o.max_model_len;
  absl::StatusOr<CostTable> table = CostTable::Compile(shape, cost);
  if (!table.ok()) return table.status();
  absl::StatusOr<Estimate> estimate = EstimateCard(*table, o.load);
  if (!estimate.ok()) return estimate.status();
  int64_t bytes = -1;
  if (o.kv_pool_bytes) {
    bytes = *o.kv_pool_bytes;
  } else if (Prealloc(cost)) {
    bytes = CellPoolBytes(*table, o.max_model_len, cost.max_sequences, o.unified);
    // It is taken at start, whatever is asked for later.
    const int64_t kv = std::max(bytes, estimate->kv_bytes);
    estimate->total_bytes = SaturatingAdd(estimate->total_bytes - estimate->kv_bytes, kv);
    estimate->kv_bytes = kv;
  } else if (o.device_bytes) {
    bytes = PoolBytes(*table, *o.device_bytes, o.utilization.value_or(cost.profile.utilization));
  }
  Pool pool;
  if (bytes >= 0) pool = MakePool(*table, bytes, o.max_model_len);
  return StageReport{*std::move(table), *std::move(estimate), pool};
}

bool HasPool(const DeploymentOptions& o) {
  return o.kv_pool_bytes || o.device_bytes || Prealloc(o.cost);
}

std::optional<bool> Fits(const Deployment& d, const DeploymentOptions& o) {
  if (!o.device_bytes && !o.kv_pool_bytes) return std::nullopt;
  if (Prealloc(o.cost) && !o.kv_pool_bytes && !o.unified) {
    // A request has one slot, and no more than its cells.
    const int64_t slots = o.cost.max_sequences;
    const int64_t cells = (o.max_model_len + slots - 1) / slots;
    if (o.load.concurrency > slots || o.load.prompt_tokens + o.load.output_tokens > cells) return false;
  }
  return std::all_of(d.stages.begin(), d.stages.end(), [&](const StageReport& s) {
    if (o.device_bytes && s.estimate.total_bytes > *o.device_bytes) return false;
    return s.estimate.kv_bytes <= s.pool.bytes;
  });
}

}  // namespace

absl::StatusOr<Deployment> Deploy(const ModelShape& shape, const DeploymentOptions& o) {
  Deployment d;
  for (int stage = 0; stage < o.cost.pipeline_parallel; ++stage) {
    absl::StatusOr<StageReport> report = ReportStage(shape, o, stage);
    if (!report.ok()) return report.status();
    d.stages.push_back(*std::move(report));
  }
  for (size_t i = 1; i < d.stages.size(); ++i) {
    const StageReport& worst = d.stages[d.worst_stage];
    const bool less = HasPool(o) ? d.stages[i].pool.max_concurrency < worst.pool.max_concurrency
                                 : d.stages[i].estimate.total_bytes > worst.estimate.total_bytes;
    if (less) d.worst_stage = i;
  }
  d.fits = Fits(d, o);
  if (HasPool(o)) {
    const int64_t limit = o.max_model_len > 0 ? o.max_model_len : kMaxBytes;
    d.longest_tokens = LongestSequence(d.worst().table, d.worst().pool.bytes, limit);
  }
  return d;
}

std::vector<std::string> WaysToFit(const ModelShape& shape, const DeploymentOptions& o) {
  std::vector<std::string> ways;
  const auto fits = [&](const DeploymentOptions& changed) {
    const absl::StatusOr<Deployment> d = Deploy(shape, changed);
    return d.ok() && d->fits.value_or(false);
  };
  if (IsPlain(o.cost.kv_dtype) && DTypeBytes(o.cost.kv_dtype) > 1) {
    DeploymentOptions narrow = o;
    narrow.cost.kv_dtype = o.cost.profile.pool == PoolKind::kCells ? DType::kQ8_0 : DType::kFp8;
    if (fits(narrow)) ways.push_back(absl::StrCat("--kv-dtype ", std::string(DTypeName(narrow.cost.kv_dtype))));
  }
  for (int devices = 2; devices <= 8; devices *= 2) {
    DeploymentOptions split = o;
    split.cost.tensor_parallel = o.cost.tensor_parallel * devices;
    if (!fits(split)) continue;
    ways.push_back(absl::StrCat("--tp ", split.cost.tensor_parallel));
    break;
  }
  // Less work, but some; the whole of it is known not to fit.
  DeploymentOptions fewer = o;
  const int64_t most = LargestThat(o.load.concurrency - 1, [&](int64_t requests) {
    fewer.load.concurrency = requests;
    return fits(fewer);
  });
  if (most > 0) ways.push_back(absl::StrCat("--concurrency ", most));
  DeploymentOptions shorter = o;
  shorter.load.output_tokens = 0;
  const int64_t longest = LargestThat(o.load.prompt_tokens + o.load.output_tokens - 1, [&](int64_t tokens) {
    shorter.load.prompt_tokens = tokens;
    return fits(shorter);
  });
  if (longest > 0) ways.push_back(absl::StrCat("--context ", longest));
  return ways;
}

}  // namespace vramgate
