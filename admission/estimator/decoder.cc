#include "admission/estimator/decoder.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "admission/estimator/model_families.h"
#include "admission/utf8.h"

namespace vramgate {

namespace {

// Engines keep the rows of the scaled context too (vLLM LinearScalingRotaryEmbedding,
// DynamicNTKScalingRotaryEmbedding).
double RotaryStretch(JsonFields& f) {
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    const nlohmann::json* scaling = f.Find(key);
    if (scaling == nullptr || !scaling->is_object()) continue;
    // One for each kind of layer, or one for all.
    const bool nested = scaling->contains("full_attention") && (*scaling)["full_attention"].is_object();
    JsonFields inner(nested ? (*scaling)["full_attention"] : *scaling, key);
    const std::string type = inner.String("rope_type", inner.String("type", ""));
    if (type == "linear" || type == "dynamic") return inner.Number("factor", 1, 0.001, 100000);
  }
  return 1;
}

}  // namespace

void CheckLayers(JsonFields& f, int64_t layers) {
  if (layers > kMaxLayers) f.Fail("num_hidden_layers", absl::StrCat(layers, " must be from 1 to ", kMaxLayers));
}

Decoder ReadDecoder(JsonFields& f, const Decoder& defaults, bool with_mlp) {
  Decoder d = defaults;
  d.layers = f.Required({"num_hidden_layers", "n_layer", "num_layers", "n_layers", "decoder_layers"});
  CheckLayers(f, d.layers);
  d.hidden = f.Required({"hidden_size", "n_embd", "d_model"});
  d.attention.heads = f.Required({"num_attention_heads", "n_head", "n_heads"});
  d.attention.kv_heads = f.Optional({"num_key_value_heads", "n_head_kv", "num_kv_heads"}).value_or(d.attention.heads);
  const int64_t head_dim = f.Optional({"head_dim", "attention_head_dim", "hidden_size_per_head"}, 0).value_or(0);
  d.attention.head_dim = head_dim > 0 ? head_dim : defaults.attention.head_dim;
  if (!f.status().ok()) return d;
  if (d.attention.head_dim == 0) {
    if (d.hidden % d.attention.heads != 0) {
      f.Fail("head_dim", absl::StrCat("missing, and hidden (", d.hidden, ") is not a multiple of the heads (",
                                      d.attention.heads, ")"));
    }
    d.attention.head_dim = d.hidden / d.attention.heads;
  }
  if (d.attention.kv_heads > d.attention.heads || d.attention.heads % d.attention.kv_heads != 0) {
    f.Fail("num_key_value_heads", absl::StrCat(d.attention.kv_heads, " must divide the ", d.attention.heads,
                                               " heads: query heads share KV heads evenly"));
  }
  if (with_mlp) d.intermediate = f.Required({"intermediate_size", "n_inner", "ffn_dim"});
  d.vocab = f.Required({"vocab_size"});
  d.max_positions = f.Optional({"max_position_embeddings", "n_positions", "max_seq_len"}).value_or(0);
  d.stretch = RotaryStretch(f);
  d.tied = f.Bool("tie_word_embeddings", defaults.tied);
  d.rotary = f.Number("partial_rotary_factor", defaults.rotary);
  if (const nlohmann::json* rope = f.Find("rope_parameters"); rope != nullptr && rope->is_object()) {
    JsonFields inner(*rope, "rope_parameters");
    d.rotary = inner.Number("partial_rotary_factor", d.rotary);
  }
  return d;
}

Matrix Norm(const std::string& name, int64_t elements) {
  return {.name = name, .part = Part::kNorm, .in = WholeAxis(1), .out = WholeAxis(elements)};
}

Matrix Linear(const std::string& name, Part part, Axis in, Axis out, bool bias) {
  return {.name = name, .part = part, .in = in, .out = out, .bias = bias};
}

