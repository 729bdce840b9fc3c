#include "admission/estimator/gguf_layers.h"

#include <algorithm>
#include <optional>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "admission/estimator/gguf_fields.h"
#include "admission/utf8.h"

namespace vramgate {
namespace {

// So that no product below overflows.
constexpr int64_t kMaxLayers = 2048;  // as many as a file's list is read for
constexpr int64_t kMaxWidth = int64_t{1} << 24;
constexpr int64_t kMaxHeads = int64_t{1} << 16;
constexpr int64_t kMaxDim = int64_t{1} << 16;
constexpr int64_t kMaxKernel = 1024;
constexpr int64_t kMaxTokens = int64_t{1} << 40;

constexpr char kOverrides[] = "set kv_bytes_per_token (and state_bytes, if it has a state) to price it by hand";

class LayersReader {
 public:
  LayersReader(GgufFields& fields, const GgufArch& arch) : f_(fields), arch_(arch) {}

  GgufModel Read();

 private:
  void ReadSizes();
  void ReadStateSizes();
  void SetAttention(const std::vector<int64_t>& kv_heads);
  void SetWindows();
  void SetState(GgufLayer& layer);
  void SetIndexer();
  void SetSharing();
  bool IsLatent();
  std::vector<bool> StateLayers(const std::vector<int64_t>& kv_heads);
  std::vector<bool> AttentionLayers(const std::vector<int64_t>& kv_heads);

  int64_t layers() const { return static_cast<int64_t>(m_.layers.size()); }

