#include "admission/estimator/model_families.h"

#include <array>
#include <cmath>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"

namespace vramgate {
namespace {

using nlohmann::json;

// What all decoders share. A missing or null number of KV heads means one per head; a missing, null or 0 head_dim,
// hidden / heads. `tied` is what the family's class takes where the config does not say.
void ReadDecoder(JsonFields& f, ModelShape& s, bool tied) {
  s.layers = f.Required({"num_hidden_layers", "n_layer"});
  s.hidden = f.Required({"hidden_size", "n_embd"});
  s.heads = f.Required({"num_attention_heads", "n_head"});
  s.kv_heads = f.Optional({"num_key_value_heads"});
  const int64_t head_dim = f.Optional({"head_dim"}, /*min=*/0).value_or(0);
  if (head_dim > 0) s.head_dim = head_dim;
  s.vocab = f.Required({"vocab_size"});
  s.max_positions = f.Optional({"max_position_embeddings", "n_positions"}).value_or(0);
  s.tied_embeddings = f.Bool("tie_word_embeddings", tied);
  s.counted = true;
}

void SetRotary(ModelShape& s, double part) {
  s.rotary_dim = static_cast<int64_t>(std::floor(static_cast<double>(s.HeadDim()) * part));
}

// A window that is shorter than the context is priced as if it were none: an upper bound.
void ReadWindow(JsonFields& f, ModelShape& s) {
  const int64_t window = f.Optional({"sliding_window"}, /*min=*/0).value_or(0);
  s.windowed = window > 0 && (s.max_positions == 0 || window < s.max_positions);
}

// Qwen turns its window on by a flag of its own; newer configs also list every layer's kind.
void ReadQwenWindow(JsonFields& f, ModelShape& s) {
  if (f.Bool("use_sliding_window", false)) ReadWindow(f, s);
}

// RMS norm before attention and before a gated MLP, rotary positions.
void ReadGatedDecoder(JsonFields& f, ModelShape& s, bool tied) {
  ReadDecoder(f, s, tied);
  s.intermediate = f.Required({"intermediate_size"});
  s.layer_norms = 2;
  s.final_norms = 1;
  SetRotary(s, f.Fraction("partial_rotary_factor", 1));
}

// Layer norms with bias (two vectors each) and an MLP of two matrices, biases everywhere.
void ReadPlainDecoder(JsonFields& f, ModelShape& s, bool tied) {
  ReadDecoder(f, s, tied);
  s.gated_mlp = false;
  s.qkv_bias = s.output_bias = s.mlp_bias = true;
  s.layer_norms = 4;
  s.final_norms = 2;
}

void ReadLlama(JsonFields& f, ModelShape& s) {
  ReadGatedDecoder(f, s, /*tied=*/false);
  s.qkv_bias = s.output_bias = f.Bool("attention_bias", false);
  s.mlp_bias = f.Bool("mlp_bias", false);
}

void ReadMistral(JsonFields& f, ModelShape& s) {
  ReadGatedDecoder(f, s, /*tied=*/false);
  ReadWindow(f, s);
}

void ReadMixtral(JsonFields& f, ModelShape& s) {
  ReadMistral(f, s);
  s.sparse_layers = s.layers;
  s.experts = f.Required({"num_local_experts"});
  s.experts_per_token = f.Required({"num_experts_per_tok"});
  s.expert_intermediate = s.intermediate;
}

void ReadQwen2(JsonFields& f, ModelShape& s) {
  ReadGatedDecoder(f, s, /*tied=*/false);
  s.qkv_bias = true;
  ReadQwenWindow(f, s);
}

void ReadQwen3(JsonFields& f, ModelShape& s) {
  ReadGatedDecoder(f, s, /*tied=*/false);
  s.qkv_bias = s.output_bias = f.Bool("attention_bias", false);
  s.qk_norm_elements = 2 * s.HeadDim();
  ReadQwenWindow(f, s);
}

// Every `decoder_sparse_step`-th layer has experts, unless listed in `mlp_only_layers`.
void ReadQwenExperts(JsonFields& f, ModelShape& s) {
  s.experts = f.Required({"num_experts"});
  s.experts_per_token = f.Required({"num_experts_per_tok"});
  s.expert_intermediate = f.Required({"moe_intermediate_size"});
  const int64_t step = f.Optional({"decoder_sparse_step"}).value_or(1);
  std::set<int64_t> dense;
  if (const json* list = f.Find("mlp_only_layers")) {
    if (!list->is_array()) return f.Fail("mlp_only_layers", "a list of layer numbers is expected");
    for (const json& layer : *list) {
      if (!layer.is_number_integer()) return f.Fail("mlp_only_layers", "a list of layer numbers is expected");
      const int64_t number = layer.get<int64_t>();
      if (number >= 0 && number < s.layers && (number + 1) % step == 0) dense.insert(number);
    }
  }
  s.sparse_layers = s.layers / step - static_cast<int64_t>(dense.size());
}

void ReadQwen2Moe(JsonFields& f, ModelShape& s) {
  ReadQwen2(f, s);
  s.qkv_bias = f.Bool("qkv_bias", true);
  ReadQwenExperts(f, s);
  s.shared_intermediate = f.Required({"shared_expert_intermediate_size"});
}

void ReadQwen3Moe(JsonFields& f, ModelShape& s) {
  ReadQwen3(f, s);
  ReadQwenExperts(f, s);
}

void ReadPhi3(JsonFields& f, ModelShape& s) {
  ReadGatedDecoder(f, s, /*tied=*/false);
  ReadWindow(f, s);
}

void ReadGemma(JsonFields& f, ModelShape& s) {
  ReadGatedDecoder(f, s, /*tied=*/true);
}

void ReadOlmo(JsonFields& f, ModelShape& s) {
  ReadLlama(f, s);
  s.layer_norms = s.final_norms = 0;  // its norms have no weights
}

void ReadOlmo2(JsonFields& f, ModelShape& s) {
  ReadLlama(f, s);
  s.qk_norm_elements = (s.heads + s.KvHeads()) * s.HeadDim();
}

void ReadStableLm(JsonFields& f, ModelShape& s) {
  ReadGatedDecoder(f, s, /*tied=*/false);
  s.qkv_bias = f.Bool("use_qkv_bias", false);
  s.layer_norms = f.Bool("use_parallel_residual", false) ? 2 : 4;
  s.final_norms = 2;
  SetRotary(s, f.Fraction("partial_rotary_factor", 0.25));
  if (f.Bool("qk_layernorm", false)) s.qk_norm_elements = (s.heads + s.KvHeads()) * s.HeadDim();
}

void ReadGpt2(JsonFields& f, ModelShape& s) {
  ReadPlainDecoder(f, s, /*tied=*/true);
  s.intermediate = f.Optional({"n_inner"}).value_or(4 * s.hidden);
  s.learned_positions = f.Required({"n_positions", "max_position_embeddings"});
  if (f.Bool("add_cross_attention", false)) f.Fail("add_cross_attention", "cross attention is not priced");
}

void ReadGptBigCode(JsonFields& f, ModelShape& s) {
  ReadGpt2(f, s);
  if (f.Bool("multi_query", true)) s.kv_heads = 1;
}

void ReadGptNeoX(JsonFields& f, ModelShape& s) {
  ReadPlainDecoder(f, s, /*tied=*/false);
  s.qkv_bias = s.output_bias = f.Bool("attention_bias", true);
  s.intermediate = f.Required({"intermediate_size"});
  SetRotary(s, f.Fraction("rotary_pct", 0.25));
}

void ReadPhi(JsonFields& f, ModelShape& s) {
  ReadPlainDecoder(f, s, /*tied=*/false);
  s.intermediate = f.Required({"intermediate_size"});
  s.layer_norms = 2;  // attention and MLP run beside each other, behind one norm
  s.lm_head_bias = true;
  SetRotary(s, f.Fraction("partial_rotary_factor", 0.5));
  if (f.Bool("qk_layernorm", false)) s.qk_norm_elements = 4 * s.HeadDim();
}

void ReadOpt(JsonFields& f, ModelShape& s) {
  ReadPlainDecoder(f, s, /*tied=*/true);
  s.intermediate = f.Required({"ffn_dim"});
  s.learned_positions = f.Required({"max_position_embeddings"}) + 2;  // its embedding has an offset of two rows
  s.qkv_bias = s.output_bias = s.mlp_bias = f.Bool("enable_bias", true);
  if (!f.Bool("do_layer_norm_before", true) || f.Bool("_remove_final_layer_norm", false)) s.final_norms = 0;
  if (f.Optional({"word_embed_proj_dim"}).value_or(s.hidden) != s.hidden) {
    f.Fail("word_embed_proj_dim",
           "projected embeddings are not counted: set parameters or weights_bytes, and kv_bytes_per_token");
  }
}

void ReadStarcoder2(JsonFields& f, ModelShape& s) {
  ReadPlainDecoder(f, s, /*tied=*/true);
  s.intermediate = f.Required({"intermediate_size"});
  s.qkv_bias = s.output_bias = s.mlp_bias = f.Bool("use_bias", true);
  SetRotary(s, 1);
  ReadWindow(f, s);
}

void ReadBloom(JsonFields& f, ModelShape& s) {
  ReadPlainDecoder(f, s, /*tied=*/true);
  s.intermediate = 4 * s.hidden;
  s.final_norms = 4;  // one more behind the embedding
}

// `num_kv_heads` counts only in the new architecture; before it, multi_query means one whatever that says.
void ReadFalcon(JsonFields& f, ModelShape& s) {
  ReadPlainDecoder(f, s, /*tied=*/true);
  s.intermediate = f.Optional({"ffn_hidden_size"}).value_or(4 * s.hidden);
  s.qkv_bias = s.output_bias = s.mlp_bias = f.Bool("bias", false);
  s.kv_heads.reset();
  if (f.Bool("new_decoder_architecture", false)) {
    s.kv_heads = f.Optional({"num_kv_heads", "n_head_kv"});
    s.layer_norms = 2 * f.Optional({"num_ln_in_parallel_attn"}).value_or(2);
  } else {
    if (f.Bool("multi_query", true)) s.kv_heads = 1;
    s.layer_norms = f.Bool("parallel_attn", true) ? 2 : 4;
  }
  if (!f.Bool("alibi", false)) SetRotary(s, 1);
}

constexpr std::array<std::pair<std::string_view, ReadFamily>, 21> kFamilies = {{
    {"bloom", ReadBloom},
    {"falcon", ReadFalcon},
    {"gemma", ReadGemma},
    {"gpt2", ReadGpt2},
    {"gpt_bigcode", ReadGptBigCode},
    {"gpt_neox", ReadGptNeoX},
    {"granite", ReadLlama},
    {"llama", ReadLlama},
    {"mistral", ReadMistral},
    {"mixtral", ReadMixtral},
    {"olmo", ReadOlmo},
    {"olmo2", ReadOlmo2},
    {"opt", ReadOpt},
    {"phi", ReadPhi},
    {"phi3", ReadPhi3},
    {"qwen2", ReadQwen2},
    {"qwen2_moe", ReadQwen2Moe},
    {"qwen3", ReadQwen3},
    {"qwen3_moe", ReadQwen3Moe},
    {"stablelm", ReadStableLm},
    {"starcoder2", ReadStarcoder2},
}};

}  // namespace

ReadFamily FindFamily(std::string_view model_type) {
  for (const auto& [name, read] : kFamilies) {
    if (name == model_type) return read;
  }
  return nullptr;
}

std::string KnownFamilies() {
  std::string names;
  for (const auto& [name, read] : kFamilies) {
    absl::StrAppend(&names, names.empty() ? "" : ", ", absl::string_view(name.data(), name.size()));
  }
  return names;
}

}  // namespace vramgate