void AddAttention(Layer& layer, int64_t hidden, const AttentionSizes& a, Span span) {
  const int64_t value = a.value_dim > 0 ? a.value_dim : a.head_dim;
  const Axis in = WholeAxis(hidden);
  const Axis query = SplitAxis(a.heads, a.head_dim * (a.gated_output ? 2 : 1));
  layer.matrices.push_back(Linear("self_attn.q_proj", Part::kAttention, in, query, a.qkv_bias));
  layer.matrices.push_back(
      Linear("self_attn.k_proj", Part::kAttention, in, SplitAxis(a.kv_heads, a.head_dim), a.qkv_bias));
  if (!a.one_key_value) {
    layer.matrices.push_back(
        Linear("self_attn.v_proj", Part::kAttention, in, SplitAxis(a.kv_heads, value), a.qkv_bias));
  }
  layer.matrices.push_back(Linear("self_attn.o_proj", Part::kAttention, SplitAxis(a.heads, value), in, a.output_bias));
  if (a.norms > 0) layer.matrices.push_back(Norm("self_attn.qk_norm", a.norms));
  layer.kept.push_back(
      {.kind = span.kind, .heads = a.kv_heads, .key_dim = a.head_dim, .value_dim = value, .span = span.tokens});
}

void AddMlp(Layer& layer, int64_t hidden, int64_t intermediate, const MlpSizes& sizes) {
  const auto add = [&](const char* name, Axis in, Axis out) {
    Matrix m = Linear(absl::StrCat(sizes.name, name), sizes.part, in, out, sizes.bias);
    m.copies = sizes.copies;
    layer.matrices.push_back(m);
  };
  const Axis inner = SplitAxis(intermediate);
  if (sizes.gated) add(".gate_proj", WholeAxis(hidden), inner);
  add(".up_proj", WholeAxis(hidden), inner);
  add(".down_proj", inner, WholeAxis(hidden));
}

void AddNorms(Layer& layer, int64_t vectors, int64_t width) {
  if (vectors > 0) layer.matrices.push_back(Norm("norms", vectors * width));
}

void AddRouter(Layer& layer, const std::string& name, int64_t hidden, int64_t experts, bool bias) {
  layer.matrices.push_back(Linear(name, Part::kRouter, WholeAxis(hidden), WholeAxis(experts), bias));
}

void Finish(const Decoder& d, ModelShape& s) {
  s.hidden = d.hidden;
  s.heads = d.attention.heads;
  s.vocab = d.vocab;
  s.max_positions = d.max_positions;
  s.tied_embeddings = d.tied;
  s.intermediate = std::max(s.intermediate, d.intermediate);
  s.first.push_back(Linear("embed_tokens", Part::kEmbedding, SplitAxis(d.vocab), WholeAxis(d.hidden)));
  if (d.learned_positions > 0) {
    s.first.push_back(Linear("embed_positions", Part::kEmbedding, WholeAxis(d.learned_positions), WholeAxis(d.hidden)));
  }
  if (d.final_norms > 0) s.last.push_back(Norm("norm", d.final_norms * d.hidden));
  s.last.push_back(Linear("lm_head", Part::kHead, WholeAxis(d.hidden), SplitAxis(d.vocab), d.head_bias));
  const auto turned = static_cast<int64_t>(std::floor(static_cast<double>(d.attention.head_dim) * d.rotary));
  if (turned > 0 && d.max_positions > 0) {
    const double rows = static_cast<double>(d.max_positions) * std::max(d.stretch, 1.0);
    s.rotary.push_back(
        {.positions = static_cast<int64_t>(std::min(rows, static_cast<double>(kMaxVocab))), .dim = turned});
  }
  s.counted = true;
}

void FailKind(JsonFields& f, const char* key, const std::string& kind) {
  f.Fail(key, absl::StrCat(Quoted(kind), " is a kind of layer that is not known: ", kOverrideHint));
}

std::vector<std::string> LayerNames(JsonFields& f, const char* key, int64_t layers) {
  std::vector<std::string> names = f.Strings(key);
  if (!f.Has(key) || !f.status().ok()) return {};
  if (static_cast<int64_t>(names.size()) != layers) {
    f.Fail(key, absl::StrCat("a list with one name for each of the ", layers, " layers is expected, this has ",
                             names.size()));
    return {};
  }
  return names;
}

}  // namespace vramgate
