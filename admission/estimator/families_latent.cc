// Decoders with latent attention, and DeepSeek-V4's compressed attention.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "admission/estimator/experts.h"
#include "admission/estimator/latent_attention.h"
#include "admission/estimator/model_families.h"

namespace vramgate {
namespace {

constexpr int64_t kMaxDrafts = 64;

// Sizes that do not depend on how a layer attends.
Decoder ReadOuter(JsonFields& f, bool with_mlp) {
  Decoder d;
  d.layers = f.Required({"num_hidden_layers", "num_layers"});
  if (d.layers > kMaxLayers) f.Fail("num_hidden_layers", absl::StrCat(d.layers, " must be from 1 to ", kMaxLayers));
  d.hidden = f.Required({"hidden_size"});
  d.attention.heads = f.Required({"num_attention_heads"});
  d.vocab = f.Required({"vocab_size"});
  if (with_mlp) d.intermediate = f.Required({"intermediate_size"});
  d.max_positions = f.Optional({"max_position_embeddings"}).value_or(0);
  d.tied = f.Bool("tie_word_embeddings", false);
  return d;
}

ExpertSizes ReadDeepSeekExperts(JsonFields& f, const Decoder& d) {
  if (!f.Has("n_routed_experts")) return {};  // dense all the way
  ExpertSizes e{.experts = f.Required({"n_routed_experts"}),
                .per_token = f.Required({"num_experts_per_tok", "moe_topk"}),
                .intermediate = f.Required({"moe_intermediate_size", "expert_ffn_hidden_size"}),
                .router_bias = true,
                .dense = FirstDense(std::clamp<int64_t>(d.layers, 0, kMaxLayers),
                                    f.Optional({"first_k_dense_replace"}, 0).value_or(0))};
  e.shared = e.intermediate * f.Optional({"n_shared_experts"}, 0).value_or(0);
  const nlohmann::json* step = f.Find("moe_layer_freq");
  if (step != nullptr && step->is_number_integer()) {
    const int64_t every = f.Required({"moe_layer_freq"});
    for (size_t i = 0; every > 0 && i < e.dense.size(); ++i) {
      e.dense[i] = e.dense[i] || static_cast<int64_t>(i) % every != 0;
    }
  }
  return e;
}

// GLM-5.2 on: only layers of type "full" have an indexer of their own.
std::vector<bool> ReadIndexers(JsonFields& f, int64_t layers) {
  const std::vector<std::string> types = LayerNames(f, "indexer_types", layers);
  std::vector<bool> own(static_cast<size_t>(std::clamp<int64_t>(layers, 0, kMaxLayers)), true);
  for (size_t i = 0; i < types.size(); ++i) own[i] = types[i] == "full";
  return own;
}

void ReadDeepSeek(JsonFields& f, ModelShape& s) {
  Decoder d = ReadOuter(f, /*with_mlp=*/true);
  const LatentSizes latent = ReadLatent(f);
  const ExpertSizes e = ReadDeepSeekExperts(f, d);
  const std::vector<bool> own_indexer = ReadIndexers(f, d.layers);
  const int64_t drafts = f.Optional({"num_nextn_predict_layers"}, 0).value_or(0);
  if (e.per_token > e.experts) f.Fail("num_experts_per_tok", "more than there are experts");
  if (!f.status().ok()) return;
  for (int64_t i = 0; i < d.layers; ++i) {
    Layer layer;
    AddLatentAttention(layer, d.hidden, latent, own_indexer[static_cast<size_t>(i)]);
    AddMlpOrExperts(layer, d, e, i);
    AddNorms(layer, d.norms, d.hidden);
    s.Add(layer);
  }
  for (int64_t i = 0; i < std::min(drafts, kMaxDrafts); ++i) {
    Layer draft = s.kinds[s.stack.back()];
    draft.matrices.push_back(Linear("eh_proj", Part::kMlp, WholeAxis(2 * d.hidden), WholeAxis(d.hidden)));
    s.drafts.push_back(draft);
  }
  if (e.experts > 0) NoteExperts(e, s);
  d.attention.head_dim = latent.rope;
  Finish(d, s);
}

// LongCat-Flash: two latent attentions and two dense MLPs in a layer, beside experts of which some do nothing.
void ReadLongcat(JsonFields& f, ModelShape& s) {
  Decoder d = ReadOuter(f, /*with_mlp=*/false);
  d.layers = f.Optional({"num_layers"}).value_or(d.layers);
  d.intermediate = f.Required({"ffn_hidden_size", "intermediate_size"});
  const LatentSizes latent = ReadLatent(f);
  const ExpertSizes e{.experts = f.Required({"n_routed_experts"}),
                      .per_token = f.Required({"moe_topk", "num_experts_per_tok"}),
                      .intermediate = f.Required({"expert_ffn_hidden_size", "moe_intermediate_size"}),
                      .router_bias = true};
  if (!f.status().ok()) return;
  for (int64_t i = 0; i < std::min(d.layers, kMaxLayers); ++i) {
    Layer layer;
    for (int half = 0; half < 2; ++half) {
      AddLatentAttention(layer, d.hidden, latent, false);
      AddMlp(layer, d.hidden, d.intermediate, {.name = "mlps"});
    }
    AddExperts(layer, d.hidden, e);
    AddNorms(layer, 4, d.hidden);
    s.Add(layer);
  }
  NoteExperts(e, s);
  d.attention.head_dim = latent.rope;
  Finish(d, s);
}

struct CompressedSizes {
  int64_t heads, dim, rope, query_rank, output_groups, output_rank, window, index_heads, index_dim;
};

// A compressor pools `ratio` tokens into an entry of `dim`; entries of ratio 4 overlap, so it works on twice as much.
// What it holds of unfinished entries is in fp32: values and scores (DeepSeek-V4's published inference code,
// Compressor).
void AddCompressor(Layer& layer, const char* name, int64_t hidden, int64_t dim, int64_t ratio) {
  const int64_t overlap = ratio == 4 ? 2 : 1;
  layer.matrices.push_back(
      Linear(absl::StrCat(name, ".wkv_gate"), Part::kRouter, WholeAxis(hidden), WholeAxis(2 * overlap * dim)));
  layer.matrices.push_back(Norm(absl::StrCat(name, ".ape"), ratio * overlap * dim + dim));
  layer.kept.push_back(
      {.kind = KeptKind::kState, .state = WholeAxis(2 * overlap * ratio * overlap * dim), .wide_state = true});
}

void AddCompressedAttention(Layer& layer, int64_t hidden, const CompressedSizes& a, int64_t ratio) {
  const auto add = [&](const char* name, Axis in, Axis out) {
    layer.matrices.push_back(Linear(name, Part::kAttention, in, out));
  };
  add("attn.wq_a", WholeAxis(hidden), WholeAxis(a.query_rank));
  add("attn.wq_b", WholeAxis(a.query_rank), SplitAxis(a.heads, a.dim));
  add("attn.wkv", WholeAxis(hidden), WholeAxis(a.dim));
  add("attn.wo_a", SplitAxis(a.heads, a.dim), WholeAxis(a.output_rank));
  add("attn.wo_b", SplitAxis(a.output_groups, a.output_rank), WholeAxis(hidden));
  layer.matrices.push_back(Norm("attn.norms", a.query_rank + a.dim + a.heads));
  layer.kept.push_back({.kind = KeptKind::kRing, .width = a.dim, .rope = a.rope, .span = a.window});
  if (ratio == 0) return;
  AddCompressor(layer, "attn.compressor", hidden, a.dim, ratio);
  layer.kept.push_back({.kind = KeptKind::kCompressed, .width = a.dim, .rope = a.rope, .ratio = ratio});
  if (ratio != 4) return;
  add("attn.indexer.wq_b", WholeAxis(a.query_rank), WholeAxis(a.index_heads * a.index_dim));
  layer.matrices.push_back(
      Linear("attn.indexer.weights_proj", Part::kRouter, WholeAxis(hidden), WholeAxis(a.index_heads)));
  AddCompressor(layer, "attn.indexer.compressor", hidden, a.index_dim, ratio);
  layer.kept.push_back({.kind = KeptKind::kIndex, .width = a.index_dim, .ratio = ratio});
}

void ReadDeepSeekV4(JsonFields& f, ModelShape& s) {
  Decoder d = ReadOuter(f, /*with_mlp=*/false);
  const CompressedSizes a{.heads = d.attention.heads,
                          .dim = f.Required({"head_dim"}),
                          .rope = f.Required({"qk_rope_head_dim"}),
                          .query_rank = f.Required({"q_lora_rank"}),
                          .output_groups = f.Required({"o_groups"}),
                          .output_rank = f.Required({"o_lora_rank"}),
                          .window = f.Required({"sliding_window"}),
                          .index_heads = f.Required({"index_n_heads"}),
                          .index_dim = f.Required({"index_head_dim"})};
  const std::vector<int64_t> ratios = f.Counts("compress_ratios");
  const ExpertSizes e{
      .experts = f.Required({"n_routed_experts"}),
      .per_token = f.Required({"num_experts_per_tok"}),
      .intermediate = f.Required({"moe_intermediate_size"}),
      .shared = f.Optional({"moe_intermediate_size"}).value_or(0) * f.Optional({"n_shared_experts"}, 0).value_or(0),
      .router_bias = true,
      .block = "ffn"};
  const int64_t streams = f.Optional({"hc_mult"}).value_or(1);
  const int64_t drafts = f.Optional({"num_nextn_predict_layers"}, 0).value_or(0);
  if (!f.status().ok()) return;
  if (static_cast<int64_t>(ratios.size()) < d.layers) {
    return f.Fail("compress_ratios", "one number for each layer is expected");
  }
  if (a.heads % a.output_groups != 0) return f.Fail("o_groups", "must divide num_attention_heads");
  if (streams > 64) return f.Fail("hc_mult", "more than 64 copies of the hidden state are not believed");
  for (const int64_t ratio : ratios) {
    if (ratio != 0 && ratio != 4 && ratio != 128) {
      return f.Fail("compress_ratios", absl::StrCat(ratio, " is not a known ratio (0, 4, 128): ", kOverrideHint));
    }
  }
  const auto build = [&](int64_t ratio) {
    Layer layer;
    AddCompressedAttention(layer, d.hidden, a, ratio);
    AddExperts(layer, d.hidden, e);
    AddNorms(layer, d.norms, d.hidden);
    // Hyper-connections mix `streams` copies of the hidden state before attention and before the experts, in fp32.
    layer.matrices.push_back(Norm("hc", 2 * 2 * (streams * streams + 2 * streams) * streams * d.hidden));
    return layer;
  };
  for (int64_t i = 0; i < d.layers; ++i) s.Add(build(ratios[static_cast<size_t>(i)]));
  for (int64_t i = 0; i < std::min(drafts, kMaxDrafts); ++i) {
    const auto at = static_cast<size_t>(d.layers + i);
    s.drafts.push_back(build(at < ratios.size() ? ratios[at] : 0));
  }
  NoteExperts(e, s);
  d.attention.head_dim = a.rope;
  Finish(d, s);
}

}  // namespace

const std::vector<FamilyReader>& LatentFamilies() {
  static const auto* const families = new std::vector<FamilyReader>{
      {"deepseek_ref", ReadDeepSeekV4},  {"deepseek_v2", ReadDeepSeek},   {"deepseek_v3", ReadDeepSeek},
      {"deepseek_v32", ReadDeepSeek},    {"deepseek_v4", ReadDeepSeekV4}, {"glm4_moe_lite", ReadDeepSeek},
      {"glm_moe_dsa", ReadDeepSeek},     {"kimi_k2", ReadDeepSeek},       {"longcat_flash", ReadLongcat},
      {"pangu_ultra_moe", ReadDeepSeek},
  };
  return *families;
}

}  // namespace vramgate
