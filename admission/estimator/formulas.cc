#include "admission/estimator/formulas.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "admission/check.h"

namespace vramgate {
namespace {

constexpr int64_t kMax = std::numeric_limits<int64_t>::max();

Wide CeilDivide(Wide a, Wide b) {
  return (a + b - 1) / b;
}

// A factor as a whole number of millionths, so that products of it are exact.
Wide Millionths(double factor) {
  return static_cast<Wide>(std::llround(factor * 1e6));
}

// One matrix of a layer, `in` x `out`, with or without a bias of `out`. Its bias is split like its outputs.
void AddLinear(ParameterCounts& counts, Wide in, Wide out, bool bias) {
  counts.linear += in * out;
  counts.linear_outputs += out;
  if (bias) counts.rest += out;
}

void AddMlp(ParameterCounts& counts, const ModelShape& s, Wide intermediate) {
  AddLinear(counts, s.hidden, intermediate * (s.gated_mlp ? 2 : 1), s.mlp_bias);
  AddLinear(counts, intermediate, s.hidden, s.mlp_bias);
}

ParameterCounts Times(Wide n, const ParameterCounts& c) {
  return {n * c.linear, n * c.linear_outputs, n * c.rest};
}

ParameterCounts Plus(const ParameterCounts& a, const ParameterCounts& b) {
  return {a.linear + b.linear, a.linear_outputs + b.linear_outputs, a.rest + b.rest};
}

ParameterCounts AttentionParameters(const ModelShape& s, int tensor_parallel) {
  const Wide query = CeilDivide(s.heads, tensor_parallel) * s.HeadDim();
  const Wide key_value = Wide{KvHeadsPerDevice(s, tensor_parallel)} * s.HeadDim();
  ParameterCounts counts;
  AddLinear(counts, s.hidden, query + 2 * key_value, s.qkv_bias);
  AddLinear(counts, query, s.hidden, s.output_bias);
  counts.rest += Wide{s.layer_norms} * s.hidden + s.qk_norm_elements;
  return counts;
}

ParameterCounts ExpertParameters(const ModelShape& s, int tensor_parallel) {
  ParameterCounts expert;
  AddMlp(expert, s, CeilDivide(s.expert_intermediate, tensor_parallel));
  ParameterCounts counts = Times(s.experts, expert);
  counts.rest += Wide{s.hidden} * s.experts;  // the router
  if (s.shared_intermediate > 0) {
    AddMlp(counts, s, CeilDivide(s.shared_intermediate, tensor_parallel));
    counts.rest += s.hidden;  // its gate
  }
  return counts;
}

}  // namespace

absl::StatusOr<int64_t> Narrow(Wide value, const char* what) {
  CHECK(value >= 0, "Narrow: a negative size");
  if (value > kMax) return absl::OutOfRangeError(absl::StrCat(what, ": more than 8 EiB, no device holds that"));
  return static_cast<int64_t>(value);
}

int64_t SaturatingMultiply(int64_t a, int64_t b) {
  int64_t product = 0;
  return __builtin_mul_overflow(a, b, &product) ? kMax : product;
}

int64_t SaturatingAdd(int64_t a, int64_t b) {
  int64_t sum = 0;
  return __builtin_add_overflow(a, b, &sum) ? kMax : sum;
}

ParameterCounts CountParameters(const ModelShape& s, int tensor_parallel) {
  CHECK(s.counted, "CountParameters: the shape does not describe every matrix");
  ParameterCounts dense;
  AddMlp(dense, s, CeilDivide(s.intermediate, tensor_parallel));

  ParameterCounts counts = Times(s.layers, AttentionParameters(s, tensor_parallel));
  counts = Plus(counts, Times(s.layers - s.sparse_layers, dense));
  if (s.sparse_layers > 0) counts = Plus(counts, Times(s.sparse_layers, ExpertParameters(s, tensor_parallel)));

  const Wide vocab = CeilDivide(s.vocab, tensor_parallel);
  counts.rest += vocab * s.hidden * (s.tied_embeddings ? 1 : 2);
  if (s.lm_head_bias) counts.rest += vocab;
  counts.rest += Wide{s.learned_positions + s.final_norms} * s.hidden;
  return counts;
}

Wide CountedWeightsBytes(const ModelShape& s, DType dtype, int tensor_parallel) {
  const ParameterCounts counts = CountParameters(s, tensor_parallel);
  const DType linear = s.linear_dtype.value_or(dtype);
  const Wide scales = DTypeBytes(linear) == 1 ? counts.linear_outputs * 4 : 0;
  return counts.linear * DTypeBytes(linear) + scales + counts.rest * ActivationElementBytes(dtype);
}

Wide ClassicalWeightsBytes(const ModelShape& s, DType dtype, int tensor_parallel) {
  const double original_bytes = s.parameter_bytes.value_or(static_cast<double>(DTypeBytes(dtype)));
  const Wide factor = Millionths(s.quantization_factor.value_or(1));
  return CeilDivide(*s.parameters * Millionths(original_bytes), factor * tensor_parallel);
}

Wide RotaryCacheBytes(const ModelShape& s, DType dtype) {
  return Wide{s.max_positions} * s.rotary_dim * ActivationElementBytes(dtype);
}

int64_t KvHeadsPerDevice(const ModelShape& s, int tensor_parallel) {
  return static_cast<int64_t>(CeilDivide(s.KvHeads(), tensor_parallel));
}

Wide KvBytesPerToken(const ModelShape& s, DType kv_dtype, int tensor_parallel) {
  return Wide{2} * s.layers * KvHeadsPerDevice(s, tensor_parallel) * s.HeadDim() * DTypeBytes(kv_dtype);
}

int64_t ActivationElementBytes(DType dtype) {
  return std::max<int64_t>(2, DTypeBytes(dtype));
}

Wide ResidentActivationBytesPerToken(const ModelShape& s, DType dtype) {
  return Wide{s.hidden} * s.layers * ActivationElementBytes(dtype);
}

Wide BatchedActivationBytes(const ModelShape& s, DType dtype, int tensor_parallel, int64_t batched_tokens,
                            int64_t sequences) {
  const Wide element = ActivationElementBytes(dtype);
  const Wide step = batched_tokens * element;
  const Wide mlp =
      step * (3 * CeilDivide(std::max(s.intermediate, s.shared_intermediate), tensor_parallel) + 4 * s.hidden);
  Wide experts = 0;
  if (s.sparse_layers > 0) {
    const Wide expert = CeilDivide(s.expert_intermediate, tensor_parallel);
    experts = step * (s.experts_per_token * (std::max<Wide>(2 * expert, s.hidden) + expert) + s.hidden);
  }
  const Wide sampler = Wide{std::min(sequences, batched_tokens)} * s.vocab * (13 + element) + step * s.hidden + experts;
  return std::max(mlp, sampler);
}

Wide OverheadBytes(int64_t weights_bytes, double ratio) {
  constexpr Wide kBillion = 1'000'000'000;
  return CeilDivide(Wide{weights_bytes} * std::llround(ratio * 1e9), kBillion);
}

}  // namespace vramgate
