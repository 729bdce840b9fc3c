// Models with an encoder, and models each of whose layers has sizes of its own.
#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "admission/estimator/decoder.h"
#include "admission/estimator/model_families.h"

namespace vramgate {
namespace {

// Decoder layers of an encoder-decoder: their own keys, and those of the encoder's tokens, a constant.
struct CrossDecoder {
  int64_t layers, heads, width, head_dim, ffn;
  int64_t encoder_tokens;
  bool gated = false;
  bool bias = true;
};

void StackCross(const CrossDecoder& c, ModelShape& s) {
  AttentionSizes a{
      .heads = c.heads, .kv_heads = c.heads, .head_dim = c.head_dim, .qkv_bias = c.bias, .output_bias = c.bias};
  for (int64_t i = 0; i < c.layers; ++i) {
    Layer layer;
    AddAttention(layer, c.width, a);
    AddAttention(layer, c.width, a, {KeptKind::kEncoder, c.encoder_tokens});
    AddMlp(layer, c.width, c.ffn, {.gated = c.gated, .bias = c.bias});
    AddNorms(layer, c.bias ? 6 : 3, c.width);
    s.Add(layer);
  }
}

// An encoder's layers keep nothing between steps: they are matrices on every rank.
void AddEncoder(const CrossDecoder& c, int64_t layers, int64_t heads, int64_t ffn, ModelShape& s) {
  Layer layer;
  AddAttention(layer, c.width,
               {.heads = heads, .kv_heads = heads, .head_dim = c.head_dim, .qkv_bias = c.bias, .output_bias = c.bias});
  AddMlp(layer, c.width, ffn, {.gated = c.gated, .bias = c.bias});
  AddNorms(layer, c.bias ? 4 : 2, c.width);
  for (int64_t i = 0; i < layers; ++i) s.every.insert(s.every.end(), layer.matrices.begin(), layer.matrices.end());
}

bool TooDeep(JsonFields& f, const char* key, int64_t layers) {
  if (layers <= 512) return false;
  f.Fail(key, absl::StrCat(layers, " layers are more than any believable model has"));
  return true;
}

void ReadWhisper(JsonFields& f, ModelShape& s) {
  const int64_t width = f.Required({"d_model"});
  CrossDecoder c{.layers = f.Required({"decoder_layers"}),
                 .heads = f.Required({"decoder_attention_heads"}),
                 .width = width,
                 .head_dim = 0,
                 .ffn = f.Required({"decoder_ffn_dim"}),
                 .encoder_tokens = f.Optional({"max_source_positions"}).value_or(1500)};
  const int64_t encoder = f.Required({"encoder_layers"});
  const int64_t encoder_heads = f.Required({"encoder_attention_heads"});
  const int64_t encoder_ffn = f.Required({"encoder_ffn_dim"});
  const int64_t bins = f.Optional({"num_mel_bins"}).value_or(80);
  const int64_t targets = f.Optional({"max_target_positions"}).value_or(448);
  const int64_t vocab = f.Required({"vocab_size"});
  if (!f.status().ok() || TooDeep(f, "decoder_layers", c.layers) || TooDeep(f, "encoder_layers", encoder)) return;
  c.head_dim = width / c.heads;
  StackCross(c, s);
  AddEncoder(c, encoder, encoder_heads, encoder_ffn, s);
  s.every.push_back(Linear("encoder.conv", Part::kVision, WholeAxis(3 * (bins + width)), WholeAxis(width), true));
  s.every.push_back(Norm("encoder.ends", (c.encoder_tokens + 2) * width));
  Decoder d{.hidden = width, .vocab = vocab, .max_positions = targets, .rotary = 0, .tied = true, .final_norms = 2};
  d.attention.heads = c.heads;
  d.intermediate = c.ffn;
  d.learned_positions = targets;
  Finish(d, s);
}

void ReadBart(JsonFields& f, ModelShape& s) {
  const int64_t width = f.Required({"d_model"});
  const int64_t positions = f.Optional({"max_position_embeddings"}).value_or(1024);
  CrossDecoder c{.layers = f.Required({"decoder_layers"}),
                 .heads = f.Required({"decoder_attention_heads"}),
                 .width = width,
                 .head_dim = 0,
                 .ffn = f.Required({"decoder_ffn_dim"}),
                 .encoder_tokens = positions};
  const int64_t encoder = f.Required({"encoder_layers"});
  const int64_t encoder_heads = f.Required({"encoder_attention_heads"});
  const int64_t encoder_ffn = f.Required({"encoder_ffn_dim"});
  const int64_t vocab = f.Required({"vocab_size"});
  if (!f.status().ok() || TooDeep(f, "decoder_layers", c.layers) || TooDeep(f, "encoder_layers", encoder)) return;
  c.head_dim = width / c.heads;
  StackCross(c, s);
  AddEncoder(c, encoder, encoder_heads, encoder_ffn, s);
  s.every.push_back(Norm("encoder.ends", (positions + 2 + 2) * width));
  Decoder d{.hidden = width, .vocab = vocab, .max_positions = positions, .rotary = 0, .tied = true, .final_norms = 2};
  d.attention.heads = c.heads;
  d.intermediate = c.ffn;
  d.learned_positions = positions + 2;
  Finish(d, s);
}

void ReadT5(JsonFields& f, ModelShape& s) {
  const int64_t width = f.Required({"d_model"});
  const int64_t encoder = f.Required({"num_layers"});
  const std::string ff = f.String("feed_forward_proj", "relu");
  CrossDecoder c{.layers = f.Optional({"num_decoder_layers"}).value_or(encoder),
                 .heads = f.Required({"num_heads"}),
                 .width = width,
                 .head_dim = f.Required({"d_kv"}),
                 .ffn = f.Required({"d_ff"}),
                 .encoder_tokens = f.Optional({"n_positions"}).value_or(512),
                 .gated = ff.rfind("gated", 0) == 0,
                 .bias = false};
  const int64_t buckets = f.Optional({"relative_attention_num_buckets"}).value_or(32);
  const int64_t vocab = f.Required({"vocab_size"});
  if (!f.status().ok() || TooDeep(f, "num_decoder_layers", c.layers) || TooDeep(f, "num_layers", encoder)) return;
  StackCross(c, s);
  AddEncoder(c, encoder, c.heads, c.ffn, s);
  s.every.push_back(Norm("relative_attention_bias", 2 * buckets * c.heads + width));
  Decoder d{.hidden = width, .vocab = vocab, .max_positions = c.encoder_tokens, .rotary = 0};
  d.tied = f.Bool("tie_word_embeddings", true);
  d.attention.heads = c.heads;
  d.intermediate = c.ffn;
  Finish(d, s);
}

// Tokens of one image at its most tiles: a class token and the patches of each.
int64_t ImageTokens(JsonFields& f) {
  const nlohmann::json* vision = f.Object("vision_config");
  if (vision == nullptr) {
    f.Fail("vision_config", "missing; without it the image's tokens are not known");
    return 0;
  }
  JsonFields v(*vision, "vision_config");
  const int64_t side = v.Required({"image_size"}) / std::max<int64_t>(v.Optional({"patch_size"}).value_or(14), 1);
  const int64_t tiles = v.Optional({"max_num_tiles"}).value_or(4);
  f.Adopt(v.status());
  return std::min<int64_t>(tiles, 1024) * (std::min<int64_t>(side, 4096) * std::min<int64_t>(side, 4096) + 1);
}

// Llama 3.2 Vision: some layers attend to the image's tokens only, a constant.
void ReadMllama(JsonFields& f, ModelShape& s) {
  const Decoder d = ReadDecoder(f, {});
  const std::vector<int64_t> cross = f.Counts("cross_attention_layers");
  if (!f.status().ok()) return;
  const int64_t tokens = ImageTokens(f);
  if (!f.status().ok()) return;
  for (int64_t i = 0; i < d.layers; ++i) {
    Layer layer;
    const bool crosses = std::find(cross.begin(), cross.end(), i) != cross.end();
    AddAttention(layer, d.hidden, d.attention, crosses ? Span{KeptKind::kEncoder, tokens} : Span{});
    AddMlp(layer, d.hidden, d.intermediate, {});
    AddNorms(layer, d.norms, d.hidden);
    if (crosses) layer.matrices.push_back(Norm("cross_attn.norms", 2 * d.attention.head_dim + 2));
    s.Add(layer);
  }
  Finish(d, s);
  s.first.push_back(Linear("embed_tokens.extra", Part::kEmbedding, WholeAxis(8), WholeAxis(d.hidden)));
}

// Nemotron-NAS (DeciLM): every layer's heads and MLP are in `block_configs`; some are left out or linear.
void ReadNemotronNas(JsonFields& f, ModelShape& s) {
  Decoder d;
  d.layers = f.Required({"num_hidden_layers"});
  d.hidden = f.Required({"hidden_size"});
  d.attention.heads = f.Required({"num_attention_heads"});
  d.vocab = f.Required({"vocab_size"});
  d.max_positions = f.Optional({"max_position_embeddings"}).value_or(0);
  d.tied = f.Bool("tie_word_embeddings", false);
  const nlohmann::json* blocks = f.Find("block_configs");
  if (!f.status().ok()) return;
  d.attention.head_dim = f.Optional({"head_dim"}).value_or(d.hidden / d.attention.heads);
  if (blocks == nullptr || !blocks->is_array() || static_cast<int64_t>(blocks->size()) != d.layers ||
      d.layers > kMaxLayers) {
    return f.Fail("block_configs",
                  absl::StrCat("a list with one block for each of the ", d.layers, " layers is expected"));
  }
  for (const nlohmann::json& block : *blocks) {
    if (!block.is_object()) return f.Fail("block_configs", "a list of objects is expected");
    JsonFields b(block, "block_configs");
    const nlohmann::json* attention = b.Object("attention");
    const nlohmann::json* ffn = b.Object("ffn");
    if (attention == nullptr || ffn == nullptr) return f.Fail("block_configs", "a block needs attention and ffn");
    JsonFields a(*attention, "block_configs: attention");
    JsonFields m(*ffn, "block_configs: ffn");
    Layer layer;
    int64_t norms = 0;
    if (a.Bool("replace_with_linear", false)) {
      layer.matrices.push_back(Linear("self_attn.linear", Part::kAttention, WholeAxis(d.hidden), WholeAxis(d.hidden)));
      ++norms;
    } else if (!a.Bool("no_op", false)) {
      const int64_t group = a.Required({"n_heads_in_group"});
      if (!a.status().ok()) return f.Adopt(a.status());
      d.attention.kv_heads = std::max<int64_t>(d.attention.heads / group, 1);
      AddAttention(layer, d.hidden, d.attention);
      ++norms;
    }
    if (m.Bool("replace_with_linear", false)) {
      layer.matrices.push_back(Linear("mlp.linear", Part::kMlp, WholeAxis(d.hidden), WholeAxis(d.hidden)));
      ++norms;
    } else if (!m.Bool("no_op", false)) {
      // 2/3 of the multiple of the hidden size, rounded up to 256 (DeciLM's find_multiple).
      const double multiple = m.Number("ffn_mult", 0, 0.001, 1000);
      const auto exact = static_cast<int64_t>(2 * multiple * static_cast<double>(d.hidden) / 3);
      const int64_t inner = m.Optional({"intermediate_size"}).value_or((exact + 255) / 256 * 256);
      AddMlp(layer, d.hidden, inner, {});
      d.intermediate = std::max(d.intermediate, inner);
      ++norms;
    }
    f.Adopt(a.status());
    f.Adopt(m.status());
    if (!f.status().ok()) return;
    AddNorms(layer, norms, d.hidden);
    s.Add(layer);
  }
  Finish(d, s);
}

// OpenELM: heads and MLP widths are lists.
void ReadOpenElm(JsonFields& f, ModelShape& s) {
  Decoder d{.tied = true};
  d.layers = f.Required({"num_transformer_layers", "num_hidden_layers"});
  d.hidden = f.Required({"model_dim", "hidden_size"});
  const int64_t dim = f.Required({"head_dim"});
  const int64_t divisor = f.Optional({"ffn_dim_divisor"}).value_or(256);
  const std::vector<int64_t> query = f.Counts("num_query_heads");
  const std::vector<int64_t> kv = f.Counts("num_kv_heads");
  std::vector<double> multipliers;
  if (const nlohmann::json* list = f.Find("ffn_multipliers"); list != nullptr && list->is_array()) {
    for (const nlohmann::json& m : *list) {
      if (!m.is_number() || m.get<double>() <= 0 || m.get<double>() > 1000) {
        return f.Fail("ffn_multipliers", "a list of numbers is expected");
      }
      multipliers.push_back(m.get<double>());
    }
  }
  d.vocab = f.Required({"vocab_size"});
  d.max_positions = f.Optional({"max_context_length"}).value_or(0);
  const bool norms = f.Bool("normalize_qk_projections", true);
  if (!f.status().ok()) return;
  const auto layers = static_cast<size_t>(d.layers);
  if (query.size() != layers || kv.size() != layers || multipliers.size() != layers) {
    return f.Fail("num_kv_heads",
                  absl::StrCat("num_query_heads, num_kv_heads and ffn_multipliers need one number for each of the ",
                               d.layers, " layers"));
  }
  for (size_t i = 0; i < layers; ++i) {
    Layer layer;
    AddAttention(layer, d.hidden,
                 {.heads = query[i], .kv_heads = kv[i], .head_dim = dim, .norms = norms ? 2 * dim : 0});
    // Rounded to the nearest multiple, never down by more than a tenth (OpenELM's make_divisible).
    const double exact = multipliers[i] * static_cast<double>(d.hidden);
    auto inner = std::max(divisor, static_cast<int64_t>(exact + static_cast<double>(divisor) / 2) / divisor * divisor);
    if (static_cast<double>(inner) < 0.9 * exact) inner += divisor;
    AddMlp(layer, d.hidden, inner, {});
    AddNorms(layer, 2, d.hidden);
    d.intermediate = std::max(d.intermediate, inner);
    d.attention.heads = std::max(d.attention.heads, query[i]);
    s.Add(layer);
  }
  d.attention.head_dim = dim;
  Finish(d, s);
  s.heads = 0;  // each layer has its own: what divides them is not one number
}

}  // namespace

const std::vector<FamilyReader>& OtherFamilies() {
  static const auto* const families = new std::vector<FamilyReader>{
      {"bart", ReadBart},
      {"mbart", ReadBart},
      {"mllama_text_model", ReadMllama},
      {"nemotron-nas", ReadNemotronNas},
      {"openelm", ReadOpenElm},
      {"t5", ReadT5},
      {"mt5", ReadT5},
      {"whisper", ReadWhisper},
  };
  return *families;
}

}  // namespace vramgate
