// Decoders whose layers carry the state of linear attention or of a convolution: DeltaNet, KDA, lightning, RWKV, LFM2.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "admission/estimator/experts.h"
#include "admission/estimator/latent_attention.h"
#include "admission/estimator/model_families.h"
#include "admission/estimator/state_mixers.h"

namespace vramgate {
namespace {

// Qwen3-Next, Qwen3.5: gated DeltaNet, and gated full attention every `full_attention_interval`-th layer.
void ReadQwenHybrid(JsonFields& f, ModelShape& s) {
  const bool experts = f.Has("num_experts");
  Decoder d = ReadDecoder(f, {.attention = {.head_dim = 256, .gated_output = true}, .rotary = 0.25}, !experts);
  if (experts) d.intermediate = f.Optional({"intermediate_size"}).value_or(0);
  d.attention.gated_output = f.Bool("attn_output_gate", true);
  d.attention.qkv_bias = d.attention.output_bias = f.Bool("attention_bias", false);
  d.attention.norms = 2 * d.attention.head_dim;
  const DeltaNetSizes linear{.key_heads = f.Required({"linear_num_key_heads"}),
                             .key_dim = f.Required({"linear_key_head_dim"}),
                             .value_heads = f.Required({"linear_num_value_heads"}),
                             .value_dim = f.Required({"linear_value_head_dim"}),
                             .kernel = f.Optional({"linear_conv_kernel_dim"}).value_or(4),
                             .state_dtype = ReadStateDType(f)};
  const int64_t interval = f.Optional({"full_attention_interval"}).value_or(4);
  const std::vector<std::string> types = LayerNames(f, "layer_types", d.layers);
  ExpertSizes e;
  if (experts) {
    e = {.experts = f.Required({"num_experts"}),
         .per_token = f.Required({"num_experts_per_tok"}),
         .intermediate = f.Required({"moe_intermediate_size"}),
         .shared = f.Optional({"shared_expert_intermediate_size"}, 0).value_or(0),
         .shared_gate = true,
         .shared_name = "shared_expert"};
  }
  const int64_t drafts = f.Optional({"mtp_num_hidden_layers", "num_nextn_predict_layers"}, 0).value_or(0);
  if (!f.status().ok()) return;
  const auto build = [&](bool full) {
    Layer layer;
    if (full) {
      AddAttention(layer, d.hidden, d.attention);
    } else {
      AddDeltaNet(layer, d.hidden, linear);
    }
    AddMlpOrExperts(layer, d, e, 0);
    AddNorms(layer, d.norms, d.hidden);
    return layer;
  };
  for (int64_t i = 0; i < d.layers; ++i) {
    bool full = (i + 1) % interval == 0;
    if (!types.empty()) {
      const std::string& type = types[static_cast<size_t>(i)];
      if (type != "full_attention" && type != "linear_attention") return FailKind(f, "layer_types", type);
      full = type == "full_attention";
    }
    s.Add(build(full));
  }
  for (int64_t i = 0; i < std::min<int64_t>(drafts, 64); ++i) {
    s.drafts.push_back(build(true));
    s.drafts.back().matrices.push_back(Linear("fc", Part::kMlp, WholeAxis(2 * d.hidden), WholeAxis(d.hidden)));
  }
  if (experts) NoteExperts(e, s);
  Finish(d, s);
  if (experts) s.intermediate = e.shared;
}

// Kimi-Linear: KDA, and latent attention without positions on the full layers; experts from a layer on.
void ReadKimiLinear(JsonFields& f, ModelShape& s) {
  Decoder d = ReadDecoder(f, {});
  const LatentSizes latent = ReadLatent(f);
  std::vector<int64_t> full;
  int64_t heads = 0;
  int64_t dim = 0;
  int64_t kernel = 4;
  if (const nlohmann::json* linear = f.Object("linear_attn_config")) {
    JsonFields inner(*linear, "linear_attn_config");
    full = inner.Counts("full_attn_layers");  // counted from 1
    heads = inner.Required({"num_heads"});
    dim = inner.Required({"head_dim"});
    kernel = inner.Optional({"short_conv_kernel_size"}).value_or(4);
    f.Adopt(inner.status());
  } else {
    f.Fail("linear_attn_config", "missing; without it the model cannot be priced");
  }
  const int64_t each = f.Required({"moe_intermediate_size"});
  const ExpertSizes e{.experts = f.Required({"num_experts", "n_routed_experts"}),
                      .per_token = f.Required({"num_experts_per_token", "num_experts_per_tok"}),
                      .intermediate = each,
                      .shared = each * f.Optional({"num_shared_experts", "n_shared_experts"}, 0).value_or(0),
                      .router_bias = true,
                      .block = "block_sparse_moe",
                      .dense = FirstDense(std::clamp<int64_t>(d.layers, 0, kMaxLayers),
                                          f.Optional({"first_k_dense_replace"}, 0).value_or(0))};
  if (!f.status().ok()) return;
  for (int64_t i = 0; i < d.layers; ++i) {
    Layer layer;
    if (std::find(full.begin(), full.end(), i + 1) != full.end()) {
      AddLatentAttention(layer, d.hidden, latent, false);
    } else {
      AddKda(layer, d.hidden, heads, dim, kernel);
    }
    AddMlpOrExperts(layer, d, e, i);
    AddNorms(layer, d.norms, d.hidden);
    s.Add(layer);
  }
  NoteExperts(e, s);
  d.rotary = f.Bool("mla_use_nope", false) ? 0 : 1;
  d.attention.head_dim = latent.rope;
  Finish(d, s);
}

// MiniMax-Text-01: lightning attention where attn_type_list has 0.
void ReadMiniMaxText(JsonFields& f, ModelShape& s) {
  Decoder d = ReadDecoder(f, {});
  const int64_t turned = f.Optional({"rotary_dim"}, 0).value_or(d.attention.head_dim);
  const ExpertSizes e{.experts = f.Required({"num_local_experts"}),
                      .per_token = f.Required({"num_experts_per_tok"}),
                      .intermediate = d.intermediate,
                      .block = "block_sparse_moe"};
  std::vector<int64_t> types = f.Counts("attn_type_list");
  if (types.empty()) {
    for (const std::string& type : LayerNames(f, "layer_types", d.layers))
      types.push_back(type == "full_attention" ? 1 : 0);
  }
  if (!f.status().ok()) return;
  if (static_cast<int64_t>(types.size()) != d.layers) {
    return f.Fail("attn_type_list", "a list with one number for each layer is expected");
  }
  d.rotary = static_cast<double>(turned) / static_cast<double>(d.attention.head_dim);
  for (int64_t i = 0; i < d.layers; ++i) {
    Layer layer;
    if (types[static_cast<size_t>(i)] != 0) {
      AddAttention(layer, d.hidden, d.attention);
    } else {
      AddLightning(layer, d.hidden, d.attention.heads, d.attention.head_dim);
    }
    AddMlpOrExperts(layer, d, e, i);
    AddNorms(layer, d.norms, d.hidden);
    s.Add(layer);
  }
  NoteExperts(e, s);
  Finish(d, s);
  s.intermediate = 0;
}

// LFM2: short convolutions, and attention where layer_types (or full_attn_idxs) says.
void ReadLfm2(JsonFields& f, ModelShape& s) {
  Decoder d = ReadDecoder(f, {.tied = true});
  d.attention.norms = 2 * d.attention.head_dim;
  const int64_t kernel = f.Optional({"conv_L_cache"}).value_or(3);
  const bool bias = f.Bool("conv_bias", false);
  if (f.Bool("block_auto_adjust_ff_dim", false)) {
    const int64_t multiple = f.Optional({"block_multiple_of"}).value_or(256);
    const double factor = f.Number("block_ffn_dim_multiplier", 1, 0.01, 100);
    const int64_t two_thirds = 2 * d.intermediate / 3;
    const auto adjusted = static_cast<int64_t>(factor * static_cast<double>(two_thirds));
    d.intermediate = (adjusted + multiple - 1) / multiple * multiple;
  }
  std::vector<std::string> types = LayerNames(f, "layer_types", d.layers);
  if (types.empty()) {
    types.assign(static_cast<size_t>(std::clamp<int64_t>(d.layers, 0, kMaxLayers)), "conv");
    for (const int64_t i : f.Counts("full_attn_idxs")) {
      if (i < d.layers) types[static_cast<size_t>(i)] = "full_attention";
    }
  }
  ExpertSizes e;
  if (f.Has("num_experts")) {
    e = {.experts = f.Required({"num_experts"}),
         .per_token = f.Required({"num_experts_per_tok"}),
         .intermediate = f.Required({"moe_intermediate_size"}),
         .router_bias = true,
         .block = "feed_forward",
         .dense =
             FirstDense(std::clamp<int64_t>(d.layers, 0, kMaxLayers), f.Optional({"num_dense_layers"}, 0).value_or(0))};
  }
  if (!f.status().ok()) return;
  for (int64_t i = 0; i < d.layers; ++i) {
    const std::string& type = types[static_cast<size_t>(i)];
    Layer layer;
    if (type == "full_attention") {
      AddAttention(layer, d.hidden, d.attention);
    } else if (type == "conv") {
      AddShortConv(layer, d.hidden, d.hidden, kernel, bias);
    } else {
      return FailKind(f, "layer_types", type);
    }
    AddMlpOrExperts(layer, d, e, i);
    AddNorms(layer, d.norms, d.hidden);
    s.Add(layer);
  }
  if (e.experts > 0) NoteExperts(e, s);
  Finish(d, s);
}

// RWKV-6 and -7: per layer, two shifted tokens and heads x head_size^2 in fp32. Weights are not counted.
void ReadRwkv(JsonFields& f, ModelShape& s) {
  Decoder d{.rotary = 0};
  d.layers = f.Required({"num_hidden_layers"});
  d.hidden = f.Required({"hidden_size"});
  d.vocab = f.Required({"vocab_size"});
  const int64_t inner = f.Optional({"attention_hidden_size"}).value_or(d.hidden);
  const int64_t size = f.Optional({"head_size", "head_dim"}).value_or(64);
  d.intermediate = f.Optional({"intermediate_size"}).value_or(4 * d.hidden);
  d.max_positions = f.Optional({"max_position_embeddings", "context_length"}).value_or(0);
  if (!f.status().ok()) return;
  Layer layer;
  layer.kept.push_back({.kind = KeptKind::kState,
                        .taps = 2,
                        .conv = {WholeAxis(d.hidden), Axis{0, 1, false}, Axis{0, 1, false}},
                        .state = SplitAxis(std::max<int64_t>(inner / size, 1), size * size),
                        .wide_state = true});
  for (int64_t i = 0; i < std::min(d.layers, kMaxLayers); ++i) s.Add(layer);
  Finish(d, s);
  s.counted = false;
}

}  // namespace

const std::vector<FamilyReader>& LinearFamilies() {
  static const auto* const families = new std::vector<FamilyReader>{
      {"kimi_linear", ReadKimiLinear},
      {"lfm2", ReadLfm2},
      {"lfm2_moe", ReadLfm2},
      {"minimax", ReadMiniMaxText},
      {"minimax_text_01", ReadMiniMaxText},
      {"qwen3_5_moe_text", ReadQwenHybrid},
      {"qwen3_5_text", ReadQwenHybrid},
      {"qwen3_next", ReadQwenHybrid},
      {"rwkv6", ReadRwkv},
      {"rwkv7", ReadRwkv},
  };
  return *families;
}

}  // namespace vramgate
