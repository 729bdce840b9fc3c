#include "admission/estimator/cost_table.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "admission/check.h"
#include "admission/estimator/arithmetic.h"
#include "admission/estimator/formulas.h"

namespace vramgate {
namespace {

constexpr int64_t kMaxStep = int64_t{1} << 30;  // tokens or sequences of one step, tokens of one block

absl::Status CheckRange(const char* name, int64_t value, int64_t min, int64_t max) {
  if (value >= min && value <= max) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(name, ": ", value, " must be from ", min, " to ", max));
}

absl::Status CheckOptions(const ModelShape& shape, const CostOptions& o) {
  for (const absl::Status& s :
       {CheckRange("tensor_parallel", o.tensor_parallel, 1, 1024),
        CheckRange("block_tokens", o.block_tokens, 0, kMaxStep),
        CheckRange("max_batched_tokens", o.max_batched_tokens, 1, kMaxStep),
        CheckRange("max_sequences", o.max_sequences, 1, kMaxStep),
        CheckRange("pipeline_parallel", o.pipeline_parallel, 1, 1024),
        CheckRange("stage", o.stage, 0, o.pipeline_parallel - 1),
        CheckRange("speculative_tokens", o.speculative_tokens, 0, 1024), CheckRange("lora_rank", o.lora_rank, 0, 65536),
        CheckRange("max_loras", o.max_loras, 1, 65536), CheckRange("context_tokens", o.context_tokens, 0, kMaxStep)}) {
    if (!s.ok()) return s;
  }
  if (o.overhead_ratio && !(*o.overhead_ratio >= 0 && *o.overhead_ratio <= 10)) {  // also refuses NaN
    return absl::InvalidArgumentError(
        absl::StrCat("overhead: ", *o.overhead_ratio, " must be from 0 to 10: a share of the weights, such as 0.15"));
  }
  if (shape.heads % o.tensor_parallel != 0) {
    return absl::InvalidArgumentError(absl::StrCat("tensor_parallel: ", o.tensor_parallel, " does not divide the ",
                                                   shape.heads, " heads: use a number of devices that does"));
  }
  if (o.pipeline_parallel > 1 && o.pipeline_parallel > shape.layers()) {
    return absl::InvalidArgumentError(absl::StrCat("pipeline_parallel: ", o.pipeline_parallel,
                                                   " stages are more than the ", shape.layers(), " layers"));
  }
  if (!IsPlain(o.weights_dtype)) {
    return absl::InvalidArgumentError(
        absl::StrCat("dtype: ", std::string(DTypeName(o.weights_dtype)), " is a type of KV caches only"));
  }
  return absl::OkStatus();
}

absl::Status Missing(const char* field, const char* purpose, const char* instead) {
  return absl::InvalidArgumentError(
      absl::StrCat(field, ": missing, but needed for ", purpose, ": set it, or ", instead));
}

// Assigns the narrowed value, or passes the error on.
absl::Status Set(int64_t* field, Wide value, const char* what) {
  const absl::StatusOr<int64_t> narrow = Narrow(value, what);
  if (narrow.ok()) *field = *narrow;
  return narrow.status();
}

Slice SliceOf(const ModelShape& shape, const CostOptions& o) {
  Slice slice;
  if (o.pipeline_parallel > 1) {
    slice = PipelineSlice(shape.layers(), o.stage, o.pipeline_parallel);
  } else {
    slice.end_layer = shape.layers();
  }
  slice.tensor_parallel = o.tensor_parallel;
  slice.expert_parallel = o.expert_parallel;
  slice.drafts = o.speculative_tokens > 0;
  slice.copies = o.profile.load_tables;
  slice.mxfp4_pad_in = o.profile.mxfp4_pad_in;
  slice.torch_allocator = o.profile.torch_allocator;
  return slice;
}

}  // namespace

