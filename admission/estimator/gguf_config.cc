#include "admission/estimator/gguf_config.h"

#include <algorithm>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "admission/estimator/gguf_layers.h"

namespace vramgate {
namespace {

// Keys and values of its tokens, a window of them, or a latent; and an indexer's key beside.
void AddAttention(const GgufLayer& from, Layer& layer) {
  if (from.kv_heads == 0) return;
  Kept kept{.heads = from.kv_heads, .key_dim = from.key_dim, .value_dim = from.value_dim, .span = from.window_tokens};
  if (from.is_latent) {
    kept = {.kind = KeptKind::kLatent, .width = from.key_dim, .rope = from.rope_dim};
  } else if (from.window_tokens > 0) {
    kept.kind = from.is_chunked ? KeptKind::kChunk : KeptKind::kWindow;
  }
  layer.kept.push_back(kept);
  if (from.index_dim > 0) layer.kept.push_back({.kind = KeptKind::kIndex, .width = from.index_dim});
}

// llama.cpp keeps every state in fp32. The axes are for who divides it over devices; multiplied out they are the
// elements that the layer has.
void AddState(const GgufModel& m, const GgufLayer& from, Layer& layer) {
  constexpr Axis kUnused{0, 1, false};
  Kept kept{.kind = KeptKind::kState, .taps = m.conv_kernel - 1, .state = kUnused, .state_dtype = DType::kFp32};
  kept.conv.fill(kUnused);
  switch (from.state) {
    case GgufState::kNone:
      return;
    case GgufState::kMamba:
    case GgufState::kDelta: {
      // Mamba-1 has neither groups nor heads: every channel stands alone.
      const bool heads = m.state_groups > 0 && m.state_inner % m.state_heads == 0;
      const Axis inner = heads ? SplitAxis(m.state_heads, m.state_inner / m.state_heads) : SplitAxis(m.state_inner);
      kept.conv[0] = inner;
      kept.conv[1] = SplitAxis(m.state_groups, 2 * m.state_size);
      kept.state = SplitAxis(inner.units, inner.unit * m.state_size);
      break;
    }
    case GgufState::kKda: {
      const int64_t heads = from.state_elements / (m.state_size * m.state_size);
      kept.conv.fill(SplitAxis(heads, m.state_size));
      kept.state = SplitAxis(heads, m.state_size * m.state_size);
      kept.wide_state = true;
      break;
    }
    case GgufState::kShortConv:
      kept.conv[0] = SplitAxis(m.hidden);
      break;
    case GgufState::kRwkv:
      kept.taps = m.conv_kernel;  // of a token shift, every input is kept
      kept.conv[0] = WholeAxis(m.hidden);
      kept.state = SplitAxis(m.hidden, m.state_size);
      break;
  }
  layer.kept.push_back(kept);
}

ModelShape ShapeOf(const GgufModel& m) {
  ModelShape s;
  s.family = m.architecture;
  for (const GgufLayer& from : m.layers) {
    Layer layer;
    AddAttention(from, layer);
    AddState(m, from, layer);
    s.Add(layer);
  }
  // A draft's layers attend to all tokens, as the last such layer of the model does.
  const auto full = std::find_if(m.layers.rbegin(), m.layers.rend(),
                                 [](const GgufLayer& l) { return l.kv_heads > 0 && l.window_tokens == 0; });
  if (full != m.layers.rend() && m.draft_layers > 0) {
    Layer draft;
    AddAttention(*full, draft);
    s.drafts.assign(static_cast<size_t>(m.draft_layers), draft);
  }
  s.hidden = m.hidden;
  s.heads = m.heads;
  s.vocab = m.vocab;
  s.max_positions = std::min(m.context_tokens, kMaxVocab);
  s.intermediate = m.intermediate;
  s.experts_per_token = m.experts_used;
  s.expert_intermediate = m.experts > 0 ? m.expert_intermediate : 0;
  s.tied_embeddings = m.is_tied;
  return s;
}

// What activation needs, where KV is given by hand: whatever is there, of an architecture that is not known.
ModelShape SizesOnly(const GgufFile& file) {
  ModelShape s;
  const std::string architecture = file.String("general.architecture").value_or("");
  s.family = absl::CHexEscape(architecture.substr(0, 64));
  const auto size = [&](const char* key, int64_t max) {
    return std::min(file.Uint(absl::StrCat(architecture, ".", key)).value_or(0), max);
  };
  s.hidden = size("embedding_length", kMaxWidth);
  s.intermediate = size("feed_forward_length", kMaxWidth);
  s.max_positions = size("context_length", kMaxVocab);
  const int64_t layers = size("block_count", kMaxLayers);
  for (int64_t i = 0; i < layers; ++i) s.Add(Layer{});
  return s;
}

}  // namespace

absl::StatusOr<ModelShape> ShapeOfGguf(const GgufFile& file, std::string_view name_for_errors,
                                       const ModelOverrides& overrides) {
  const absl::StatusOr<GgufModel> model = ReadGgufLayers(file, name_for_errors);
  if (!model.ok() && !overrides.kv_bytes_per_token.has_value()) return model.status();
  ModelShape shape = model.ok() ? ShapeOf(*model) : SizesOnly(file);
  shape.dtype = DType::kFp16;  // of caches and of what is not quantized, where nobody says otherwise
  if (file.tensor_bytes > 0) shape.checkpoint_bytes = file.tensor_bytes;
  shape.kv_bytes_per_token = overrides.kv_bytes_per_token;
  shape.state_bytes = overrides.state_bytes;
  shape.weights_bytes = overrides.weights_bytes;
  shape.parameters = overrides.parameters;
  shape.activation_bytes = overrides.activation_bytes;
  if (const absl::Status s = shape.Validate(); !s.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat(absl::string_view(name_for_errors.data(), name_for_errors.size()), ": ", s.message()));
  }
  return shape;
}

absl::StatusOr<ModelShape> ReadGgufModel(const std::string& path, const ModelOverrides& overrides) {
  const absl::StatusOr<GgufFile> file = ReadGgufFile(path);
  if (!file.ok()) return file.status();
  return ShapeOfGguf(*file, path, overrides);
}

}  // namespace vramgate
