#include "admission/estimator/estimate.h"

#include <algorithm>
#include <array>
#include <set>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "admission/check.h"
#include "admission/estimator/arithmetic.h"
#include "admission/units.h"

namespace vramgate {
namespace {

std::string Name(DType dtype) {
  return std::string(DTypeName(dtype));
}

std::string Ranks(const CostTable& t) {
  const int ranks = t.options().tensor_parallel * t.options().pipeline_parallel;
  return ranks == 1 ? "" : absl::StrCat(" / ", ranks, " devices");
}

// The formats that some matrix is stored in, besides the model's own.
std::set<std::string> FormatNames(const ModelShape& s) {
  std::set<std::string> names;
  for (const WeightFormat& format : s.formats) {
    if (format.bits > 0) names.insert(format.name);
  }
  return names;
}

std::string WeightsFormula(const CostTable& t) {
  const ModelShape& s = t.shape();
  const CostOptions& o = t.options();
  if (s.weights_bytes.has_value()) return absl::StrCat(*s.weights_bytes, " B as given", Ranks(t));
  if (s.parameters.has_value()) {
    const double original = s.parameter_bytes.value_or(static_cast<double>(DTypeBytes(o.weights_dtype)));
    return absl::StrCat(t.parameters(), " parameters x ", original, " B / quantization factor ",
                        s.quantization_factor.value_or(1), Ranks(t));
  }
  const std::string share = Ranks(t).empty() ? "" : ", this device's share";
  if (s.checkpoint_bytes.has_value()) return absl::StrCat(*s.checkpoint_bytes, " B in the checkpoint's tables", share);
  const std::set<std::string> formats = FormatNames(s);
  std::string text = absl::StrCat(t.parameters(), " parameters");
  if (formats.empty() && DTypeBytes(o.weights_dtype) > 1) {
    absl::StrAppend(&text, " x ", DTypeBytes(o.weights_dtype), " B (", Name(o.weights_dtype), ")");
  } else {
    const std::string names = formats.empty() ? Name(o.weights_dtype) : absl::StrJoin(formats, ", ");
    absl::StrAppend(&text, ": the layers' matrices in ", names, " with their scales, the rest at ",
                    std::max<int64_t>(2, DTypeBytes(o.weights_dtype)), " B");
  }
  return text + share;
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
      return absl::StrCat(s.hidden, " hidden x ", s.layers(), " layers x ", load.prompt_tokens + load.output_tokens,
                          " tokens", Sequences(load), " x ", std::max<int64_t>(2, DTypeBytes(o.weights_dtype)),
                          " B, all resident");
    case ActivationMode::kBatched:
      if (s.activation_bytes.has_value()) return absl::StrCat(*s.activation_bytes, " B as given");
      if (o.profile.ggml_compute) {
        return absl::StrCat("compute buffer: 16 x ", s.hidden, " hidden x ", o.max_batched_tokens,
                            " tokens + 3 x cells x tokens, logits of ", o.max_sequences, " slots");
      }
      return absl::StrCat("peak of one step of ", o.max_batched_tokens, " tokens and ", o.max_sequences,
                          " sequences (the larger of MLP and sampler), fixed");
  }
  CHECK(false, "ActivationFormula: a mode outside of the enum");
}

// One kind of layer: "32 layers x 8 KV heads x (128 + 128) x 2 B (bf16)".
std::string KeptWords(const Kept& k, int64_t layers, const CostOptions& o) {
  const auto heads = static_cast<int64_t>(CeilDivide(std::max<int64_t>(k.heads, 1), o.tensor_parallel));
  const char* const each = o.tensor_parallel > 1 ? " KV heads a device x (" : " KV heads x (";
  std::string sizes =
      absl::StrCat(layers, " layers x ", heads, each, k.key_dim, " + ", k.value_dim, ") x ", Name(o.kv_dtype));
  switch (k.kind) {
    case KeptKind::kTokens:
      return sizes;
    case KeptKind::kWindow:
      return absl::StrCat(sizes, " of the last ", k.span, " tokens");
    case KeptKind::kChunk:
      return absl::StrCat(sizes, " of a chunk of ", k.span, " tokens");
    case KeptKind::kEncoder:
      return absl::StrCat(sizes, " of ", k.span, " encoder tokens");
    case KeptKind::kLatent:
      return absl::StrCat(layers, " layers x ", k.width, " latent x ", Name(o.kv_dtype), ", not split");
    case KeptKind::kIndex:
      return absl::StrCat(layers, " indexers x ", k.width, " fp8 with scales");
    case KeptKind::kCompressed:
      return absl::StrCat(layers, " layers x ", k.width, " for each ", k.ratio, " tokens");
    case KeptKind::kRing:
      return absl::StrCat(layers, " layers x ", k.width, " of the last ", k.span, " tokens");
    case KeptKind::kState:
      return absl::StrCat(layers, " layers x a state");
  }
  CHECK(false, "KeptWords: a kind outside of the enum");
}

std::string KvFormula(const CostTable& t, const Load& load) {
  const ModelShape& s = t.shape();
  const std::string tokens = absl::StrCat(
      load.prompt_tokens + load.output_tokens, " tokens",
      t.layout().smallest_block() > 1 ? absl::StrCat(" in blocks of ", t.layout().smallest_block()) : std::string(),
      Sequences(load));
  if (s.kv_bytes_per_token.has_value()) return absl::StrCat(*s.kv_bytes_per_token, " B/token as given x ", tokens);
  std::vector<int64_t> layers(s.kinds.size(), 0);
  for (const uint16_t kind : s.stack) ++layers[kind];
  std::vector<std::pair<Kept, int64_t>> kept;
  for (size_t k = 0; k < s.kinds.size(); ++k) {
    for (const Kept& one : s.kinds[k].kept) {
      const auto same = std::find_if(kept.begin(), kept.end(), [&](const auto& p) { return p.first == one; });
      if (same == kept.end()) {
        kept.emplace_back(one, layers[k]);
      } else {
        same->second += layers[k];
      }
    }
  }
  std::vector<std::string> words;
  for (size_t i = 0; i < kept.size() && i < 6; ++i)
    words.push_back(KeptWords(kept[i].first, kept[i].second, t.options()));
  if (kept.size() > 6) words.push_back(absl::StrCat("what ", kept.size() - 6, " more kinds of layers keep"));
  return absl::StrCat("(", absl::StrJoin(words, " + "), ") x ", tokens);
}

std::string Gib(int64_t bytes) {
  return absl::StrFormat("%.2f GiB", static_cast<double>(bytes) / static_cast<double>(kGiB));
}

std::string OverheadFormula(const CostTable& t) {
  if (!t.overhead_measured()) {
    return absl::StrCat(t.options().overhead_ratio.value_or(kOverheadRatio), " x ", t.weights_bytes(), " B");
  }
  return absl::StrCat("context ", Gib(t.context_bytes()), " + libraries and communicators ", Gib(t.non_torch_bytes()),
                      " + CUDA graphs ", Gib(t.graph_bytes()), ", by the table of ", t.options().profile.name);
}

std::vector<Term> Terms(const CostTable& t, const Load& load, const RankCost& cost) {
  const bool resident = t.options().activation == ActivationMode::kResident;
  const std::string activation = ActivationFormula(t, load);
  std::vector<Term> terms;
  terms.push_back({"weights", t.weights_bytes() - t.rotary_bytes(), WeightsFormula(t), false});
  if (t.rotary_bytes() > 0) {
    std::vector<std::string> tables;
    for (const RotaryTable& table : t.shape().rotary) {
      tables.push_back(absl::StrCat(table.positions, " positions x ", table.dim));
    }
    const int64_t element = std::max<int64_t>(2, DTypeBytes(t.options().weights_dtype));
    const bool several = tables.size() > 1;
    terms.push_back(
        {"rotary_cache", t.rotary_bytes(),
         absl::StrCat(several ? "(" : "", absl::StrJoin(tables, " + "), several ? ") x " : " x ", element, " B"),
         false});
  }
  if (!resident) terms.push_back({"activation", t.activation_bytes(), activation, false});
  terms.push_back({"overhead", t.overhead_bytes(), OverheadFormula(t), false});
  terms.push_back({"kv", cost.kv_bytes, KvFormula(t, load), true});
  if (resident) terms.push_back({"activation", cost.activation_bytes, activation, true});
  return terms;
}

// The types of the weights as a profile's rows name them.
std::string WeightsName(const CostTable& t) {
  const std::set<std::string> formats = FormatNames(t.shape());
  return formats.empty() ? Name(t.options().weights_dtype) : absl::StrJoin(formats, "+");
}

bool IsMeasured(const CostTable& t) {
  const ModelShape& s = t.shape();
  const CostOptions& o = t.options();
  // The rows are of engines run plainly, on one, two and four devices.
  if (o.tensor_parallel > 4 || o.expert_parallel || o.speculative_tokens > 0 || o.lora_rank > 0) return false;
  const bool by_hand = s.weights_bytes || s.parameters || s.kv_bytes_per_token || s.activation_bytes;
  if (by_hand || t.options().overhead_ratio || t.options().pipeline_parallel > 1) return false;
  const std::string weights = WeightsName(t);
  const auto has = [](const auto& list, const auto& value) {
    return std::find(list.begin(), list.end(), value) != list.end();
  };
  const auto& rows = t.options().profile.measured;
  return std::any_of(rows.begin(), rows.end(), [&](const EngineProfile::Measured& m) {
    return has(m.families, s.family) && has(m.weights, weights) && has(m.kv, t.options().kv_dtype);
  });
}

Quality QualityOf(const CostTable& t) {
  const bool resident = t.options().activation == ActivationMode::kResident;
  if (resident || (t.shape().bounded && !t.shape().kv_bytes_per_token)) return Quality::kUpperBound;
  return IsMeasured(t) ? Quality::kExact : Quality::kProfile;
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
  if (SaturatingAdd(load.prompt_tokens, load.output_tokens) == kMaxBytes) {
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
  const int64_t tokens = load.prompt_tokens + load.output_tokens;
  Estimate e;
  e.weights_bytes = table.weights_bytes();
  e.overhead_bytes = table.overhead_bytes();
  e.kv_bytes_per_token = table.kv_bytes_per_token();
  e.kv_bytes_per_request = cost.kv_bytes;
  e.kv_bytes_per_request_steady = SaturatingMultiply(table.KvBytes(tokens, Phase::kSteady), load.sequences);
  e.state_bytes_per_request = tokens > 0 ? SaturatingMultiply(table.layout().state_bytes(), load.sequences) : 0;
  e.activation_bytes_per_request = cost.activation_bytes;
  e.activation_resident_bytes = SaturatingMultiply(
      SaturatingMultiply(SaturatingMultiply(tokens, table.resident_bytes_per_token()), load.sequences),
      load.concurrency);
  e.kv_bytes = SaturatingMultiply(cost.kv_bytes, load.concurrency);
  e.activation_bytes =
      SaturatingAdd(table.activation_bytes(), SaturatingMultiply(cost.activation_bytes, load.concurrency));
  e.total_bytes =
      SaturatingAdd(SaturatingAdd(e.weights_bytes, e.overhead_bytes), SaturatingAdd(e.kv_bytes, e.activation_bytes));
  if (e.total_bytes == kMaxBytes) {
    return absl::OutOfRangeError("total: more than 8 EiB, no device holds that: use fewer tokens or requests");
  }
  e.quality = QualityOf(table);
  e.terms = Terms(table, load, cost);
  return e;
}

}  // namespace vramgate