absl::StatusOr<CostTable> CostTable::Compile(const ModelShape& shape, const CostOptions& options) {
  if (absl::Status s = shape.Validate(); !s.ok()) return s;
  if (absl::Status s = CheckOptions(shape, options); !s.ok()) return s;
  CostTable table(shape, options);
  table.slice_ = SliceOf(shape, options);
  if (absl::Status s = table.CompileWeights(); !s.ok()) return s;
  if (absl::Status s = table.CompileOverhead(); !s.ok()) return s;
  if (absl::Status s = table.CompileKv(); !s.ok()) return s;
  if (absl::Status s = table.CompileActivation(); !s.ok()) return s;
  const Wide fixed = Wide{table.weights_bytes_} + table.activation_bytes_ + table.overhead_bytes_;
  if (absl::Status s = Narrow(fixed, "fixed bytes").status(); !s.ok()) return s;
  return table;
}

absl::Status CostTable::CompileWeights() {
  const Wide ranks = Wide{options_.tensor_parallel} * options_.pipeline_parallel;
  if (shape_.counted) {
    if (absl::Status s = Set(&parameters_, CountParameters(shape_), "parameters"); !s.ok()) return s;
  }
  if (shape_.parameters.has_value()) parameters_ = *shape_.parameters;

  if (shape_.weights_bytes.has_value()) {
    return Set(&weights_bytes_, CeilDivide(*shape_.weights_bytes, ranks), "weights");
  }
  if (shape_.parameters.has_value()) {
    return Set(&weights_bytes_, ClassicalWeightsBytes(shape_, options_.weights_dtype, static_cast<int64_t>(ranks)),
               "weights");
  }
  if (!shape_.counted && !shape_.checkpoint_bytes) return Missing("parameters", "the weights", "set weights_bytes");
  Wide weights = 0;
  if (shape_.counted) {
    weights = SliceWeightsBytes(shape_, options_.weights_dtype, slice_);
    if (shape_.checkpoint_bytes) {
      // The files say exactly what there is; counting says how it is shared.
      const DType stored = shape_.dtype.value_or(options_.weights_dtype);
      const Wide all = SliceWeightsBytes(shape_, stored, {.end_layer = shape_.layers(), .copies = false});
      const Wide more = *shape_.checkpoint_bytes - all;
      weights = std::max<Wide>(weights + more / ranks, 0);
    }
    const Wide rotary = options_.profile.load_tables ? RotaryBytes(shape_, options_.weights_dtype) : 0;
    if (absl::Status s = Set(&rotary_bytes_, rotary, "rotary tables"); !s.ok()) return s;
    weights += rotary_bytes_;
    if (options_.lora_rank > 0) weights += LoraBytes(shape_, slice_, options_.lora_rank, options_.max_loras);
  } else {
    weights = CeilDivide(*shape_.checkpoint_bytes, ranks);
  }
  return Set(&weights_bytes_, weights, "weights");
}

absl::Status CostTable::CompileOverhead() {
  const EngineProfile& profile = options_.profile;
  const EngineProfile::Overhead* row = profile.OverheadFor(options_.tensor_parallel, options_.pipeline_parallel);
  if (options_.overhead_ratio || row == nullptr) {
    const double ratio = options_.overhead_ratio.value_or(kOverheadRatio);
    return Set(&overhead_bytes_, OverheadBytes(weights_bytes_, ratio), "overhead");
  }
  overhead_measured_ = true;
  context_bytes_ = row->context_bytes;
  non_torch_bytes_ = row->non_torch_bytes;
  if (profile.graphs) graph_bytes_ = GraphBytes(shape_, *profile.graphs, slice_.end_layer - slice_.begin_layer);
  return Set(&overhead_bytes_, Wide{context_bytes_} + non_torch_bytes_ + graph_bytes_, "overhead");
}

