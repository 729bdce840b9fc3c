// Decoders whose every layer attends to all tokens and has one dense MLP.
#include <algorithm>

#include "admission/estimator/decoder.h"
#include "admission/estimator/model_families.h"
#include "admission/estimator/spans.h"

namespace vramgate {
namespace {

// What differs from layer to layer is only which tokens are kept.
void Stack(JsonFields& f, const Decoder& d, const std::vector<Span>& spans, ModelShape& s) {
  CheckLayers(f, d.layers);
  if (!f.status().ok()) return;
  for (int64_t i = 0; i < d.layers; ++i) {
    Layer layer;
    AddAttention(layer, d.hidden, d.attention, spans.empty() ? Span{} : spans[static_cast<size_t>(i)]);
    AddMlp(layer, d.hidden, d.intermediate, {.gated = d.gated_mlp, .bias = d.mlp_bias});
    AddNorms(layer, d.norms, d.hidden);
    s.Add(layer);
  }
  Finish(d, s);
}

void ReadLlama(JsonFields& f, ModelShape& s) {
  Decoder d = ReadDecoder(f, {});
  d.attention.qkv_bias = d.attention.output_bias = f.Bool("attention_bias", f.Bool("bias", false));
  d.mlp_bias = f.Bool("mlp_bias", false);
  Stack(f, d, ReadSpans(f, d.layers, {.window_on = false}), s);
}

void ReadMistral(JsonFields& f, ModelShape& s) {
  const Decoder d = ReadDecoder(f, {});
  Stack(f, d, ReadSpans(f, d.layers, {.window_on = true}), s);
}

void ReadQwen2(JsonFields& f, ModelShape& s) {
  Decoder d = ReadDecoder(f, {});
  d.attention.qkv_bias = true;
  Stack(f, d, ReadSpans(f, d.layers, {.window_on = f.Bool("use_sliding_window", false), .qwen = true}), s);
}

// Qwen2 with a multi-token predictor.
void ReadMimo(JsonFields& f, ModelShape& s) {
  ReadQwen2(f, s);
  if (!f.status().ok()) return;
  const int64_t drafts = f.Optional({"num_nextn_predict_layers"}, 0).value_or(0);
  for (int64_t i = 0; i < std::min<int64_t>(drafts, 64); ++i) s.drafts.push_back(s.kinds.front());
}

void ReadQwen3(JsonFields& f, ModelShape& s) {
  Decoder d = ReadDecoder(f, {.attention = {.head_dim = 128}});
  d.attention.qkv_bias = d.attention.output_bias = f.Bool("attention_bias", false);
  d.attention.norms = 2 * d.attention.head_dim;
  Stack(f, d, ReadSpans(f, d.layers, {.window_on = f.Bool("use_sliding_window", false), .qwen = true}), s);
}

void ReadPhi3(JsonFields& f, ModelShape& s) {
  const Decoder d = ReadDecoder(f, {});
  Stack(f, d, ReadSpans(f, d.layers, {.window_on = true}), s);
}

void ReadGemma(JsonFields& f, ModelShape& s) {
  Stack(f, ReadDecoder(f, {.attention = {.head_dim = 256}, .tied = true}), {}, s);
}

void ReadOlmo(JsonFields& f, ModelShape& s) {
  Decoder d = ReadDecoder(f, {.norms = 0, .final_norms = 0});  // its norms have no weights
  d.attention.qkv_bias = d.attention.output_bias = f.Bool("attention_bias", false);
  Stack(f, d, {}, s);
}

void ReadOlmo2(JsonFields& f, ModelShape& s) {
  Decoder d = ReadDecoder(f, {});
  d.attention.qkv_bias = d.attention.output_bias = f.Bool("attention_bias", false);
  d.attention.norms = (d.attention.heads + d.attention.kv_heads) * d.attention.head_dim;
  Stack(f, d, ReadSpans(f, d.layers, {.window_on = true}), s);
}

void ReadStableLm(JsonFields& f, ModelShape& s) {
  Decoder d = ReadDecoder(f, {.rotary = 0.25, .norms = 4, .final_norms = 2});
  d.attention.qkv_bias = f.Bool("use_qkv_bias", false);
  if (f.Bool("use_parallel_residual", false)) d.norms = 2;
  if (f.Bool("qk_layernorm", false))
    d.attention.norms = (d.attention.heads + d.attention.kv_heads) * d.attention.head_dim;
  Stack(f, d, {}, s);
}

void ReadGlm4(JsonFields& f, ModelShape& s) {
  Decoder d = ReadDecoder(f, {.attention = {.head_dim = 128}, .rotary = 0.5, .norms = 4});
  if (f.String("model_type", "") == "glm") d.norms = 2;
  d.attention.qkv_bias = f.Bool("attention_bias", false);
  Stack(f, d, {}, s);
}

// ChatGLM names its sizes its own way and keeps its rotary table at half a head.
void ReadChatGlm(JsonFields& f, ModelShape& s) {
  Decoder d{.rotary = 0.5};
  d.layers = f.Required({"num_layers", "num_hidden_layers"});
  d.hidden = f.Required({"hidden_size"});
  d.attention.heads = f.Required({"num_attention_heads"});
  d.attention.head_dim = f.Required({"kv_channels"});
  d.attention.kv_heads =
      f.Bool("multi_query_attention", false) ? f.Required({"multi_query_group_num"}) : d.attention.heads;
  d.intermediate = f.Required({"ffn_hidden_size"});
  d.vocab = f.Required({"padded_vocab_size", "vocab_size"});
  d.max_positions = f.Optional({"seq_length"}).value_or(0);
  d.attention.qkv_bias = f.Bool("add_qkv_bias", false) || f.Bool("add_bias_linear", false);
  d.attention.output_bias = d.mlp_bias = f.Bool("add_bias_linear", false);
  Stack(f, d, {}, s);
}

void ReadExaone4(JsonFields& f, ModelShape& s) {
  Decoder d = ReadDecoder(f, {});
  d.attention.norms = 2 * d.attention.head_dim;
  Stack(f, d, ReadSpans(f, d.layers, {.window_on = true, .pattern_key = "sliding_window_pattern"}), s);
}

void ReadSeedOss(JsonFields& f, ModelShape& s) {
  Decoder d = ReadDecoder(f, {.attention = {.head_dim = 128}});
  d.attention.qkv_bias = f.Bool("attention_bias", true);
  d.attention.output_bias = f.Bool("attention_out_bias", false);
  Stack(f, d, {}, s);
}

void ReadErnie(JsonFields& f, ModelShape& s) {
  Decoder d = ReadDecoder(f, {.tied = true});
  d.attention.qkv_bias = d.attention.output_bias = d.mlp_bias = f.Bool("use_bias", false);
  Stack(f, d, {}, s);
}

void ReadHunyuan(JsonFields& f, ModelShape& s) {
  Decoder d = ReadDecoder(f, {});
  d.attention.qkv_bias = d.attention.output_bias = f.Bool("attention_bias", false);
  d.attention.norms = f.Bool("use_qk_norm", true) ? 2 * d.attention.head_dim : 0;
  Stack(f, d, {}, s);
}

void ReadNemotron(JsonFields& f, ModelShape& s) {
  Decoder d = ReadDecoder(f, {.rotary = 0.5, .norms = 4, .final_norms = 2, .gated_mlp = false});
  d.attention.qkv_bias = d.attention.output_bias = f.Bool("attention_bias", false);
  d.mlp_bias = f.Bool("mlp_bias", false);
  Stack(f, d, {}, s);
}

void ReadCohere(JsonFields& f, ModelShape& s) {
  Decoder d = ReadDecoder(f, {.tied = true, .norms = 1});
  d.attention.qkv_bias = d.attention.output_bias = f.Bool("attention_bias", false);
  if (f.Bool("use_qk_norm", false))
    d.attention.norms = (d.attention.heads + d.attention.kv_heads) * d.attention.head_dim;
  Stack(f, d, ReadSpans(f, d.layers, {.window_on = true, .pattern_key = "sliding_window_pattern", .pattern = 4}), s);
}

// Layer norms with bias (two vectors each) and an MLP of two matrices, biases everywhere.
Decoder Plain(bool tied) {
  return {.attention = {.qkv_bias = true, .output_bias = true},
          .rotary = 0,
          .tied = tied,
          .norms = 4,
          .final_norms = 2,
          .gated_mlp = false,
          .mlp_bias = true};
}

Decoder ReadGpt2Decoder(JsonFields& f) {
  Decoder d = ReadDecoder(f, Plain(/*tied=*/true), /*with_mlp=*/false);
  d.intermediate = f.Optional({"n_inner"}).value_or(4 * d.hidden);
  d.learned_positions = f.Required({"n_positions", "max_position_embeddings"});
  if (f.Bool("add_cross_attention", false)) f.Fail("add_cross_attention", "cross attention is not priced here");
  return d;
}

void ReadGpt2(JsonFields& f, ModelShape& s) {
  Stack(f, ReadGpt2Decoder(f), {}, s);
}

void ReadGptBigCode(JsonFields& f, ModelShape& s) {
  Decoder d = ReadGpt2Decoder(f);
  if (f.Bool("multi_query", true)) d.attention.kv_heads = 1;
  Stack(f, d, {}, s);
}

void ReadGptNeoX(JsonFields& f, ModelShape& s) {
  Decoder d = ReadDecoder(f, Plain(/*tied=*/false));
  d.attention.qkv_bias = d.attention.output_bias = f.Bool("attention_bias", true);
  d.rotary = f.Number("rotary_pct", 0.25);
  Stack(f, d, {}, s);
}

void ReadPhi(JsonFields& f, ModelShape& s) {
  Decoder defaults = Plain(/*tied=*/false);
  defaults.rotary = 0.5;
  Decoder d = ReadDecoder(f, defaults);
  d.norms = 2;  // attention and MLP run beside each other, behind one norm
  d.head_bias = true;
  if (f.Bool("qk_layernorm", false)) d.attention.norms = 4 * d.attention.head_dim;
  Stack(f, d, {}, s);
}

void ReadOpt(JsonFields& f, ModelShape& s) {
  Decoder d = ReadDecoder(f, Plain(/*tied=*/true), /*with_mlp=*/false);
  d.intermediate = f.Required({"ffn_dim"});
  d.learned_positions = f.Required({"max_position_embeddings"}) + 2;  // its embedding has an offset of two rows
  d.attention.qkv_bias = d.attention.output_bias = d.mlp_bias = f.Bool("enable_bias", true);
  if (!f.Bool("do_layer_norm_before", true) || f.Bool("_remove_final_layer_norm", false)) d.final_norms = 0;
  if (f.Optional({"word_embed_proj_dim"}).value_or(d.hidden) != d.hidden) {
    f.Fail("word_embed_proj_dim",
           "projected embeddings are not counted: set parameters or weights_bytes, and kv_bytes_per_token");
  }
  Stack(f, d, {}, s);
}

void ReadStarcoder2(JsonFields& f, ModelShape& s) {
  Decoder defaults = Plain(/*tied=*/true);
  defaults.rotary = 1;
  Decoder d = ReadDecoder(f, defaults);
  d.attention.qkv_bias = d.attention.output_bias = d.mlp_bias = f.Bool("use_bias", true);
  Stack(f, d, ReadSpans(f, d.layers, {.window_on = true}), s);
}

void ReadBloom(JsonFields& f, ModelShape& s) {
  Decoder d = ReadDecoder(f, Plain(/*tied=*/true), /*with_mlp=*/false);
  d.intermediate = 4 * d.hidden;
  d.final_norms = 4;  // one more behind the embedding
  Stack(f, d, {}, s);
}

// `num_kv_heads` counts only in the new architecture; before it, multi_query means one whatever that says.
void ReadFalcon(JsonFields& f, ModelShape& s) {
  Decoder defaults = Plain(/*tied=*/true);
  Decoder d = ReadDecoder(f, defaults, /*with_mlp=*/false);
  d.intermediate = f.Optional({"ffn_hidden_size"}).value_or(4 * d.hidden);
  d.attention.qkv_bias = d.attention.output_bias = d.mlp_bias = f.Bool("bias", false);
  d.attention.kv_heads = d.attention.heads;
  if (f.Bool("new_decoder_architecture", false)) {
    d.attention.kv_heads = f.Optional({"num_kv_heads", "n_head_kv"}).value_or(d.attention.heads);
    d.norms = 2 * f.Optional({"num_ln_in_parallel_attn"}).value_or(2);
  } else {
    if (f.Bool("multi_query", true)) d.attention.kv_heads = 1;
    d.norms = f.Bool("parallel_attn", true) ? 2 : 4;
  }
  if (!f.Bool("alibi", false)) d.rotary = 1;
  Stack(f, d, {}, s);
}

void ReadMpt(JsonFields& f, ModelShape& s) {
  Decoder d{.rotary = 0, .tied = true, .gated_mlp = false};
  d.layers = f.Required({"n_layers"});
  d.hidden = f.Required({"d_model"});
  d.attention.heads = d.attention.kv_heads = f.Required({"n_heads"});
  if (f.status().ok()) d.attention.head_dim = d.hidden / d.attention.heads;
  if (const nlohmann::json* attention = f.Object("attn_config")) {
    JsonFields inner(*attention, "attn_config");
    d.attention.kv_heads = inner.Optional({"kv_n_heads"}).value_or(d.attention.heads);
    if (inner.String("attn_type", "") == "multiquery_attention") d.attention.kv_heads = 1;
    f.Adopt(inner.status());
  }
  d.intermediate = d.hidden * f.Optional({"expansion_ratio"}).value_or(4);
  d.vocab = f.Required({"vocab_size"});
  d.max_positions = f.Optional({"max_seq_len"}).value_or(0);
  Stack(f, d, {}, s);
}

}  // namespace

const std::vector<FamilyReader>& DenseFamilies() {
  static const auto* const families = new std::vector<FamilyReader>{
      {"bloom", ReadBloom},      {"chatglm", ReadChatGlm},   {"cohere", ReadCohere},
      {"cohere2", ReadCohere},   {"ernie4_5", ReadErnie},    {"exaone4", ReadExaone4},
      {"falcon", ReadFalcon},    {"gemma", ReadGemma},       {"glm", ReadGlm4},
      {"glm4", ReadGlm4},        {"gpt2", ReadGpt2},         {"gpt_bigcode", ReadGptBigCode},
      {"gpt_neox", ReadGptNeoX}, {"granite", ReadLlama},     {"hunyuan_v1_dense", ReadHunyuan},
      {"internlm2", ReadLlama},  {"internlm3", ReadLlama},   {"llama", ReadLlama},
      {"mimo", ReadMimo},        {"ministral", ReadMistral}, {"ministral3", ReadMistral},
      {"mistral", ReadMistral},  {"mpt", ReadMpt},           {"nemotron", ReadNemotron},
      {"olmo", ReadOlmo},        {"olmo2", ReadOlmo2},       {"olmo3", ReadOlmo2},
      {"opt", ReadOpt},          {"phi", ReadPhi},           {"phi3", ReadPhi3},
      {"qwen2", ReadQwen2},      {"qwen3", ReadQwen3},       {"seed_oss", ReadSeedOss},
      {"smollm3", ReadLlama},    {"stablelm", ReadStableLm}, {"starcoder2", ReadStarcoder2},
  };
  return *families;
}

}  // namespace vramgate
