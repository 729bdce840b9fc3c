#include "admission/estimator/estimate.h"

#include <array>
#include <limits>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "admission/check.h"
#include "admission/estimator/formulas.h"

namespace vramgate {
namespace {

constexpr int64_t kMax = std::numeric_limits<int64_t>::max();

std::string Name(DType dtype) {
  return std::string(DTypeName(dtype));
}

std::string Devices(int tensor_parallel) {
  return tensor_parallel == 1 ? "" : absl::StrCat(" / ", tensor_parallel, " devices");
}

std::string WeightsFormula(const CostTable& t) {
  const ModelShape& s = t.shape();
  const CostOptions& o = t.options();
  const std::string split = Devices(o.tensor_parallel);
  if (s.weights_bytes.has_value()) return absl::StrCat(*s.weights_bytes, " B as given", split);
  if (s.parameters.has_value()) {
    const double original = s.parameter_bytes.value_or(static_cast<double>(DTypeBytes(o.weights_dtype)));
    return absl::StrCat(t.parameters(), " parameters x ", original, " B / quantization factor ",
                        s.quantization_factor.value_or(1), split);
  }
  const DType linear = s.linear_dtype.value_or(o.weights_dtype);
  if (DTypeBytes(linear) > 1) {
    return absl::StrCat(t.parameters(), " parameters x ", DTypeBytes(linear), " B (", Name(linear), ")",
                        split.empty() ? "" : " on this device's share");
  }
  return absl::StrCat(t.parameters(), " parameters: the layers' matrices x 1 B (", Name(linear),
                      ") + 4 B for each output channel, the rest x ", ActivationElementBytes(o.weights_dtype), " B",
                      split.empty() ? "" : ", on this device's share");
}

// " x 4 sequences", nothing for the usual one.
std::string Sequences(const Load& load) {
  return load.sequences == 1 ? "" : absl::StrCat(" x ", load.sequences, " sequences");
}

std::string ActivationFormula(const CostTable& t, const Load& load) {
  const ModelShape& s = t.shape();
  const CostOptions& o = t.options();
  switch (o.activation) {
    case ActivationMode::kResident:
      return absl::StrCat("resident: hidden ", s.hidden, " x ", load.prompt_tokens + load.output_tokens, " tokens",
                          Sequences(load), " x ", s.layers, " layers x ", ActivationElementBytes(o.weights_dtype),
                          " B");
    case ActivationMode::kBatched:
      if (s.activation_bytes.has_value()) return absl::StrCat("batched: ", *s.activation_bytes, " B as given");
      return absl::StrCat("batched: peak of a step of ", o.max_batched_tokens, " tokens and ", o.max_sequences,
                          " sequences (the larger of MLP and sampler), fixed");
  }
  CHECK(false, "ActivationFormula: a mode outside of the enum");
}

std::string KvFormula(const CostTable& t, const Load& load) {
  const ModelShape& s = t.shape();
  const CostOptions& o = t.options();
  const std::string tokens = absl::StrCat(
      load.prompt_tokens + load.output_tokens, " tokens",
      o.block_tokens > 1 ? absl::StrCat(" in blocks of ", o.block_tokens) : std::string(), Sequences(load));
  if (s.kv_bytes_per_token.has_value()) return absl::StrCat(*s.kv_bytes_per_token, " B/token as given x ", tokens);
  return absl::StrCat("2 x ", s.layers, " layers x ", KvHeadsPerDevice(s, o.tensor_parallel), " KV heads x ",
                      s.HeadDim(), " head dim x ", tokens, " x ", DTypeBytes(o.kv_dtype), " B (", Name(o.kv_dtype), ")",
                      s.windowed ? ", windows priced as full attention" : "");
}

std::vector<Term> Terms(const CostTable& t, const Load& load, const RankCost& cost) {
  const bool resident = t.options().activation == ActivationMode::kResident;
  const std::string activation = ActivationFormula(t, load);
  std::vector<Term> terms;
  terms.push_back({"weights", t.weights_bytes() - t.rotary_cache_bytes(), WeightsFormula(t), false});
  if (t.rotary_cache_bytes() > 0) {
    terms.push_back({"rotary_cache", t.rotary_cache_bytes(),
                     absl::StrCat(t.shape().max_positions, " positions x ", t.shape().rotary_dim, " x ",
                                  ActivationElementBytes(t.options().weights_dtype), " B"),
                     false});
  }
  if (!resident) terms.push_back({"activation", t.activation_bytes(), activation, false});
  terms.push_back({"overhead", t.overhead_bytes(),
                   absl::StrCat(t.options().overhead_ratio, " x ", t.weights_bytes(), " B"), false});
  terms.push_back({"kv", cost.kv_bytes, KvFormula(t, load), true});
  if (resident) terms.push_back({"activation", cost.activation_bytes, activation, true});
  return terms;
}

Quality QualityOf(const CostTable& t) {
  const bool bounded_window = t.shape().windowed && !t.shape().kv_bytes_per_token.has_value();
  const bool resident = t.options().activation == ActivationMode::kResident;
  return bounded_window || resident ? Quality::kUpperBound : Quality::kProfile;
}

absl::Status CheckLoad(const Load& load) {
  struct Count {
    const char* name;
    int64_t value;
    int64_t min;
  };
  const std::array<Count, 4> counts = {{{"prompt_tokens", load.prompt_tokens, 0},
                                        {"output_tokens", load.output_tokens, 0},
                                        {"sequences", load.sequences, 1},
                                        {"concurrency", load.concurrency, 1}}};
  for (const Count& c : counts) {
    if (c.value < c.min) {
      return absl::InvalidArgumentError(absl::StrCat(c.name, ": ", c.value, " must be at least ", c.min));
    }
  }
  if (SaturatingAdd(load.prompt_tokens, load.output_tokens) == kMax) {
    return absl::OutOfRangeError("prompt_tokens: with output_tokens more than 2^63 tokens");
  }
  return absl::OkStatus();
}

}  // namespace

std::string_view QualityName(Quality quality) {
  switch (quality) {
    case Quality::kExact:
      return "EXACT";
    case Quality::kProfile:
      return "PROFILE";
    case Quality::kUpperBound:
      return "UPPER_BOUND";
  }
  CHECK(false, "QualityName: a value outside of the enum");
}

absl::StatusOr<Estimate> EstimateCard(const CostTable& table, const Load& load) {
  if (absl::Status s = CheckLoad(load); !s.ok()) return s;
  const RankCost cost = table.Price(load.prompt_tokens, load.output_tokens, load.sequences);
  Estimate e;
  e.weights_bytes = table.weights_bytes();
  e.overhead_bytes = table.overhead_bytes();
  e.kv_bytes_per_token = table.kv_bytes_per_token();
  e.kv_bytes_per_request = cost.kv_bytes;
  e.activation_bytes_per_request = cost.activation_bytes;
  e.kv_bytes = SaturatingMultiply(cost.kv_bytes, load.concurrency);
  e.activation_bytes =
      SaturatingAdd(table.activation_bytes(), SaturatingMultiply(cost.activation_bytes, load.concurrency));
  e.total_bytes =
      SaturatingAdd(SaturatingAdd(e.weights_bytes, e.overhead_bytes), SaturatingAdd(e.kv_bytes, e.activation_bytes));
  if (e.total_bytes == kMax) {
    return absl::OutOfRangeError("total: more than 8 EiB, no device holds that: use fewer tokens or requests");
  }
  e.quality = QualityOf(table);
  e.terms = Terms(table, load, cost);
  return e;
}

}  // namespace vramgate