  GgufFields& f_;
  const GgufArch& arch_;
  GgufModel m_;
  int64_t first_heads_ = 0;  // of layer 0: what llama.cpp derives sizes from
};

GgufModel LayersReader::Read() {
  ReadSizes();
  if (!f_.status().ok()) return m_;
  ReadStateSizes();
  const std::vector<int64_t> heads = f_.PerLayer("attention.head_count", layers(), 0, kMaxHeads);
  first_heads_ = heads.front();
  m_.heads = *std::max_element(heads.begin(), heads.end());
  // Absent: as many as the layer's heads (llama.cpp's load_hparams).
  std::vector<int64_t> kv_heads = heads;
  if (f_.Has("attention.head_count_kv")) {
    kv_heads = f_.PerLayer("attention.head_count_kv", layers(), 0, kMaxHeads);
  }
  const std::vector<bool> has_state = StateLayers(kv_heads);
  if (arch_.plan != GgufPlan::kState) SetAttention(kv_heads);
  for (int64_t i = 0; i < layers(); ++i) {
    if (has_state[i]) SetState(m_.layers[i]);
  }
  return m_;
}

void LayersReader::ReadSizes() {
  const int64_t blocks = f_.Required("block_count", kMaxLayers);
  m_.draft_layers = f_.Optional("nextn_predict_layers", kMaxLayers).value_or(0);
  if (m_.draft_layers >= blocks) return f_.Fail("nextn_predict_layers", "as many as all layers, or more");
  m_.layers.resize(blocks - m_.draft_layers);
  m_.hidden = f_.Required("embedding_length", kMaxWidth);
  m_.context_tokens = f_.Optional("context_length", kMaxTokens).value_or(0);
  const GgufValue* tokens = f_.file().Find("tokenizer.ggml.tokens");
  m_.vocab = f_.Optional("vocab_size", kMaxWidth)
                 .value_or(tokens == nullptr ? 0 : static_cast<int64_t>(std::min<uint64_t>(tokens->count, kMaxWidth)));
  const std::vector<int64_t> widths = f_.PerLayer("feed_forward_length", layers(), 0, kMaxWidth);
  m_.intermediate = *std::max_element(widths.begin(), widths.end());
  m_.experts = f_.Optional("expert_count", kMaxHeads).value_or(0);
  m_.experts_used = f_.Optional("expert_used_count", kMaxHeads).value_or(0);
  m_.dense_layers = f_.Optional("leading_dense_block_count", kMaxLayers).value_or(0);
  const std::vector<int64_t> expert_widths = f_.PerLayer("expert_feed_forward_length", layers(), 0, kMaxWidth);
  m_.expert_intermediate = *std::max_element(expert_widths.begin(), expert_widths.end());
  if (m_.experts > 0 && m_.expert_intermediate == 0) m_.expert_intermediate = m_.intermediate;  // as Mixtral's
  const int64_t shared = f_.Optional("expert_shared_count", kMaxHeads).value_or(0);
  m_.shared_intermediate =
      f_.Optional("expert_shared_feed_forward_length", kMaxWidth).value_or(shared * m_.expert_intermediate);
  m_.weights_bytes = f_.file().tensor_bytes;
  const GgufTensor* embedding = f_.file().FindTensor("token_embd.weight");
  m_.embedding_bytes = embedding == nullptr ? 0 : embedding->bytes;
  m_.is_tied = f_.file().FindTensor("output.weight") == nullptr;
}

void LayersReader::ReadStateSizes() {
  switch (arch_.state) {
    case GgufState::kNone:
      return;
    case GgufState::kMamba:
    case GgufState::kDelta:
      m_.conv_kernel = f_.Required("ssm.conv_kernel", kMaxKernel);
      m_.state_inner = f_.Required("ssm.inner_size", kMaxWidth);
      m_.state_size = f_.Required("ssm.state_size", kMaxDim);
      m_.state_groups = f_.Optional("ssm.group_count", kMaxDim).value_or(0);  // Mamba-1 has none
      m_.state_heads = f_.Required("ssm.time_step_rank", kMaxWidth);
      return;
    case GgufState::kKda:
      m_.conv_kernel = f_.Required("ssm.conv_kernel", kMaxKernel);
      m_.state_size = f_.Required("kda.head_dim", 4096);
      return;
    case GgufState::kShortConv:
      m_.conv_kernel = f_.Required("shortconv.l_cache", kMaxKernel);
      return;
    case GgufState::kRwkv:
      m_.state_size = f_.Required("wkv.head_size", kMaxDim);
      m_.conv_kernel = f_.Optional("token_shift_count", kMaxKernel).value_or(2);
      return;
  }
}

// llama_hparams::n_embd_r and n_embd_s: elements of one sequence, f32.
void LayersReader::SetState(GgufLayer& layer) {
  layer.state = arch_.state;
  switch (arch_.state) {
    case GgufState::kNone:
      return;
    case GgufState::kMamba:
    case GgufState::kDelta:
      layer.conv_elements = (m_.conv_kernel - 1) * (m_.state_inner + 2 * m_.state_groups * m_.state_size);
      layer.state_elements = m_.state_size * m_.state_inner;
      return;
    case GgufState::kKda:
      layer.conv_elements = 3 * (m_.conv_kernel - 1) * first_heads_ * m_.state_size;
      layer.state_elements = m_.state_size * m_.state_size * first_heads_;
      return;
    case GgufState::kShortConv:
      layer.conv_elements = m_.hidden * (m_.conv_kernel - 1);
      return;
    case GgufState::kRwkv:
      layer.conv_elements = m_.conv_kernel * m_.hidden;
      layer.state_elements = m_.hidden * m_.state_size;
      return;
  }
}

std::vector<bool> LayersReader::StateLayers(const std::vector<int64_t>& kv_heads) {
  std::vector<bool> result(m_.layers.size(), arch_.plan == GgufPlan::kState || arch_.plan == GgufPlan::kBoth);
  if (arch_.plan == GgufPlan::kByKvHeads) {
    for (size_t i = 0; i < result.size(); ++i) result[i] = kv_heads[i] == 0;
  } else if (arch_.plan == GgufPlan::kByKvHeadsFf) {
    const std::vector<int64_t> widths = f_.PerLayer("feed_forward_length", layers(), 0, kMaxWidth);
    for (size_t i = 0; i < result.size(); ++i) result[i] = kv_heads[i] == 0 && widths[i] == 0;
  } else if (arch_.plan == GgufPlan::kInterval) {
    const int64_t interval = f_.Optional("full_attention_interval", kMaxLayers).value_or(arch_.period);
    if (interval == 0) f_.Fail("full_attention_interval", "0, where an interval is expected");
    const bool listed = f_.Has("attention.recurrent_layers");
    const std::vector<int64_t> list = f_.PerLayer("attention.recurrent_layers", layers(), 0, 1);
    for (size_t i = 0; i < result.size(); ++i) {
      result[i] = listed ? list[i] != 0 : (static_cast<int64_t>(i) + 1) % std::max<int64_t>(interval, 1) != 0;
    }
  }
  return result;
}

// Converted for MLA: then the file has the sizes of both forms, and the up-projection of keys is split off.
bool LayersReader::IsLatent() {
  if (arch_.plan != GgufPlan::kLatent && arch_.state != GgufState::kKda) return false;
  if (!f_.Has("attention.key_length_mla") || !f_.Has("attention.value_length_mla")) return false;
  for (const GgufTensor& tensor : f_.file().tensors) {
    if (tensor.name.ends_with(".attn_kv_b.weight")) return false;  // an old conversion of it
  }
  return true;
}

void LayersReader::SetAttention(const std::vector<int64_t>& kv_heads) {
  const bool latent = IsLatent();
  const int64_t derived = first_heads_ > 0 ? m_.hidden / first_heads_ : 0;
  const bool unsplit = arch_.state == GgufState::kKda && !latent;  // its keys and values come in their full sizes
  const char* key = unsplit ? "attention.key_length_mla" : "attention.key_length";
  const char* value = unsplit ? "attention.value_length_mla" : "attention.value_length";
  const int64_t key_dim = latent ? f_.Required(key, kMaxDim) : f_.Optional(key, kMaxDim).value_or(derived);
  const int64_t value_dim = f_.Optional(value, kMaxDim).value_or(derived);
  const int64_t rope_dim = f_.Optional("rope.dimension_count", kMaxDim).value_or(0);
  const std::vector<bool> has_state = StateLayers(kv_heads);
  if (*std::max_element(kv_heads.begin(), kv_heads.end()) == 0) {
    return f_.Fail("attention.head_count_kv", "no layer has any, or it is missing");
  }
  for (size_t i = 0; i < m_.layers.size(); ++i) {
    if (kv_heads[i] == 0 || (has_state[i] && arch_.plan != GgufPlan::kBoth)) continue;
    if (key_dim == 0 || (value_dim == 0 && !latent))
      return f_.Fail(key, "0 or missing, and no heads to derive it from");
    GgufLayer& layer = m_.layers[i];
    layer.kv_heads = latent ? 1 : kv_heads[i];
    layer.key_dim = key_dim;
    layer.value_dim = latent ? 0 : value_dim;
    layer.is_latent = latent;
    if (latent) layer.rope_dim = std::min(rope_dim, key_dim);
  }
  SetWindows();
  SetIndexer();
  SetSharing();
}

void LayersReader::SetWindows() {
  if (arch_.window == GgufWindow::kNone) return;
  const std::optional<int64_t> given = f_.Optional("attention.sliding_window", kMaxTokens);
  const bool there = arch_.only_of_layers == 0 || arch_.only_of_layers == layers();
  int64_t window = given.value_or(there ? arch_.default_window : 0);
  if (arch_.window == GgufWindow::kChunked && window > 0) window = arch_.default_window;  // llama.cpp's own constant
  if (window == 0 || !there) {
    if (arch_.window == GgufWindow::kPattern) f_.Fail("attention.sliding_window", "missing");
    return;
  }
  constexpr char kPatternKey[] = "attention.sliding_window_pattern";
  const GgufValue* pattern = f_.Find(kPatternKey);
  const bool listed = (pattern != nullptr && pattern->is_array) || arch_.window == GgufWindow::kPattern;
  if (listed && pattern == nullptr) return f_.Fail(kPatternKey, "missing");
  const std::vector<int64_t> list = listed ? f_.PerLayer(kPatternKey, layers(), 0, 1) : std::vector<int64_t>();
  const int64_t period = listed ? 1 : f_.Optional(kPatternKey, kMaxLayers).value_or(arch_.period);
  const std::optional<int64_t> key_dim = f_.Optional("attention.key_length_swa", kMaxDim);
  const std::optional<int64_t> value_dim = f_.Optional("attention.value_length_swa", kMaxDim);
  for (int64_t i = 0; i < layers(); ++i) {
    GgufLayer& layer = m_.layers[i];
    const int64_t full = arch_.full_first ? 0 : period - 1;
    const bool windowed = listed ? list[i] != 0 : period == 0 || i % period != full;
    if (layer.kv_heads == 0 || !windowed) continue;
    layer.window_tokens = window;
    layer.is_chunked = arch_.window == GgufWindow::kChunked;
    layer.key_dim = key_dim.value_or(layer.key_dim);
    layer.value_dim = value_dim.value_or(layer.value_dim);
    if (layer.key_dim == 0 || layer.value_dim == 0) return f_.Fail("attention.key_length_swa", "0");
  }
}

// DSA: one key of the indexer a token. GLM-5.2 has one in the first two layers and then in every fourth, and files of
// it that do not say so; llama.cpp knows it by its context.
void LayersReader::SetIndexer() {
  if (!f_.Has("attention.indexer.key_length")) return;
  const int64_t dim = f_.Required("attention.indexer.key_length", kMaxDim);
  const bool listed = f_.Has("attention.indexer.types");
  const std::vector<int64_t> list = f_.PerLayer("attention.indexer.types", layers(), 1, 1);
  const bool all = arch_.indexer_period == 0 || m_.context_tokens < (int64_t{1} << 20);
  for (int64_t i = 0; i < layers(); ++i) {
    const bool has = listed ? list[i] != 0 : all || i < 2 || (i - 2) % arch_.indexer_period == 0;
    if (m_.layers[i].kv_heads > 0 && has) m_.layers[i].index_dim = dim;
  }
}

// The last layers use the keys and values of earlier ones.
void LayersReader::SetSharing() {
  int64_t own = arch_.own_kv_layers > 0 ? std::min(arch_.own_kv_layers, layers()) : layers();
  if (const std::optional<int64_t> shared = f_.Optional("attention.shared_kv_layers", kMaxLayers)) {
    if (*shared >= layers()) return f_.Fail("attention.shared_kv_layers", "as many as all layers, or more");
    own = layers() - *shared;
  }
  for (int64_t i = own; i < layers(); ++i) m_.layers[i] = GgufLayer{};
}

}  // namespace

absl::StatusOr<GgufModel> ReadGgufLayers(const GgufFile& file, std::string_view name) {
  const std::string shown(name);
  const std::optional<std::string> architecture = file.String("general.architecture");
  const GgufArch* arch = architecture.has_value() ? FindGgufArch(*architecture) : nullptr;
  if (arch == nullptr) {
    const std::string what =
        architecture.has_value() ? absl::StrCat(Quoted(*architecture), " is not known, and never guessed") : "missing";
    return absl::InvalidArgumentError(absl::StrCat(shown, ": general.architecture: ", what, ": ", kOverrides));
  }
  GgufFields fields(file, *architecture, name);
  if (const char* key = FindForeignKey(*arch, [&](std::string_view k) { return fields.Has(k); })) {
    fields.Fail(key, absl::StrCat("models of this architecture have none, so this is another kind: ", kOverrides));
    return fields.status();
  }
  GgufModel model = LayersReader(fields, *arch).Read();
  if (!fields.status().ok()) return fields.status();
  model.architecture = *architecture;
  return model;
}

}  // namespace vramgate
