#include "admission/estimator/experts.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace vramgate {

void AddExperts(Layer& layer, int64_t hidden, const ExpertSizes& e) {
  const int64_t width = e.latent > 0 ? e.latent : hidden;
  if (e.latent > 0) {
    layer.matrices.push_back(
        Linear(absl::StrCat(e.block, ".fc1_latent_proj"), Part::kSharedExpert, WholeAxis(hidden), WholeAxis(e.latent)));
    layer.matrices.push_back(
        Linear(absl::StrCat(e.block, ".fc2_latent_proj"), Part::kSharedExpert, WholeAxis(e.latent), WholeAxis(hidden)));
  }
  AddMlp(layer, width, e.intermediate,
         {.part = Part::kExperts,
          .name = absl::StrCat(e.block, ".experts"),
          .gated = e.gated,
          .bias = e.bias,
          .copies = e.experts});
  AddRouter(layer, absl::StrCat(e.block, ".gate"), hidden, e.experts, e.router_bias);
  if (e.shared > 0) {
    AddMlp(layer, hidden, e.shared,
           {.part = Part::kSharedExpert, .name = absl::StrCat(e.block, ".", e.shared_name), .gated = e.shared_gated});
    if (e.shared_gate) layer.matrices.push_back(Norm(absl::StrCat(e.block, ".shared_expert_gate"), hidden));
  }
}

void AddMlpOrExperts(Layer& layer, const Decoder& d, const ExpertSizes& e, int64_t i) {
  const bool dense = e.experts == 0 || (!e.dense.empty() && e.dense[static_cast<size_t>(i)]);
  if (dense) {
    AddMlp(layer, d.hidden, d.intermediate, {.gated = d.gated_mlp, .bias = d.mlp_bias});
  } else {
    AddExperts(layer, d.hidden, e);
  }
}

void NoteExperts(const ExpertSizes& e, ModelShape& s) {
  s.experts_per_token = e.per_token;
  s.expert_intermediate = e.intermediate;
  s.intermediate = std::max(s.intermediate, e.shared);
}

void StackExperts(JsonFields& f, const Decoder& d, const ExpertSizes& e, const std::vector<Span>& spans,
                  ModelShape& s) {
  CheckLayers(f, d.layers);
  if (e.per_token > e.experts) {
    f.Fail("num_experts_per_tok", absl::StrCat(e.per_token, " is more than the ", e.experts, " experts"));
  }
  if (!f.status().ok()) return;
  for (int64_t i = 0; i < d.layers; ++i) {
    Layer layer;
    AddAttention(layer, d.hidden, d.attention, spans.empty() ? Span{} : spans[static_cast<size_t>(i)]);
    AddMlpOrExperts(layer, d, e, i);
    AddNorms(layer, d.norms, d.hidden);
    s.Add(layer);
  }
  NoteExperts(e, s);
  Finish(d, s);
  const bool any_dense = std::find(e.dense.begin(), e.dense.end(), true) != e.dense.end();
  if (e.experts > 0 && !any_dense) s.intermediate = e.shared;
}

std::vector<bool> FirstDense(int64_t layers, int64_t count) {
  std::vector<bool> dense(static_cast<size_t>(layers), false);
  std::fill_n(dense.begin(), std::min(layers, count), true);
  return dense;
}

}  // namespace vramgate
