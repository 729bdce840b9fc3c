#include "admission/estimator/model_config.h"

#include <algorithm>
#include <array>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "admission/estimator/json_fields.h"
#include "admission/estimator/model_families.h"
#include "admission/estimator/quantization.h"
#include "admission/estimator/vision_tower.h"

namespace vramgate {
namespace {

using nlohmann::json;
using Projector = VisionHabit::Projector;

// A model of several parts around a text model.
struct Wrapper {
  std::string_view model_type;
  std::string_view text_type;  // where the inner config does not say
  VisionHabit vision;
};

constexpr std::array<Wrapper, 26> kWrappers = {{
    {"aya_vision", "cohere2", {.projector = Projector::kMlp}},
    {"gemma3", "gemma3_text", {.projector = Projector::kLinear}},
    {"gemma3n", "gemma3n_text", {.projector = Projector::kNone}},
    {"gemma4", "gemma4_text", {.projector = Projector::kLinear, .gated = true}},
    {"idefics3", "llama", {.projector = Projector::kLinear, .merge = 4}},
    {"internvl_chat", "qwen2", {.projector = Projector::kMlp, .merge = 2}},
    {"kimi_k25", "kimi_k2", {.projector = Projector::kMerger, .merge = 2, .split_attention = false}},
    {"kimi_vl", "deepseek_v3", {.projector = Projector::kMerger, .merge = 2, .split_attention = false}},
    {"llama4",
     "llama4_text",
     {.projector = Projector::kMlp, .default_layers = 34, .default_width = 1408, .default_inner = 5632}},
    {"llava", "llama", {.projector = Projector::kMlp}},
    {"llava_next", "llama", {.projector = Projector::kMlp}},
    {"llava_next_video", "llama", {.projector = Projector::kMlp}},
    {"llava_onevision", "qwen2", {.projector = Projector::kMlp}},
    {"minimax_m3_vl", "minimax_m3", {.projector = Projector::kMlp}},
    {"mistral3", "mistral", {.projector = Projector::kMlp, .merge = 2, .gated = true}},
    {"mllama", "mllama_text_model", {.projector = Projector::kLinear}},
    {"paligemma", "gemma", {.projector = Projector::kLinear}},
    {"pixtral", "mistral", {.projector = Projector::kMlp, .gated = true}},
    {"qwen2_5_vl", "qwen2", {.projector = Projector::kMerger, .merge = 2, .gated = true}},
    {"qwen2_vl", "qwen2", {.projector = Projector::kMerger, .merge = 2}},
    {"qwen3_5", "qwen3_5_text", {.projector = Projector::kMerger, .merge = 2}},
    {"qwen3_5_moe", "qwen3_5_moe_text", {.projector = Projector::kMerger, .merge = 2}},
    {"qwen3_vl", "qwen3", {.projector = Projector::kMerger, .merge = 2}},
    {"qwen3_vl_moe", "qwen3_vl_moe_text", {.projector = Projector::kMerger, .merge = 2}},
    {"smolvlm", "llama", {.projector = Projector::kLinear, .merge = 4}},
    {"vipllava", "llama", {.projector = Projector::kMlp}},
}};

// Inner names of text models that are read like another family.
constexpr std::array<std::pair<std::string_view, std::string_view>, 4> kTextNames = {{
    {"qwen2_5_vl_text", "qwen2"},
    {"qwen2_vl_text", "qwen2"},
    {"qwen3_vl_text", "qwen3"},
    {"mistral3_text", "mistral"},
}};

constexpr std::array<const char*, 4> kTextKeys = {"text_config", "llm_config", "language_config", "thinker_config"};

// Keys that change what a layer keeps. A config of a family that carries one which its reader does not know is another
// model in its clothes, and the family's formula would be wrong for it.
struct ForeignKey {
  const char* key;
  std::string_view families;  // that know it, each between spaces
};
constexpr std::array<ForeignKey, 17> kForeignKeys = {{
    {"kv_lora_rank",
     " deepseek_v2 deepseek_v3 deepseek_v32 glm4_moe_lite glm_moe_dsa kimi_k2 kimi_linear longcat_flash "
     "pangu_ultra_moe "},
    {"index_topk", " deepseek_v32 glm_moe_dsa deepseek_v4 deepseek_ref deepseek_v3 deepseek_v2 "},
    {"compress_ratios", " deepseek_v4 deepseek_ref "},
    {"num_kv_shared_layers", " gemma3n gemma3n_text gemma4 gemma4_text "},
    {"block_configs", " nemotron-nas "},
    {"attn_layer_period", " jamba "},
    {"hybrid_override_pattern", " nemotron_h "},
    {"hybrid_layer_pattern", " mimo_v2 mimo_v2_flash "},
    {"full_attention_interval", " qwen3_next qwen3_5_text qwen3_5_moe_text "},
    {"linear_attn_config", " kimi_linear "},
    {"linear_num_key_heads", " qwen3_next qwen3_5_text qwen3_5_moe_text "},
    {"mamba_d_state", " jamba granitemoehybrid bamba falcon_h1 zamba2 "},
    {"ssm_state_size", " nemotron_h zamba2 "},
    {"attn_type_list", " minimax minimax_m2 minimax_text_01 "},
    {"conv_L_cache", " lfm2 lfm2_moe "},
    {"cross_attention_layers", " mllama_text_model "},
    {"sparse_attention_config", " minimax_m3 "},
}};

bool PricedByHand(const ModelOverrides& o) {
  return o.kv_bytes_per_token.has_value() && (o.weights_bytes.has_value() || o.parameters.has_value());
}

std::string Family(JsonFields& f) {
  std::string name = f.String("model_type", "");
  if (name.size() > 64) name.resize(64);
  return absl::CHexEscape(name);
}

// What the checkpoint's elements are, where the config says so.
void ReadDType(JsonFields& f, ModelShape& s) {
  const char* key = f.Has("dtype") ? "dtype" : "torch_dtype";
  const std::string text = f.String(key, "");
  if (text.empty() || text == "auto") return;
  const absl::StatusOr<DType> dtype = ParseWeightsDType(text);
  if (!dtype.ok()) return f.Fail(key, std::string(dtype.status().message()));
  if (DTypeBytes(*dtype) < 2) return f.Fail(key, "a whole model in 8 bits is not known: set weights_bytes");
  s.dtype = *dtype;
}

// The sizes that activation needs, where the rest is given by hand. Their absence is no error here.
ModelShape ReadSizesOnly(JsonFields& f) {
  ModelShape s;
  s.family = Family(f);
  const int64_t layers = f.Optional({"num_hidden_layers", "n_layer", "num_layers", "n_layers"}).value_or(0);
  for (int64_t i = 0; i < std::min(layers, kMaxLayers); ++i) s.Add({});
  s.hidden = f.Optional({"hidden_size", "n_embd", "d_model"}).value_or(0);
  s.vocab = f.Optional({"vocab_size"}).value_or(0);
  s.max_positions = f.Optional({"max_position_embeddings", "n_positions"}).value_or(0);
  return s;
}

void RefuseForeign(JsonFields& f, const std::string& family) {
  const std::string word = absl::StrCat(" ", family, " ");
  for (const ForeignKey& foreign : kForeignKeys) {
    if (f.Has(foreign.key) && foreign.families.find(word) == std::string_view::npos) {
      f.Fail(foreign.key,
             absl::StrCat("plain ", family, " models have none, so this is another kind: ", kOverrideHint));
    }
  }
}

void ReadText(JsonFields& f, const std::string& family, ModelShape& s) {
  const ReadFamily read = FindFamily(family);
  if (read == nullptr) {
    const std::string what = family.empty() ? "missing" : absl::StrCat("\"", family, "\" is not known");
    return f.Fail("model_type",
                  absl::StrCat(what, ", and never guessed: ", kOverrideHint, ". Known: ", KnownFamilies()));
  }
  RefuseForeign(f, family);
  if (!f.status().ok()) return;
  s.family = family;
  read(f, s);
}

const Wrapper* FindWrapper(std::string_view model_type) {
  const auto it =
      std::find_if(kWrappers.begin(), kWrappers.end(), [&](const Wrapper& w) { return w.model_type == model_type; });
  return it == kWrappers.end() ? nullptr : &*it;
}

std::string TextFamily(JsonFields& text, const Wrapper* wrapper) {
  std::string family = Family(text);
  if (family.empty() && wrapper != nullptr) family = wrapper->text_type;
  for (const auto& [name, known] : kTextNames) {
    if (family == name) family = known;
  }
  return family;
}

// A text model inside: its config, with what stands outside of it.
void ReadWrapped(JsonFields& f, const json& inner, const Wrapper* wrapper, ModelShape& s) {
  json merged = inner;
  // Some configs keep these on the outer level only.
  for (const char* key : {"tie_word_embeddings", "dtype", "torch_dtype", "vocab_size", "vision_config"}) {
    if (f.Has(key) && (!merged.contains(key) || merged[key].is_null())) merged[key] = *f.Find(key);
  }
  if (merged.contains("text_config") && merged["text_config"].is_object()) merged = json(merged["text_config"]);
  JsonFields text(merged, f.name() + ": text_config");
  ReadText(text, TextFamily(text, wrapper), s);
  if (text.status().ok()) ReadDType(text, s);
  if (text.status().ok()) ReadQuantization(text, s);
  f.Adopt(text.status());
  if (wrapper != nullptr) s.family = wrapper->model_type;
}

ModelShape ReadShape(JsonFields& f, const ModelOverrides& overrides) {
  ModelShape s;
  const std::string outer = Family(f);
  const Wrapper* wrapper = FindWrapper(outer);
  const json* inner = nullptr;
  for (const char* key : kTextKeys) {
    if (inner == nullptr) inner = f.Object(key);
  }
  if (inner != nullptr && wrapper == nullptr) {
    f.Fail("model_type", absl::StrCat("\"", outer, "\" is not a known frame around a text model: ", kOverrideHint));
  } else if (inner != nullptr) {
    ReadWrapped(f, *inner, wrapper, s);
  } else if (wrapper != nullptr && FindFamily(outer) == nullptr) {
    ReadText(f, std::string(wrapper->text_type), s);  // older Qwen-VL: the text model's keys stand on the outer level
  } else {
    ReadText(f, outer, s);
    if (f.Has("vision_config") && wrapper == nullptr) {
      f.Fail("vision_config",
             absl::StrCat("plain ", outer, " models have none, so this is another kind: ", kOverrideHint));
    }
  }
  if (!f.status().ok()) return s;
  if (wrapper != nullptr) AddVisionTower(f, wrapper->vision, s);
  ReadDType(f, s);
  const bool weights_given = overrides.weights_bytes.has_value() || overrides.parameters.has_value();
  if (!f.status().ok() || weights_given) return s;
  ReadQuantization(f, s);
  if (!f.Has("quantization_config") && !overrides.quantization_file.empty()) {
    ReadQuantizationFile(f, overrides.quantization_file, s);
  }
  // What the checkpoint already is, an engine's flag only names once more.
  const bool quantized = s.formats.size() > 1;
  if (overrides.quantization && !quantized && f.status().ok()) {
    const absl::Status applied = ApplyQuantization(*overrides.quantization, s);
    if (!applied.ok()) f.Fail("quantization", std::string(applied.message()));
  }
  return s;
}

// Parts of a config are read under names of their own; the file's comes before them.
absl::Status Named(const absl::Status& status, std::string_view name) {
  const absl::string_view message = status.message();
  const absl::string_view file(name.data(), name.size());
  if (message.substr(0, file.size()) == file) return status;
  return absl::Status(status.code(), absl::StrCat(file, ": ", message));
}

void Apply(const ModelOverrides& o, ModelShape& s) {
  s.kv_bytes_per_token = o.kv_bytes_per_token;
  s.state_bytes = o.state_bytes;
  s.weights_bytes = o.weights_bytes;
  s.parameters = o.parameters;
  s.activation_bytes = o.activation_bytes;
}

}  // namespace

absl::StatusOr<ModelShape> ParseModelConfig(std::string_view text, std::string_view name_for_errors,
                                            const ModelOverrides& overrides) {
  const absl::StatusOr<json> document = ParseJsonObject(text, name_for_errors);
  if (!document.ok()) return document.status();
  JsonFields fields(*document, name_for_errors);
  ModelShape shape = ReadShape(fields, overrides);
  if (!fields.status().ok() && PricedByHand(overrides)) {
    fields = JsonFields(*document, name_for_errors);
    shape = ReadSizesOnly(fields);
  }
  if (!fields.status().ok()) return Named(fields.status(), name_for_errors);
  Apply(overrides, shape);
  if (const absl::Status s = shape.Validate(); !s.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat(absl::string_view(name_for_errors.data(), name_for_errors.size()), ": ", s.message()));
  }
  return shape;
}

}  // namespace vramgate
