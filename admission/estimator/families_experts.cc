// Decoders with routed experts, all of whose layers attend in the plain way.
#include <algorithm>

#include "admission/estimator/experts.h"
#include "admission/estimator/model_families.h"
#include "admission/estimator/spans.h"

namespace vramgate {
namespace {

void ReadMixtral(JsonFields& f, ModelShape& s) {
  const Decoder d = ReadDecoder(f, {});
  const ExpertSizes e{.experts = f.Required({"num_local_experts"}),
                      .per_token = f.Required({"num_experts_per_tok"}),
                      .intermediate = d.intermediate,
                      .block = "block_sparse_moe"};
  StackExperts(f, d, e, ReadSpans(f, d.layers, {.window_on = true}), s);
}

// Every `decoder_sparse_step`-th layer has experts, unless listed in `mlp_only_layers`.
ExpertSizes ReadQwenExperts(JsonFields& f, const Decoder& d) {
  ExpertSizes e{.experts = f.Required({"num_experts"}),
                .per_token = f.Required({"num_experts_per_tok"}),
                .intermediate = f.Required({"moe_intermediate_size"}),
                .shared_name = "shared_expert"};
  const int64_t step = f.Optional({"decoder_sparse_step"}).value_or(1);
  const std::vector<int64_t> only = f.Counts("mlp_only_layers");
  if (!f.status().ok()) return e;
  for (int64_t i = 0; i < d.layers; ++i) {
    e.dense.push_back((i + 1) % step != 0 || std::find(only.begin(), only.end(), i) != only.end());
  }
  return e;
}

void ReadQwen2Moe(JsonFields& f, ModelShape& s) {
  Decoder d = ReadDecoder(f, {});
  d.attention.qkv_bias = f.Bool("qkv_bias", true);
  ExpertSizes e = ReadQwenExperts(f, d);
  e.shared = f.Required({"shared_expert_intermediate_size"});
  e.shared_gate = true;
  StackExperts(f, d, e, ReadSpans(f, d.layers, {.window_on = f.Bool("use_sliding_window", false), .qwen = true}), s);
}

void ReadQwen3Moe(JsonFields& f, ModelShape& s) {
  Decoder d = ReadDecoder(f, {});
  d.attention.qkv_bias = d.attention.output_bias = f.Bool("attention_bias", false);
  d.attention.norms = 2 * d.attention.head_dim;
  StackExperts(f, d, ReadQwenExperts(f, d),
               ReadSpans(f, d.layers, {.window_on = f.Bool("use_sliding_window", false), .qwen = true}), s);
}

void ReadOlmoe(JsonFields& f, ModelShape& s) {
  Decoder d = ReadDecoder(f, {});
  d.attention.norms = (d.attention.heads + d.attention.kv_heads) * d.attention.head_dim;
  const ExpertSizes e{.experts = f.Required({"num_experts"}),
                      .per_token = f.Required({"num_experts_per_tok"}),
                      .intermediate = d.intermediate};
  StackExperts(f, d, e, {}, s);
}

void ReadPhiMoe(JsonFields& f, ModelShape& s) {
  Decoder d = ReadDecoder(f, {.norms = 4, .final_norms = 2});
  d.attention.qkv_bias = d.attention.output_bias = f.Bool("attention_bias", false);
  d.head_bias = f.Bool("lm_head_bias", false);
  const ExpertSizes e{.experts = f.Required({"num_local_experts"}),
                      .per_token = f.Required({"num_experts_per_tok"}),
                      .intermediate = d.intermediate,
                      .block = "block_sparse_moe"};
  StackExperts(f, d, e, ReadSpans(f, d.layers, {.window_on = true}), s);
}

void ReadGraniteMoe(JsonFields& f, ModelShape& s) {
  Decoder d = ReadDecoder(f, {});
  d.attention.qkv_bias = d.attention.output_bias = f.Bool("attention_bias", false);
  const ExpertSizes e{.experts = f.Required({"num_local_experts"}),
                      .per_token = f.Required({"num_experts_per_tok"}),
                      .intermediate = d.intermediate,
                      .shared = f.Optional({"shared_intermediate_size"}, 0).value_or(0),
                      .block = "block_sparse_moe",
                      .shared_name = "shared_mlp"};
  StackExperts(f, d, e, {}, s);
}

void ReadMiniMaxM2(JsonFields& f, ModelShape& s) {
  Decoder d = ReadDecoder(f, {});
  const int64_t turned = f.Optional({"rotary_dim"}, 0).value_or(d.attention.head_dim);
  if (f.status().ok()) d.rotary = static_cast<double>(turned) / static_cast<double>(d.attention.head_dim);
  if (f.Bool("use_qk_norm", false))
    d.attention.norms = (d.attention.heads + d.attention.kv_heads) * d.attention.head_dim;
  for (const int64_t type : f.Counts("attn_type_list")) {
    if (type != 1) f.Fail("attn_type_list", "MiniMax-M2 attends in full in every layer (1)");
  }
  const ExpertSizes e{.experts = f.Required({"num_local_experts"}),
                      .per_token = f.Required({"num_experts_per_tok"}),
                      .intermediate = d.intermediate,
                      .router_bias = true,
                      .block = "block_sparse_moe"};
  StackExperts(f, d, e, {}, s);
}

// MiniMax-M3: the first layers dense, the others with a shared expert and an indexer that picks blocks of keys.
void ReadMiniMaxM3(JsonFields& f, ModelShape& s) {
  Decoder d = ReadDecoder(f, {});
  d.rotary = f.Number("partial_rotary_factor", 0.5);
  d.attention.norms = 2 * d.attention.head_dim;
  d.attention.gated_output = f.Bool("attention_output_gate", false);
  ExpertSizes e{.experts = f.Required({"num_local_experts"}),
                .per_token = f.Required({"num_experts_per_tok"}),
                .intermediate = f.Optional({"moe_intermediate_size"}).value_or(d.intermediate),
                .shared = f.Optional({"shared_intermediate_size"}, 0).value_or(0),
                .router_bias = true,
                .block = "block_sparse_moe"};
  d.intermediate = f.Optional({"dense_intermediate_size"}).value_or(d.intermediate);
  for (const int64_t routed : f.Counts("moe_layer_freq")) e.dense.push_back(routed == 0);
  std::vector<int64_t> indexed;
  int64_t index_heads = 0;
  int64_t index_dim = 0;
  if (const nlohmann::json* sparse = f.Object("sparse_attention_config")) {
    JsonFields inner(*sparse, "sparse_attention_config");
    indexed = inner.Counts("sparse_attention_freq");
    index_heads = inner.Optional({"sparse_num_index_heads"}).value_or(0);
    index_dim = inner.Optional({"sparse_index_dim"}).value_or(0);
    f.Adopt(inner.status());
  }
  if (!f.status().ok()) return;
  const auto layers = static_cast<size_t>(d.layers);
  if (e.dense.size() != layers) return f.Fail("moe_layer_freq", "a list with one number for each layer is expected");
  if (!indexed.empty() && indexed.size() != layers) {
    return f.Fail("sparse_attention_freq", "a list with one number for each layer is expected");
  }
  for (size_t i = 0; i < layers; ++i) {
    Layer layer;
    AddAttention(layer, d.hidden, d.attention);
    if (!indexed.empty() && indexed[i] != 0) {
      layer.matrices.push_back(
          Linear("self_attn.index_q_proj", Part::kAttention, WholeAxis(d.hidden), WholeAxis(index_heads * index_dim)));
      layer.matrices.push_back(
          Linear("self_attn.index_k_proj", Part::kAttention, WholeAxis(d.hidden), WholeAxis(index_dim)));
      layer.kept.push_back({.kind = KeptKind::kTokens, .heads = 1, .key_dim = index_dim});
    }
    AddMlpOrExperts(layer, d, e, static_cast<int64_t>(i));
    AddNorms(layer, d.norms, d.hidden);
    s.Add(layer);
  }
  NoteExperts(e, s);
  Finish(d, s);
}

// Experts in mxfp4 with biases, sinks for each head, every other layer a window.
void ReadGptOss(JsonFields& f, ModelShape& s) {
  Decoder d = ReadDecoder(f, {.attention = {.head_dim = 64, .qkv_bias = true, .output_bias = true}});
  d.attention.norms = d.attention.heads;  // the sinks
  const ExpertSizes e{.experts = f.Required({"num_local_experts"}),
                      .per_token = f.Required({"num_experts_per_tok", "experts_per_token"}),
                      .intermediate = d.intermediate,
                      .router_bias = true,
                      .bias = true};
  StackExperts(f, d, e, ReadSpans(f, d.layers, {.window_on = true, .pattern = 2, .window = 128}), s);
}

// Three of four layers attend within chunks; experts in every `interleave_moe_layer_step`-th.
void ReadLlama4(JsonFields& f, ModelShape& s) {
  Decoder d = ReadDecoder(f, {.attention = {.head_dim = 128}});
  ExpertSizes e{.experts = f.Required({"num_local_experts"}),
                .per_token = f.Required({"num_experts_per_tok"}),
                .intermediate = d.intermediate,
                .shared = d.intermediate,
                .block = "feed_forward",
                .shared_name = "shared_expert"};
  d.intermediate = f.Optional({"intermediate_size_mlp"}).value_or(d.intermediate);
  const int64_t step = f.Optional({"interleave_moe_layer_step"}).value_or(1);
  std::vector<int64_t> rope = f.Counts("no_rope_layers");
  const int64_t interval = f.Optional({"no_rope_layer_interval"}).value_or(4);
  const int64_t chunk = f.Optional({"attention_chunk_size"}, 0).value_or(0);
  const std::vector<std::string> types = LayerNames(f, "layer_types", d.layers);
  if (!f.status().ok()) return;
  std::vector<Span> spans(static_cast<size_t>(d.layers));
  for (int64_t i = 0; i < d.layers; ++i) {
    const auto at = static_cast<size_t>(i);
    bool local = (i + 1) % interval != 0;
    if (rope.size() == spans.size()) local = rope[at] != 0;
    if (!types.empty()) local = types[at] == "chunked_attention";
    if (local && chunk > 0) spans[at] = {KeptKind::kChunk, chunk};
    e.dense.push_back((i + 1) % step != 0);
  }
  StackExperts(f, d, e, spans, s);
}

void ReadGlm4Moe(JsonFields& f, ModelShape& s) {
  Decoder d = ReadDecoder(f, {.attention = {.head_dim = 128}, .rotary = 0.5});
  d.attention.qkv_bias = f.Bool("attention_bias", false);
  if (f.Bool("use_qk_norm", false)) d.attention.norms = 2 * d.attention.head_dim;
  const int64_t each = f.Required({"moe_intermediate_size"});
  const ExpertSizes e{.experts = f.Required({"n_routed_experts"}),
                      .per_token = f.Required({"num_experts_per_tok"}),
                      .intermediate = each,
                      .shared = each * f.Optional({"n_shared_experts"}, 0).value_or(0),
                      .router_bias = true,
                      .dense = FirstDense(d.layers, f.Optional({"first_k_dense_replace"}, 0).value_or(0))};
  StackExperts(f, d, e, {}, s);
}

// dots1, Step-3.x and their like: the first layers dense, a shared expert, windows by layer_types.
void ReadSharedExperts(JsonFields& f, ModelShape& s) {
  Decoder d = ReadDecoder(f, {.attention = {.head_dim = 128}});
  d.attention.qkv_bias = d.attention.output_bias = f.Bool("attention_bias", false);
  d.attention.norms = 2 * d.attention.head_dim;
  const int64_t each = f.Required({"moe_intermediate_size"});
  const int64_t shared =
      f.Optional({"n_shared_experts", "num_shared_experts", "moe_num_shared_experts"}, 0).value_or(0);
  const ExpertSizes e{
      .experts = f.Required({"n_routed_experts", "num_experts", "moe_num_experts"}),
      .per_token = f.Required({"num_experts_per_tok", "moe_top_k", "moe_k"}),
      .intermediate = each,
      .shared = f.Optional({"share_expert_dim"}).value_or(each * shared),
      .router_bias = true,
      .dense = FirstDense(d.layers, f.Optional({"first_k_dense_replace", "moe_layer_start_index"}, 0).value_or(0))};
  StackExperts(f, d, e, ReadSpans(f, d.layers, {.window_on = f.Has("layer_types")}), s);
  if (!f.status().ok()) return;
  s.bounded = f.Has("sliding_window") && !f.Has("layer_types");  // some layers have the window: not known which
  const int64_t drafts = f.Optional({"num_nextn_predict_layers"}, 0).value_or(0);
  for (int64_t i = 0; i < std::min<int64_t>(drafts, 64); ++i) s.drafts.push_back(s.kinds[s.stack.back()]);
}

void ReadHunyuanMoe(JsonFields& f, ModelShape& s) {
  Decoder d = ReadDecoder(f, {});
  d.attention.norms = f.Bool("use_qk_norm", true) ? 2 * d.attention.head_dim : 0;
  // Counts are one number for all layers, or a list of equal ones.
  const auto count = [&](const char* key) {
    const nlohmann::json* value = f.Find(key);
    if (value == nullptr || !value->is_array()) return f.Required({key});
    const std::vector<int64_t> list = f.Counts(key);
    return list.empty() ? int64_t{0} : *std::max_element(list.begin(), list.end());
  };
  const ExpertSizes e{.experts = count("num_experts"),
                      .per_token = count("moe_topk"),
                      .intermediate = f.Has("moe_intermediate_size") ? count("moe_intermediate_size") : d.intermediate,
                      .shared = d.intermediate * (f.Has("num_shared_expert") ? count("num_shared_expert") : 1),
                      .shared_name = "shared_mlp"};
  StackExperts(f, d, e, {}, s);
}

void ReadDbrx(JsonFields& f, ModelShape& s) {
  Decoder d{.norms = 2};
  d.layers = f.Required({"n_layers"});
  d.hidden = f.Required({"d_model"});
  d.attention.heads = d.attention.kv_heads = f.Required({"n_heads"});
  d.vocab = f.Required({"vocab_size"});
  d.max_positions = f.Optional({"max_seq_len"}).value_or(0);
  if (!f.status().ok()) return;
  d.attention.head_dim = d.hidden / d.attention.heads;
  if (const nlohmann::json* attention = f.Object("attn_config")) {
    JsonFields inner(*attention, "attn_config");
    d.attention.kv_heads = inner.Required({"kv_n_heads"});
    f.Adopt(inner.status());
  }
  ExpertSizes e{.block = "ffn"};
  if (const nlohmann::json* ffn = f.Object("ffn_config")) {
    JsonFields inner(*ffn, "ffn_config");
    e.experts = inner.Required({"moe_num_experts"});
    e.per_token = inner.Required({"moe_top_k"});
    e.intermediate = inner.Required({"ffn_hidden_size"});
    f.Adopt(inner.status());
  } else {
    f.Fail("ffn_config", "missing; without it the model cannot be priced");
  }
  StackExperts(f, d, e, {}, s);
}

}  // namespace

const std::vector<FamilyReader>& ExpertFamilies() {
  static const auto* const families = new std::vector<FamilyReader>{
      {"dbrx", ReadDbrx},
      {"dots1", ReadSharedExperts},
      {"ernie4_5_moe", ReadSharedExperts},
      {"glm4_moe", ReadGlm4Moe},
      {"gpt_oss", ReadGptOss},
      {"granitemoe", ReadGraniteMoe},
      {"granitemoeshared", ReadGraniteMoe},
      {"hunyuan_v1_moe", ReadHunyuanMoe},
      {"llama4", ReadLlama4},
      {"llama4_text", ReadLlama4},
      {"minimax_m2", ReadMiniMaxM2},
      {"minimax_m3", ReadMiniMaxM3},
      {"mixtral", ReadMixtral},
      {"olmoe", ReadOlmoe},
      {"phimoe", ReadPhiMoe},
      {"qwen2_moe", ReadQwen2Moe},
      {"qwen3_moe", ReadQwen3Moe},
      {"qwen3_vl_moe_text", ReadQwen3Moe},
      {"step3p5", ReadSharedExperts},
      {"step3p7", ReadSharedExperts},
  };
  return *families;
}

}  // namespace vramgate
