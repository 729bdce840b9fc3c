#include "admission/estimator/cost_table.h"

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "admission/check.h"
#include "admission/estimator/formulas.h"

namespace vramgate {
namespace {

constexpr int64_t kMaxStep = int64_t{1} << 30;  // tokens or sequences of one step, tokens of one block

absl::Status CheckRange(const char* name, int64_t value, int64_t max) {
  if (value >= 1 && value <= max) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(name, ": ", value, " must be from 1 to ", max));
}

absl::Status CheckOptions(const CostOptions& o) {
  for (const absl::Status& s :
       {CheckRange("tensor_parallel", o.tensor_parallel, 1024), CheckRange("block_tokens", o.block_tokens, kMaxStep),
        CheckRange("max_batched_tokens", o.max_batched_tokens, kMaxStep),
        CheckRange("max_sequences", o.max_sequences, kMaxStep)}) {
    if (!s.ok()) return s;
  }
  if (!(o.overhead_ratio >= 0 && o.overhead_ratio <= 10)) {  // also refuses NaN
    return absl::InvalidArgumentError(
        absl::StrCat("overhead: ", o.overhead_ratio, " must be from 0 to 10: a share of the weights, such as 0.15"));
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

}  // namespace

absl::StatusOr<CostTable> CostTable::Compile(const ModelShape& shape, const CostOptions& options) {
  if (absl::Status s = shape.Validate(); !s.ok()) return s;
  if (absl::Status s = CheckOptions(options); !s.ok()) return s;
  if (shape.heads % options.tensor_parallel != 0) {
    return absl::InvalidArgumentError(absl::StrCat("tensor_parallel: ", options.tensor_parallel,
                                                   " does not divide the ", shape.heads,
                                                   " heads: use a number of devices that does"));
  }
  CostTable table(shape, options);
  if (absl::Status s = table.CompileWeights(); !s.ok()) return s;
  if (absl::Status s = table.CompileKv(); !s.ok()) return s;
  if (absl::Status s = table.CompileActivation(); !s.ok()) return s;
  const Wide fixed = Wide{table.weights_bytes_} + table.activation_bytes_ + table.overhead_bytes_;
  if (absl::Status s = Narrow(fixed, "fixed bytes").status(); !s.ok()) return s;
  return table;
}

absl::Status CostTable::CompileWeights() {
  const int devices = options_.tensor_parallel;
  Wide weights = 0;
  if (shape_.counted) {
    if (absl::Status s = Set(&parameters_, CountParameters(shape_, 1).total(), "parameters"); !s.ok()) return s;
  }
  if (shape_.parameters.has_value()) parameters_ = *shape_.parameters;

  if (shape_.weights_bytes.has_value()) {
    weights = (Wide{*shape_.weights_bytes} + devices - 1) / devices;
  } else if (shape_.parameters.has_value()) {
    weights = ClassicalWeightsBytes(shape_, options_.weights_dtype, devices);
  } else if (shape_.counted) {
    const Wide rotary = RotaryCacheBytes(shape_, options_.weights_dtype);
    if (absl::Status s = Set(&rotary_cache_bytes_, rotary, "rotary cache"); !s.ok()) return s;
    weights = CountedWeightsBytes(shape_, options_.weights_dtype, devices) + rotary;
  } else {
    return Missing("parameters", "the weights", "set weights_bytes");
  }
  if (absl::Status s = Set(&weights_bytes_, weights, "weights"); !s.ok()) return s;
  return Set(&overhead_bytes_, OverheadBytes(weights_bytes_, options_.overhead_ratio), "overhead");
}

absl::Status CostTable::CompileKv() {
  if (shape_.kv_bytes_per_token.has_value()) {
    kv_bytes_per_token_ = *shape_.kv_bytes_per_token;
    return absl::OkStatus();
  }
  constexpr char kPurpose[] = "the KV of a token";
  constexpr char kInstead[] = "set kv_bytes_per_token";
  if (shape_.layers == 0) return Missing("layers", kPurpose, kInstead);
  if (shape_.KvHeads() == 0) return Missing("heads", kPurpose, kInstead);
  if (shape_.HeadDim() == 0) return Missing("head_dim", kPurpose, kInstead);
  return Set(&kv_bytes_per_token_, KvBytesPerToken(shape_, options_.kv_dtype, options_.tensor_parallel),
             "KV of a token");
}

absl::Status CostTable::CompileActivation() {
  switch (options_.activation) {
    case ActivationMode::kResident: {
      if (shape_.layers == 0) return Missing("layers", "resident activation", "use batched activation");
      if (shape_.hidden == 0) return Missing("hidden", "resident activation", "use batched activation");
      return Set(&activation_bytes_per_token_, ResidentActivationBytesPerToken(shape_, options_.weights_dtype),
                 "activation of a token");
    }
    case ActivationMode::kBatched: {
      if (shape_.activation_bytes.has_value()) {
        activation_bytes_ = *shape_.activation_bytes;
        return absl::OkStatus();
      }
      constexpr char kPurpose[] = "batched activation";
      constexpr char kInstead[] = "set activation_bytes, or use resident activation";
      if (shape_.hidden == 0) return Missing("hidden", kPurpose, kInstead);
      if (shape_.vocab == 0) return Missing("vocab", kPurpose, kInstead);
      if (shape_.intermediate == 0 && shape_.expert_intermediate == 0)
        return Missing("intermediate", kPurpose, kInstead);
      return Set(&activation_bytes_,
                 BatchedActivationBytes(shape_, options_.weights_dtype, options_.tensor_parallel,
                                        options_.max_batched_tokens, options_.max_sequences),
                 "batched activation");
    }
  }
  CHECK(false, "CostTable: an activation mode outside of the enum");
}

RankCost CostTable::Price(int64_t prompt_tokens, int64_t output_tokens, int64_t sequences) const {
  CHECK(prompt_tokens >= 0 && output_tokens >= 0 && sequences >= 0, "CostTable::Price: a negative count");
  const int64_t tokens = SaturatingAdd(prompt_tokens, output_tokens);
  const int64_t block = options_.block_tokens;
  const int64_t kv_tokens = SaturatingMultiply(tokens / block + (tokens % block != 0 ? 1 : 0), block);
  return {
      .kv_bytes = SaturatingMultiply(SaturatingMultiply(kv_tokens, kv_bytes_per_token_), sequences),
      .activation_bytes = SaturatingMultiply(SaturatingMultiply(tokens, activation_bytes_per_token_), sequences),
  };
}

}  // namespace vramgate
