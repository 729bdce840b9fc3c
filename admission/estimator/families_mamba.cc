// Decoders some or all of whose layers are Mamba.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "admission/estimator/experts.h"
#include "admission/estimator/model_families.h"
#include "admission/estimator/state_mixers.h"

namespace vramgate {
namespace {

// Blocks of Nemotron-H: each layer is one of a mixer, attention, a dense MLP or experts.
std::vector<std::string> ReadBlocks(JsonFields& f, const char* pattern_key, const char* list_key) {
  std::vector<std::string> blocks = f.Strings(list_key);
  if (!blocks.empty()) return blocks;
  for (const char c : f.String(pattern_key, "")) {
    switch (c) {
      case 'M':
        blocks.push_back("mamba");
        break;
      case '*':
        blocks.push_back("attention");
        break;
      case '-':
        blocks.push_back("mlp");
        break;
      case 'E':
        blocks.push_back("moe");
        break;
      case '|':
        break;
      default:
        FailKind(f, pattern_key, std::string(1, c));
        return {};
    }
  }
  return blocks;
}

void ReadNemotronH(JsonFields& f, ModelShape& s) {
  Decoder d = ReadDecoder(f, {.rotary = 0, .norms = 1, .gated_mlp = false});
  d.rotary = 0;  // its attention has no positions
  d.attention.qkv_bias = d.attention.output_bias = f.Bool("attention_bias", false);
  d.mlp_bias = f.Bool("mlp_bias", false);
  const Mamba2Sizes mamba{.heads = f.Required({"mamba_num_heads"}),
                          .head_dim = f.Required({"mamba_head_dim"}),
                          .groups = f.Required({"n_groups"}),
                          .state = f.Required({"ssm_state_size"}),
                          .kernel = f.Required({"conv_kernel"}),
                          .bias = f.Bool("mamba_proj_bias", f.Bool("use_bias", false)),
                          .conv_bias = f.Bool("use_conv_bias", true),
                          .state_dtype = ReadStateDType(f)};
  const std::vector<std::string> blocks = ReadBlocks(f, "hybrid_override_pattern", "layers_block_type");
  const std::vector<std::string> drafts = ReadBlocks(f, "mtp_hybrid_override_pattern", "mtp_layers_block_type");
  ExpertSizes e;
  if (std::find(blocks.begin(), blocks.end(), "moe") != blocks.end()) {
    e = {.experts = f.Required({"n_routed_experts"}),
         .per_token = f.Required({"num_experts_per_tok"}),
         .intermediate = f.Required({"moe_intermediate_size"}),
         .shared = f.Optional({"moe_shared_expert_intermediate_size"}, 0).value_or(0),
         .router_bias = true,
         .gated = false,
         .shared_gated = false,
         .latent = f.Optional({"moe_latent_size"}, 0).value_or(0),
         .block = "mixer"};
  }
  if (!f.status().ok()) return;
  if (static_cast<int64_t>(blocks.size()) != d.layers) {
    return f.Fail("hybrid_override_pattern",
                  absl::StrCat("one block for each of the ", d.layers, " layers is expected"));
  }
  const auto build = [&](const std::string& block) {
    Layer layer;
    if (block == "mamba") {
      AddMamba2(layer, d.hidden, mamba);
    } else if (block == "attention") {
      AddAttention(layer, d.hidden, d.attention);
    } else if (block == "mlp") {
      AddMlp(layer, d.hidden, d.intermediate, {.name = "mixer", .gated = false, .bias = d.mlp_bias});
    } else if (block == "moe") {
      AddExperts(layer, d.hidden, e);
    } else {
      FailKind(f, "layers_block_type", block);
    }
    AddNorms(layer, d.norms, d.hidden);
    return layer;
  };
  for (const std::string& block : blocks) s.Add(build(block));
  for (size_t i = 0; i < std::min<size_t>(drafts.size(), 64); ++i) s.drafts.push_back(build(drafts[i]));
  if (!f.status().ok()) return;
  const bool dense = std::find(blocks.begin(), blocks.end(), "mlp") != blocks.end();
  if (!dense) d.intermediate = 0;
  if (e.experts > 0) NoteExperts(e, s);
  Finish(d, s);
}

// Jamba: attention every `attn_layer_period`, experts every `expert_layer_period`, Mamba-1 else.
void ReadJamba(JsonFields& f, ModelShape& s) {
  Decoder d = ReadDecoder(f, {.rotary = 0});
  const int64_t period = f.Optional({"attn_layer_period"}).value_or(8);
  const int64_t offset = f.Optional({"attn_layer_offset"}, 0).value_or(4);
  const int64_t expert_period = f.Optional({"expert_layer_period"}).value_or(2);
  const int64_t expert_offset = f.Optional({"expert_layer_offset"}, 0).value_or(1);
  ExpertSizes e{.experts = f.Optional({"num_experts"}).value_or(16),
                .per_token = f.Optional({"num_experts_per_tok"}).value_or(2),
                .intermediate = d.intermediate,
                .block = "feed_forward"};
  const Mamba1Sizes mamba{.inner = f.Optional({"mamba_expand"}).value_or(2) * d.hidden,
                          .state = f.Optional({"mamba_d_state"}).value_or(16),
                          .rank = f.Optional({"mamba_dt_rank"}).value_or((d.hidden + 15) / 16),
                          .kernel = f.Optional({"mamba_d_conv"}).value_or(4),
                          .bias = f.Bool("mamba_proj_bias", false),
                          .conv_bias = f.Bool("mamba_conv_bias", true)};
  if (!f.status().ok()) return;
  for (int64_t i = 0; i < d.layers; ++i) {
    e.dense.push_back(e.experts == 1 || i % expert_period != expert_offset % expert_period);
  }
  for (int64_t i = 0; i < d.layers; ++i) {
    Layer layer;
    if (i % period == offset % period) {
      AddAttention(layer, d.hidden, d.attention);
    } else {
      AddMamba1(layer, d.hidden, mamba);
      layer.matrices.push_back(Norm("mamba.norms", mamba.rank + 2 * mamba.state));
    }
    AddMlpOrExperts(layer, d, e, i);
    AddNorms(layer, d.norms, d.hidden);
    s.Add(layer);
  }
  NoteExperts(e, s);
  Finish(d, s);
}

// Models of Mamba-1 alone: no attention, no MLP.
void ReadMamba(JsonFields& f, ModelShape& s) {
  Decoder d{.rotary = 0, .tied = true, .norms = 1};
  d.layers = f.Required({"num_hidden_layers", "n_layer"});
  d.hidden = f.Required({"hidden_size", "d_model"});
  d.vocab = f.Required({"vocab_size"});
  d.tied = f.Bool("tie_word_embeddings", true);
  const Mamba1Sizes mamba{
      .inner = f.Optional({"intermediate_size"}).value_or(f.Optional({"expand"}).value_or(2) * d.hidden),
      .state = f.Optional({"state_size"}).value_or(16),
      .rank = f.Optional({"time_step_rank"}).value_or((d.hidden + 15) / 16),
      .kernel = f.Optional({"conv_kernel"}).value_or(4),
      .bias = f.Bool("use_bias", false),
      .conv_bias = f.Bool("use_conv_bias", true)};
  if (!f.status().ok()) return;
  Layer layer;
  AddMamba1(layer, d.hidden, mamba);
  AddNorms(layer, d.norms, d.hidden);
  for (int64_t i = 0; i < std::min(d.layers, kMaxLayers); ++i) s.Add(layer);
  d.intermediate = mamba.inner;
  Finish(d, s);
}

void ReadMamba2(JsonFields& f, ModelShape& s) {
  Decoder d{.rotary = 0, .norms = 1};
  d.layers = f.Required({"num_hidden_layers", "n_layer"});
  d.hidden = f.Required({"hidden_size", "d_model"});
  d.vocab = f.Required({"vocab_size"});
  d.tied = f.Bool("tie_word_embeddings", false);
  const int64_t inner = f.Optional({"expand"}).value_or(2) * d.hidden;
  const int64_t head_dim = f.Optional({"head_dim"}).value_or(64);
  const Mamba2Sizes mamba{.heads = f.Optional({"num_heads"}).value_or(inner / head_dim),
                          .head_dim = head_dim,
                          .groups = f.Optional({"n_groups"}).value_or(8),
                          .state = f.Optional({"state_size"}).value_or(128),
                          .kernel = f.Optional({"conv_kernel"}).value_or(4),
                          .bias = f.Bool("use_bias", false),
                          .conv_bias = f.Bool("use_conv_bias", true),
                          .state_dtype = ReadStateDType(f)};
  if (!f.status().ok()) return;
  Layer layer;
  AddMamba2(layer, d.hidden, mamba);
  AddNorms(layer, d.norms, d.hidden);
  for (int64_t i = 0; i < std::min(d.layers, kMaxLayers); ++i) s.Add(layer);
  d.intermediate = inner;
  Finish(d, s);
}

Mamba2Sizes ReadHybridMamba2(JsonFields& f, const Decoder& d) {
  const int64_t inner = f.Optional({"mamba_d_ssm"}).value_or(f.Optional({"mamba_expand"}).value_or(2) * d.hidden);
  const int64_t heads = f.Required({"mamba_n_heads", "n_mamba_heads", "mamba_num_heads"});
  Mamba2Sizes m{.heads = heads,
                .groups = f.Optional({"mamba_n_groups", "mamba_ngroups", "n_groups"}).value_or(1),
                .state = f.Optional({"mamba_d_state", "ssm_state_size"}).value_or(128),
                .kernel = f.Optional({"mamba_d_conv", "conv_kernel"}).value_or(4),
                .bias = f.Bool("mamba_proj_bias", false),
                .conv_bias = f.Bool("mamba_conv_bias", true),
                .state_dtype = ReadStateDType(f)};
  // A number, or "auto" for what the expansion leaves.
  const nlohmann::json* dim = f.Find("mamba_d_head");
  m.head_dim = dim != nullptr && dim->is_number()
                   ? f.Required({"mamba_d_head"})
                   : f.Optional({"mamba_headdim"}).value_or(inner / std::max<int64_t>(heads, 1));
  return m;
}

// Granite 4 hybrids and Bamba: attention where layer_types (or attn_layer_indices) says, Mamba-2 else.
void ReadGraniteHybrid(JsonFields& f, ModelShape& s) {
  Decoder d = ReadDecoder(f, {});
  if (f.String("position_embedding_type", "rope") == "nope") d.rotary = 0;
  const Mamba2Sizes mamba = ReadHybridMamba2(f, d);
  ExpertSizes e;
  if (f.Optional({"num_local_experts"}, 0).value_or(0) > 0) {
    e = {.experts = f.Required({"num_local_experts"}),
         .per_token = f.Required({"num_experts_per_tok"}),
         .intermediate = d.intermediate,
         .shared = f.Optional({"shared_intermediate_size"}, 0).value_or(0),
         .block = "block_sparse_moe",
         .shared_name = "shared_mlp"};
  } else {
    d.intermediate = f.Optional({"shared_intermediate_size"}).value_or(d.intermediate);
  }
  std::vector<std::string> types = LayerNames(f, f.Has("layer_types") ? "layer_types" : "layers_block_type", d.layers);
  if (types.empty()) {
    const std::vector<int64_t> attention = f.Counts("attn_layer_indices");
    types.assign(static_cast<size_t>(std::clamp<int64_t>(d.layers, 0, kMaxLayers)), "mamba");
    for (const int64_t i : attention) {
      if (i < d.layers) types[static_cast<size_t>(i)] = "attention";
    }
  }
  if (!f.status().ok()) return;
  for (int64_t i = 0; i < d.layers; ++i) {
    const std::string& type = types[static_cast<size_t>(i)];
    Layer layer;
    if (type == "attention" || type == "full_attention") {
      AddAttention(layer, d.hidden, d.attention);
    } else if (type == "mamba" || type == "mamba2") {
      AddMamba2(layer, d.hidden, mamba);
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

// Falcon-H1: attention and Mamba-2 beside each other in every layer.
void ReadFalconH1(JsonFields& f, ModelShape& s) {
  Decoder d = ReadDecoder(f, {});
  d.attention.qkv_bias = d.attention.output_bias = f.Bool("attention_bias", false);
  const Mamba2Sizes mamba = ReadHybridMamba2(f, d);
  if (!f.status().ok()) return;
  for (int64_t i = 0; i < d.layers; ++i) {
    Layer layer;
    AddAttention(layer, d.hidden, d.attention);
    AddMamba2(layer, d.hidden, mamba);
    AddMlp(layer, d.hidden, d.intermediate, {.name = "feed_forward"});
    AddNorms(layer, d.norms, d.hidden);
    s.Add(layer);
  }
  Finish(d, s);
}

// Zamba2: Mamba-2 in every layer; in the hybrid ones a shared attention block reads the hidden state beside the
// embedding, so its heads are twice as wide. The shared blocks' weights come once each, with an adapter for each use.
void ReadZamba2(JsonFields& f, ModelShape& s) {
  Decoder d = ReadDecoder(f, {.tied = true});
  const Mamba2Sizes mamba = ReadHybridMamba2(f, d);
  const std::vector<int64_t> hybrid = f.Counts("hybrid_layer_ids");
  const int64_t blocks = f.Optional({"num_mem_blocks"}).value_or(1);
  const int64_t rank = f.Optional({"adapter_rank"}, 0).value_or(128);
  d.attention.head_dim =
      f.Optional({"attention_head_dim"}).value_or(d.attention.heads > 0 ? 2 * d.hidden / d.attention.heads : 0);
  if (!f.status().ok()) return;
  if (!f.Bool("use_mem_rope", true)) d.rotary = 0;
  Layer block;
  AddAttention(block, 2 * d.hidden, d.attention);
  block.matrices.back() = Linear("self_attn.o_proj", Part::kAttention,
                                 SplitAxis(d.attention.heads, d.attention.head_dim), WholeAxis(d.hidden));
  AddMlp(block, d.hidden, d.intermediate, {});
  AddNorms(block, 3, d.hidden);
  for (int64_t i = 0; i < d.layers; ++i) {
    Layer layer;
    AddMamba2(layer, d.hidden, mamba);
    AddNorms(layer, 1, d.hidden);
    if (std::find(hybrid.begin(), hybrid.end(), i) != hybrid.end()) {
      layer.kept.push_back(block.kept.front());
      layer.matrices.push_back(Linear("linear", Part::kMlp, WholeAxis(d.hidden), WholeAxis(d.hidden)));
      layer.matrices.push_back(Linear("adapter", Part::kMlp, WholeAxis(d.hidden), WholeAxis(rank)));
      layer.matrices.push_back(Linear("adapter", Part::kMlp, WholeAxis(rank), SplitAxis(2 * d.intermediate)));
    }
    s.Add(layer);
  }
  for (int64_t b = 0; b < std::min<int64_t>(blocks, 64); ++b) {
    s.every.insert(s.every.end(), block.matrices.begin(), block.matrices.end());
  }
  Finish(d, s);
}

}  // namespace

const std::vector<FamilyReader>& MambaFamilies() {
  static const auto* const families = new std::vector<FamilyReader>{
      {"bamba", ReadGraniteHybrid}, {"falcon_h1", ReadFalconH1},
      {"falcon_mamba", ReadMamba},  {"granitemoehybrid", ReadGraniteHybrid},
      {"jamba", ReadJamba},         {"mamba", ReadMamba},
      {"mamba2", ReadMamba2},       {"nemotron_h", ReadNemotronH},
      {"zamba2", ReadZamba2},
  };
  return *families;
}

}  // namespace vramgate
