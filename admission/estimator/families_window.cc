// Decoders that keep a window in some layers, with sizes of its own for them, or share keys between layers.
#include <algorithm>

#include "admission/estimator/experts.h"
#include "admission/estimator/model_families.h"
#include "admission/estimator/spans.h"

namespace vramgate {
namespace {

// Four norms in a layer.
void ReadGemma2(JsonFields& f, ModelShape& s) {
  const Decoder d = ReadDecoder(f, {.attention = {.head_dim = 256}, .tied = true, .norms = 4});
  // Even layers have the window.
  const std::vector<Span> spans =
      ReadSpans(f, d.layers, {.pattern_key = "sliding_window_pattern", .pattern = 2, .window = 4096});
  StackExperts(f, d, {}, spans, s);
}

Decoder ReadGemma3Decoder(JsonFields& f) {
  Decoder d = ReadDecoder(f, {.attention = {.heads = 8, .kv_heads = 4, .head_dim = 256}, .tied = true, .norms = 4});
  d.attention.norms = 2 * d.attention.head_dim;
  return d;
}

void ReadGemma3(JsonFields& f, ModelShape& s) {
  Decoder d = ReadGemma3Decoder(f);
  // Every Gemma 3 that sees images stretches its global table eight times, also where a cut-down config leaves it out.
  if (f.Has("vision_config") && !f.Has("rope_scaling") && !f.Has("rope_parameters")) d.stretch = 8;
  const char* const key = f.Has("_sliding_window_pattern") ? "_sliding_window_pattern" : "sliding_window_pattern";
  StackExperts(f, d, {}, ReadSpans(f, d.layers, {.pattern_key = key, .pattern = 6, .window = 1024}), s);
  if (!f.status().ok() || s.rotary.empty()) return;
  s.rotary.push_back({.positions = d.max_positions, .dim = d.attention.head_dim});  // of the windows' layers
}

// The last layers read the keys and values of earlier ones: they have no projections for them and keep none.
void ShareKeys(Layer& layer) {
  layer.kept.clear();
  std::erase_if(layer.matrices,
                [](const Matrix& m) { return m.name == "self_attn.k_proj" || m.name == "self_attn.v_proj"; });
}

// Gemma 3n: three lists of embeddings, four streams of the hidden state, keys shared by the last layers.
void ReadGemma3n(JsonFields& f, ModelShape& s) {
  Decoder d = ReadDecoder(f, {.attention = {.head_dim = 256}, .tied = true, .norms = 4}, /*with_mlp=*/false);
  std::vector<int64_t> widths;
  if (const nlohmann::json* list = f.Find("intermediate_size"); list != nullptr && list->is_array()) {
    widths = f.Counts("intermediate_size");
  } else {
    widths.assign(static_cast<size_t>(std::clamp<int64_t>(d.layers, 0, kMaxLayers)), f.Required({"intermediate_size"}));
  }
  const int64_t shared = f.Optional({"num_kv_shared_layers"}, 0).value_or(0);
  const int64_t each = f.Optional({"hidden_size_per_layer_input"}, 0).value_or(256);
  const int64_t each_vocab = f.Optional({"vocab_size_per_layer_input"}, 0).value_or(d.vocab);
  const int64_t rank = f.Optional({"laurel_rank"}, 0).value_or(64);
  const int64_t streams = f.Optional({"altup_num_inputs"}).value_or(4);
  const std::vector<Span> spans = ReadSpans(f, d.layers, {.pattern = 5, .window = 512});
  if (!f.status().ok()) return;
  if (static_cast<int64_t>(widths.size()) != d.layers)
    return f.Fail("intermediate_size", "one number for each layer is expected");
  if (streams > 64) return f.Fail("altup_num_inputs", "more than 64 copies of the hidden state are not believed");
  d.attention.norms = 3 * d.attention.head_dim;
  for (int64_t i = 0; i < d.layers; ++i) {
    const auto at = static_cast<size_t>(i);
    Layer layer;
    AddAttention(layer, d.hidden, d.attention, spans[at]);
    if (i >= d.layers - shared) ShareKeys(layer);
    AddMlp(layer, d.hidden, widths[at], {});
    layer.matrices.push_back(Linear("laurel.left", Part::kMlp, WholeAxis(d.hidden), WholeAxis(rank)));
    layer.matrices.push_back(Linear("laurel.right", Part::kMlp, WholeAxis(rank), WholeAxis(d.hidden)));
    layer.matrices.push_back(Linear("per_layer_input_gate", Part::kMlp, WholeAxis(d.hidden), WholeAxis(each)));
    layer.matrices.push_back(Linear("per_layer_projection", Part::kMlp, WholeAxis(each), WholeAxis(d.hidden)));
    layer.matrices.push_back(Norm("altup", streams * streams * (streams + 2) + d.hidden));
    AddNorms(layer, d.norms + 2, d.hidden);
    s.Add(layer);
  }
  d.intermediate = *std::max_element(widths.begin(), widths.end());
  Finish(d, s);
  s.rotary.push_back(s.rotary.front());
  s.first.push_back(
      Linear("embed_tokens_per_layer", Part::kEmbedding, SplitAxis(each_vocab), WholeAxis(d.layers * each)));
  s.first.push_back(
      Linear("per_layer_model_projection", Part::kEmbedding, WholeAxis(d.hidden), WholeAxis(d.layers * each)));
  s.first.push_back(
      Linear("altup_projections", Part::kEmbedding, WholeAxis(d.hidden), WholeAxis(2 * (streams - 1) * d.hidden)));
}

// Gemma 4: global layers have heads of their own, whose values may be their keys; E-models share keys and have
// embeddings for each layer; others have experts beside the dense MLP.
void ReadGemma4(JsonFields& f, ModelShape& s) {
  Decoder d = ReadDecoder(f, {.attention = {.head_dim = 256}, .tied = true, .norms = 4});
  AttentionSizes global = d.attention;
  global.head_dim = f.Optional({"global_head_dim"}, 0).value_or(0);
  if (global.head_dim == 0) global.head_dim = d.attention.head_dim;
  global.kv_heads = f.Optional({"num_global_key_value_heads"}, 0).value_or(0);
  if (global.kv_heads == 0) global.kv_heads = d.attention.kv_heads;
  global.one_key_value = f.Bool("attention_k_eq_v", false);
  const int64_t shared = f.Optional({"num_kv_shared_layers"}, 0).value_or(0);
  const int64_t each = f.Optional({"hidden_size_per_layer_input"}, 0).value_or(0);
  const int64_t each_vocab = f.Optional({"vocab_size_per_layer_input"}, 0).value_or(d.vocab);
  const bool wide = f.Bool("use_double_wide_mlp", false);
  ExpertSizes e;
  if (f.Bool("enable_moe_block", false)) {
    e = {.experts = f.Required({"num_experts"}),
         .per_token = f.Required({"top_k_experts", "num_experts_per_tok"}),
         .intermediate = f.Required({"moe_intermediate_size", "expert_intermediate_size"}),
         .block = "experts"};
  }
  const std::vector<Span> spans = ReadSpans(f, d.layers, {.pattern = 6, .window = 512});
  if (!f.status().ok()) return;
  for (int64_t i = 0; i < d.layers; ++i) {
    const Span span = spans[static_cast<size_t>(i)];
    AttentionSizes a = span.kind == KeptKind::kWindow ? d.attention : global;
    a.norms = 2 * a.head_dim;
    Layer layer;
    AddAttention(layer, d.hidden, a, span);
    const bool sharing = i >= d.layers - shared;
    if (sharing) ShareKeys(layer);
    AddMlp(layer, d.hidden, d.intermediate * (wide && sharing ? 2 : 1), {});
    int64_t norms = d.norms;
    if (e.experts > 0) {
      AddExperts(layer, d.hidden, e);
      norms += 3;
    }
    if (each > 0) {
      layer.matrices.push_back(Linear("per_layer_input_gate", Part::kMlp, WholeAxis(d.hidden), WholeAxis(each)));
      layer.matrices.push_back(Linear("per_layer_projection", Part::kMlp, WholeAxis(each), WholeAxis(d.hidden)));
      norms += 1;
    }
    AddNorms(layer, norms, d.hidden);
    s.Add(layer);
  }
  if (e.experts > 0) NoteExperts(e, s);
  d.rotary = 1;
  Finish(d, s);
  s.rotary.push_back({.positions = d.max_positions, .dim = global.head_dim});
  if (each > 0) {
    s.first.push_back(
        Linear("embed_tokens_per_layer", Part::kEmbedding, SplitAxis(each_vocab), WholeAxis(d.layers * each)));
    s.first.push_back(
        Linear("per_layer_model_projection", Part::kEmbedding, WholeAxis(d.hidden), WholeAxis(d.layers * each)));
  }
}

// MiMo-V2: `hybrid_layer_pattern` (1: a window, with heads of its own), values narrower than keys, experts by
// `moe_layer_freq`. Its `attention_chunk_size` is not used by its layers.
void ReadMimoV2(JsonFields& f, ModelShape& s) {
  Decoder d = ReadDecoder(f, {.rotary = 0.334});
  d.attention.value_dim = f.Optional({"v_head_dim"}).value_or(d.attention.head_dim);
  d.attention.qkv_bias = f.Bool("attention_bias", false);
  AttentionSizes window = d.attention;
  window.heads = f.Optional({"swa_num_attention_heads"}).value_or(d.attention.heads);
  window.kv_heads = f.Optional({"swa_num_key_value_heads"}).value_or(d.attention.kv_heads);
  window.head_dim = f.Optional({"swa_head_dim"}).value_or(d.attention.head_dim);
  window.value_dim = f.Optional({"swa_v_head_dim"}).value_or(d.attention.value_dim);
  const int64_t span = f.Required({"sliding_window", "sliding_window_size"});
  const std::vector<int64_t> pattern = f.Counts("hybrid_layer_pattern");
  ExpertSizes e{
      .experts = f.Required({"n_routed_experts"}),
      .per_token = f.Required({"num_experts_per_tok"}),
      .intermediate = f.Required({"moe_intermediate_size"}),
      .shared = f.Optional({"n_shared_experts"}, 0).value_or(0) * f.Optional({"moe_intermediate_size"}).value_or(0),
      .router_bias = true};
  for (const int64_t routed : f.Counts("moe_layer_freq")) e.dense.push_back(routed == 0);
  if (!f.status().ok()) return;
  const auto layers = static_cast<size_t>(d.layers);
  if (pattern.size() != layers)
    return f.Fail("hybrid_layer_pattern", "a list with one number for each layer is expected");
  if (e.dense.size() != layers) return f.Fail("moe_layer_freq", "a list with one number for each layer is expected");
  for (size_t i = 0; i < layers; ++i) {
    Layer layer;
    if (pattern[i] != 0) {
      AddAttention(layer, d.hidden, window, {KeptKind::kWindow, span});
    } else {
      AddAttention(layer, d.hidden, d.attention);
    }
    AddMlpOrExperts(layer, d, e, static_cast<int64_t>(i));
    AddNorms(layer, d.norms, d.hidden);
    s.Add(layer);
  }
  NoteExperts(e, s);
  Finish(d, s);
}

}  // namespace

const std::vector<FamilyReader>& WindowFamilies() {
  static const auto* const families = new std::vector<FamilyReader>{
      {"gemma2", ReadGemma2},      {"gemma3", ReadGemma3},        {"gemma3_text", ReadGemma3},
      {"gemma3n", ReadGemma3n},    {"gemma3n_text", ReadGemma3n}, {"gemma4", ReadGemma4},
      {"gemma4_text", ReadGemma4}, {"mimo_v2", ReadMimoV2},       {"mimo_v2_flash", ReadMimoV2},
  };
  return *families;
}

}  // namespace vramgate