absl::Status CostTable::CompileKv() {
  if (shape_.kv_bytes_per_token.has_value()) {
    const int64_t block = options_.block_tokens > 0 ? options_.block_tokens : options_.profile.block_tokens;
    layout_ = PoolLayout::ByHand(*shape_.kv_bytes_per_token, shape_.state_bytes.value_or(0), block);
    return absl::OkStatus();
  }
  std::vector<Kept> kept;
  for (int64_t i = slice_.begin_layer; i < slice_.end_layer; ++i) {
    const Layer& layer = shape_.kinds[shape_.stack[static_cast<size_t>(i)]];
    kept.insert(kept.end(), layer.kept.begin(), layer.kept.end());
  }
  if (slice_.drafts && slice_.last) {
    for (const Layer& draft : shape_.drafts) kept.insert(kept.end(), draft.kept.begin(), draft.kept.end());
  }
  DType kv_dtype = options_.kv_dtype;
  const bool indexed = std::any_of(kept.begin(), kept.end(), [](const Kept& k) { return k.kind == KeptKind::kIndex; });
  if (kv_dtype == DType::kFp8 && indexed && options_.profile.latent_fp8_is_ds_mla) kv_dtype = DType::kFp8DsMla;
  absl::StatusOr<PoolLayout> layout = PoolLayout::Compile(kept,
                                                          {.tensor_parallel = options_.tensor_parallel,
                                                           .kv_dtype = kv_dtype,
                                                           .model_dtype = options_.weights_dtype,
                                                           .block_tokens = options_.block_tokens,
                                                           .max_batched_tokens = options_.max_batched_tokens,
                                                           .speculative_tokens = options_.speculative_tokens},
                                                          options_.profile);
  if (!layout.ok()) return layout.status();
  layout_ = *std::move(layout);
  return absl::OkStatus();
}

absl::Status CostTable::CompileActivation() {
  if (shape_.hidden > 0 && shape_.layers() > 0) {
    if (absl::Status s = Set(&resident_bytes_per_token_,
                             ResidentActivationBytesPerToken(shape_, options_.weights_dtype), "activation of a token");
        !s.ok()) {
      return s;
    }
  }
  switch (options_.activation) {
    case ActivationMode::kResident:
      if (shape_.layers() == 0) return Missing("layers", "resident activation", "use batched activation");
      if (shape_.hidden == 0) return Missing("hidden", "resident activation", "use batched activation");
      activation_bytes_per_token_ = resident_bytes_per_token_;
      return absl::OkStatus();
    case ActivationMode::kBatched: {
      if (shape_.activation_bytes.has_value()) {
        activation_bytes_ = *shape_.activation_bytes;
        return absl::OkStatus();
      }
      constexpr char kPurpose[] = "batched activation";
      constexpr char kInstead[] = "set activation_bytes, or use resident activation";
      if (shape_.hidden == 0) return Missing("hidden", kPurpose, kInstead);
      if (shape_.vocab == 0) return Missing("vocab", kPurpose, kInstead);
      const StepShape step = {.tensor_parallel = options_.tensor_parallel,
                              .last_stage = slice_.last,
                              .batched_tokens = options_.max_batched_tokens,
                              .sequences = options_.max_sequences,
                              .context_tokens = options_.context_tokens,
                              .narrow_kv = !IsPlain(options_.kv_dtype)};
      if (options_.profile.ggml_compute) {
        return Set(&activation_bytes_, GgmlComputeBytes(shape_, step), "compute buffer");
      }
      if (shape_.intermediate == 0 && shape_.expert_intermediate == 0)
        return Missing("intermediate", kPurpose, kInstead);
      return Set(&activation_bytes_, BatchedActivationBytes(shape_, options_.weights_dtype, options_.profile, step),
                 "batched activation");
    }
  }
  CHECK(false, "CostTable: an activation mode outside of the enum");
}

RankCost CostTable::Price(int64_t prompt_tokens, int64_t output_tokens, int64_t sequences) const {
  CHECK(prompt_tokens >= 0 && output_tokens >= 0 && sequences >= 0, "CostTable::Price: a negative count");
  const int64_t tokens = SaturatingAdd(prompt_tokens, output_tokens);
  return {
      .kv_bytes = SaturatingMultiply(layout_.Bytes(tokens, Phase::kPeak), sequences),
      .activation_bytes = SaturatingMultiply(SaturatingMultiply(tokens, activation_bytes_per_token_), sequences),
  };
}

}  // namespace vramgate
