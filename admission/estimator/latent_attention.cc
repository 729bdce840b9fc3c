#include "admission/estimator/latent_attention.h"

namespace vramgate {

LatentSizes ReadLatent(JsonFields& f) {
  LatentSizes a{.heads = f.Required({"num_attention_heads"}),
                .query_rank = f.Optional({"q_lora_rank"}, 0).value_or(0),
                .rank = f.Required({"kv_lora_rank"}),
                .nope = f.Required({"qk_nope_head_dim"}),
                .rope = f.Required({"qk_rope_head_dim"}),
                .value = f.Required({"v_head_dim"})};
  if (f.Has("index_topk") || f.Has("index_head_dim")) {
    a.index_heads = f.Required({"index_n_heads"});
    a.index_dim = f.Optional({"index_head_dim"}).value_or(128);
  }
  return a;
}

void AddLatentAttention(Layer& layer, int64_t hidden, const LatentSizes& a, bool indexer) {
  const auto add = [&](const char* name, Axis in, Axis out) {
    layer.matrices.push_back(Linear(name, Part::kAttention, in, out));
  };
  const Axis state = WholeAxis(hidden);
  const Axis query = SplitAxis(a.heads, a.nope + a.rope);
  if (a.query_rank > 0) {
    add("self_attn.q_a_proj", state, WholeAxis(a.query_rank));
    add("self_attn.q_b_proj", WholeAxis(a.query_rank), query);
    layer.matrices.push_back(Norm("self_attn.q_a_layernorm", a.query_rank));
  } else {
    add("self_attn.q_proj", state, query);
  }
  add("self_attn.kv_a_proj_with_mqa", state, WholeAxis(a.rank + a.rope));
  add("self_attn.kv_b_proj", WholeAxis(a.rank), SplitAxis(a.heads, a.nope + a.value));
  add("self_attn.o_proj", SplitAxis(a.heads, a.value), state);
  layer.matrices.push_back(Norm("self_attn.kv_a_layernorm", a.rank));
  // The engine keeps both halves of kv_b_proj once more, turned for its kernels (vLLM MLACommonImpl, W_UK_T and W_UV).
  Matrix absorbed =
      Linear("self_attn.kv_b_absorbed", Part::kAttention, WholeAxis(a.rank), SplitAxis(a.heads, a.nope + a.value));
  absorbed.copy = true;
  layer.matrices.push_back(absorbed);
  layer.kept.push_back({.kind = KeptKind::kLatent, .width = a.rank + a.rope, .rope = a.rope});
  if (!indexer || a.index_heads == 0) return;
  add("self_attn.indexer.wq_b", WholeAxis(a.query_rank > 0 ? a.query_rank : hidden),
      WholeAxis(a.index_heads * a.index_dim));
  add("self_attn.indexer.wk", state, WholeAxis(a.index_dim));
  layer.matrices.push_back(Linear("self_attn.indexer.weights_proj", Part::kRouter, state, WholeAxis(a.index_heads)));
  layer.matrices.push_back(Norm("self_attn.indexer.k_norm", 2 * a.index_dim));
  layer.kept.push_back({.kind = KeptKind::kIndex, .width = a.index_dim});
}

}  // namespace vramgate
