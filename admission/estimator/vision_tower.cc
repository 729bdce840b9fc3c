#include "admission/estimator/vision_tower.h"

#include <algorithm>
#include <cmath>

#include "admission/estimator/decoder.h"

namespace vramgate {
namespace {

struct Tower {
  int64_t layers = 0;
  int64_t width = 0;
  int64_t inner = 0;
  int64_t patch = 14;
  int64_t frames = 1;  // patches in time
  int64_t positions = 0;
  int64_t out = 0;  // text width, where the tower says it
  int64_t deepstack = 0;
};

Tower ReadTower(JsonFields& v) {
  Tower t;
  t.layers = v.Optional({"num_hidden_layers", "depth", "vt_num_hidden_layers", "num_layers", "layers"}).value_or(0);
  t.width = v.Optional({"embed_dim", "vt_hidden_size", "hidden_size", "width"}).value_or(0);
  t.inner = v.Optional({"intermediate_size", "vt_intermediate_size"}).value_or(0);
  if (t.inner == 0) t.inner = static_cast<int64_t>(v.Number("mlp_ratio", 0, 0, 64) * static_cast<double>(t.width));
  t.patch = v.Optional({"patch_size"}).value_or(14);
  t.frames = v.Optional({"temporal_patch_size"}).value_or(1);
  t.positions = v.Optional({"num_position_embeddings"}, 0).value_or(0);
  // Gemma 4's: a table for each direction.
  if (t.positions == 0) t.positions = 2 * v.Optional({"position_embedding_size"}, 0).value_or(0);
  const int64_t side = v.Optional({"image_size"}, 0).value_or(0) / std::max<int64_t>(t.patch, 1);
  if (t.positions == 0) t.positions = std::min<int64_t>(side, 1024) * std::min<int64_t>(side, 1024);
  t.deepstack = static_cast<int64_t>(v.Counts("deepstack_visual_indexes").size());
  // Qwen2-VL's tower calls its own width embed_dim and the text's hidden_size.
  t.out = v.Optional({"out_hidden_size", "text_hidden_size", "projection_dim"}).value_or(0);
  return t;
}

void AddLayers(const Tower& t, const VisionHabit& habit, ModelShape& s) {
  const auto add = [&](const char* name, Axis in, Axis out) {
    Matrix m = Linear(name, Part::kVision, in, out, true);
    m.copies = t.layers;
    s.every.push_back(m);
  };
  const Axis width = WholeAxis(t.width);
  const Axis heads = habit.split_attention ? SplitAxis(t.width) : width;
  add("vision_tower.qkv", width, {heads.units, 3, heads.split});
  add("vision_tower.proj", heads, width);
  add("vision_tower.up", width, SplitAxis(t.inner, habit.gated ? 2 : 1));
  add("vision_tower.down", SplitAxis(t.inner), width);
  Matrix norms = Norm("vision_tower.norms", 4 * t.width);
  norms.copies = t.layers;
  s.every.push_back(norms);
  s.every.push_back(
      Linear("vision_tower.patch_embed", Part::kVision, WholeAxis(3 * t.patch * t.patch * t.frames), width, true));
  if (t.positions > 0)
    s.every.push_back(Linear("vision_tower.positions", Part::kVision, WholeAxis(t.positions), width));
}

void AddProjector(const Tower& t, const VisionHabit& habit, int64_t stages, ModelShape& s) {
  const int64_t text = s.hidden;
  const int64_t patches = habit.merge * habit.merge;
  const auto add = [&](int64_t in, int64_t out, int64_t copies = 1) {
    Matrix m = Linear("multi_modal_projector", Part::kVision, WholeAxis(in), SplitAxis(out), true);
    m.copies = copies;
    s.every.push_back(m);
  };
  switch (habit.projector) {
    case VisionHabit::Projector::kNone:
      return;
    case VisionHabit::Projector::kLinear:
      return add(t.width * patches, text);
    case VisionHabit::Projector::kMlp:
      add(t.width * patches * stages, text);
      return add(text, text);
    case VisionHabit::Projector::kMerger:
      add(t.width * patches, t.width * patches, 1 + t.deepstack);
      return add(t.width * patches, text, 1 + t.deepstack);
  }
}

}  // namespace

void AddVisionTower(JsonFields& outer, const VisionHabit& habit, ModelShape& s) {
  const nlohmann::json* config = outer.Object("vision_config");
  if (config == nullptr && habit.default_layers == 0) return;
  s.multimodal = true;
  static const nlohmann::json kNothing = nlohmann::json::object();
  JsonFields v(config != nullptr ? *config : kNothing, outer.name() + ": vision_config");
  Tower t = ReadTower(v);
  if (t.patch > 4096 || t.frames > 4096) v.Fail("patch_size", "more than 4096 is not believed");
  if (!v.status().ok()) return outer.Adopt(v.status());
  if (config == nullptr) {
    t.layers = habit.default_layers;
    t.width = habit.default_width;
    t.inner = habit.default_inner;
  }
  if (t.layers == 0 || t.layers > kMaxLayers || t.width == 0 || t.inner == 0) {
    s.counted = false;
    return;
  }
  // A list of layers to read features from: their widths are joined (LLaVA-NeXT of Granite Vision).
  int64_t stages = 1;
  if (const nlohmann::json* list = outer.Find("vision_feature_layer"); list != nullptr && list->is_array()) {
    stages = std::clamp<int64_t>(static_cast<int64_t>(list->size()), 1, 64);
  }
  AddLayers(t, habit, s);
  AddProjector(t, habit, stages, s);
}

}  // namespace vramgate
