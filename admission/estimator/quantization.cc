#include "admission/estimator/quantization.h"

#include <algorithm>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "admission/estimator/model_families.h"
#include "admission/estimator/module_names.h"
#include "admission/utf8.h"

namespace vramgate {
namespace {

using nlohmann::json;

// The format of a matrix by its layer (-1: outside of the layers) and name; nullopt leaves it as it is.
using Choose = std::function<std::optional<WeightFormat>(const std::string& module, const Matrix& m)>;

bool IsLinear(Part part) {
  switch (part) {
    case Part::kAttention:
    case Part::kState:
    case Part::kMlp:
    case Part::kExperts:
    case Part::kSharedExpert:
      return true;
    case Part::kEmbedding:
    case Part::kHead:
    case Part::kRouter:
    case Part::kNorm:
    case Part::kVision:
      return false;
  }
  return false;
}

WeightFormat Fp8() {
  return {.name = "fp8", .bits = 8, .scale_bytes = 4};
}
WeightFormat Int8() {
  return {.name = "int8", .bits = 8, .scale_bytes = 4};
}
WeightFormat Fp8Blocks(int64_t in, int64_t out) {
  return {.name = "fp8", .bits = 8, .scale_bytes = 4, .block_in = in, .block_out = out};
}
// Groups of 4-bit weights: an fp16 scale and, as packed, a zero point.
WeightFormat Grouped(const char* name, int64_t bits, int64_t group, bool zeros) {
  return {.name = name, .bits = bits, .scale_bytes = 2, .zero_bits = zeros ? bits : 0, .block_in = group};
}
WeightFormat Nvfp4(int64_t group) {
  return {.name = "nvfp4", .bits = 4, .scale_bytes = 1, .block_in = group > 0 ? group : 16};
}
WeightFormat Mxfp4() {
  return {.name = "mxfp4", .bits = 4, .scale_bytes = 1, .block_in = 32};
}
WeightFormat Mxfp8() {
  return {.name = "mxfp8", .bits = 8, .scale_bytes = 1, .block_in = 32};
}

uint8_t FormatIndex(ModelShape& s, const WeightFormat& format) {
  const auto index = std::find(s.formats.begin(), s.formats.end(), format) - s.formats.begin();
  if (static_cast<size_t>(index) == s.formats.size()) s.formats.push_back(format);
  return static_cast<uint8_t>(std::min<int64_t>(index, 255));
}

void ChooseFor(ModelShape& s, const std::string& prefix, std::vector<Matrix>& matrices, const Choose& choose) {
  for (Matrix& m : matrices) {
    if (m.copy || m.part == Part::kNorm) continue;
    const std::optional<WeightFormat> format = choose(prefix + m.name, m);
    if (format) m.format = FormatIndex(s, *format);
  }
}

// Layers of one kind may come to differ in their formats, so the stack is built again.
void Apply(ModelShape& s, const Choose& choose) {
  const std::vector<Layer> kinds = std::move(s.kinds);
  const std::vector<uint16_t> stack = std::move(s.stack);
  s.kinds.clear();
  s.stack.clear();
  for (size_t i = 0; i < stack.size(); ++i) {
    Layer layer = kinds[stack[i]];
    ChooseFor(s, absl::StrCat("layers.", i, "."), layer.matrices, choose);
    s.Add(layer);
  }
  for (size_t i = 0; i < s.drafts.size(); ++i) {
    ChooseFor(s, absl::StrCat("mtp.layers.", i, "."), s.drafts[i].matrices, choose);
  }
  for (std::vector<Matrix>* ends : {&s.first, &s.last, &s.every}) ChooseFor(s, "", *ends, choose);
}

// All linear layers but those that `ignored` has.
void ApplyToLinear(ModelShape& s, const WeightFormat& format, const ModuleNames& ignored) {
  Apply(s, [&](const std::string& module, const Matrix& m) -> std::optional<WeightFormat> {
    if (!IsLinear(m.part) || ignored.Matches(module)) return std::nullopt;
    return format;
  });
}

std::vector<std::string> Ignored(JsonFields& q) {
  std::vector<std::string> names;
  for (const char* key : {"ignore", "ignored_layers", "modules_to_not_convert", "exclude_modules"}) {
    const std::vector<std::string> more = q.Strings(key);
    names.insert(names.end(), more.begin(), more.end());
  }
  return names;
}

// A compressed-tensors (or modelopt) description of weights.
std::optional<WeightFormat> GroupFormat(JsonFields& w) {
  const int64_t bits = w.Optional({"num_bits"}).value_or(0);
  const int64_t group = std::max<int64_t>(w.Optional({"group_size"}, 0).value_or(0), 0);
  const bool is_float = w.String("type", "int") == "float";
  if (bits == 8 && w.String("strategy", "") == "block") return Fp8Blocks(128, 128);
  if (bits == 8 && group > 0) return Grouped("int8", 8, group, !w.Bool("symmetric", true));
  if (bits == 8) return is_float ? Fp8() : Int8();
  if (bits == 4 && is_float) return group == 32 ? Mxfp4() : Nvfp4(group);
  if (bits == 4) return Grouped("int4", 4, group, !w.Bool("symmetric", true));
  return std::nullopt;
}

struct Group {
  ModuleNames targets;
  bool all = false;  // "Linear"
  WeightFormat format;
};

std::vector<Group> ReadGroups(JsonFields& q) {
  std::vector<Group> groups;
  const json* list = q.Object("config_groups");
  if (list == nullptr) return groups;
  for (const json& entry : *list) {
    const json* weights = entry.is_object() && entry.contains("weights") ? &entry["weights"] : nullptr;
    if (weights == nullptr || !weights->is_object()) continue;
    JsonFields w(*weights, absl::StrCat(q.name(), ": weights"));
    const std::optional<WeightFormat> format = GroupFormat(w);
    JsonFields group(entry, absl::StrCat(q.name(), ": config_groups"));
    const std::vector<std::string> targets = group.Strings("targets");
    if (!w.status().ok() || !group.status().ok() || !format) {
      q.Fail("config_groups", absl::StrCat("weights in a format that is not counted: set weights_bytes to the size of "
                                           "the checkpoint's files"));
      return groups;
    }
    const bool all = targets.empty() || std::find(targets.begin(), targets.end(), "Linear") != targets.end();
    groups.push_back({ModuleNames(targets), all, *format});
  }
  return groups;
}

std::optional<WeightFormat> NamedFormat(std::string name, int64_t group) {
  std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
  if (name == "fp8" || name == "fp8_per_channel_per_token" || name == "fp8_pc_pt") return Fp8();
  if (name == "fp8_pb_wo" || name == "fp8_block") return Fp8Blocks(128, 128);
  if (name == "int8" || name == "w8a8" || name == "w8a16" || name == "int8_sq") return Int8();
  if (name == "nvfp4" || name == "w4a16_nvfp4" || name == "nvfp4_awq" || name == "w4a4_nvfp4") return Nvfp4(group);
  if (name == "mxfp4" || name == "w4a16_mxfp4" || name == "w4a8_mxfp4_fp8") return Mxfp4();
  if (name == "mxfp8") return Mxfp8();
  if (name == "gptq" || name == "awq" || name == "w4a16" || name == "w4a16_awq" || name == "int4") {
    return Grouped(name == "awq" ? "awq" : "gptq", 4, group > 0 ? group : 128, true);
  }
  return std::nullopt;
}

// modelopt's mixed precision: one algorithm for each module, experts listed one by one.
void ReadLayered(JsonFields& q, const json& layers, ModelShape& s) {
  std::map<std::string, WeightFormat> formats;
  for (const auto& [module, entry] : layers.items()) {
    if (!entry.is_object()) return q.Fail("quantized_layers", "an object for each module is expected");
    JsonFields e(entry, "quantized_layers");
    const std::optional<WeightFormat> format =
        NamedFormat(e.String("quant_algo", ""), e.Optional({"group_size"}, 0).value_or(0));
    if (!format) {
      return q.Fail("quantized_layers",
                    absl::StrCat(Quoted(e.String("quant_algo", "")), " is not counted: set weights_bytes"));
    }
    formats.emplace(FromRoot(module), *format);
  }
  const json* base_format = q.Find("weight_block_size");
  Apply(s, [&](const std::string& module, const Matrix& m) -> std::optional<WeightFormat> {
    // The module itself, one that contains it, or the first inside of it.
    for (std::string outer = module; !outer.empty();
         outer.resize(outer.find('.') == std::string::npos ? 0 : outer.rfind('.'))) {
      if (const auto it = formats.find(outer); it != formats.end()) return it->second;
      const auto inside = formats.lower_bound(outer + ".");
      const bool names_it = outer == module || m.part == Part::kExperts;
      const bool experts = outer.size() > 8 && outer.compare(outer.size() - 8, 8, ".experts") == 0;
      if (names_it && (outer == module || experts) && inside != formats.end() &&
          inside->first.compare(0, outer.size() + 1, outer + ".") == 0) {
        return inside->second;
      }
    }
    if (base_format != nullptr && IsLinear(m.part)) return Fp8Blocks(128, 128);
    return std::nullopt;
  });
}

void ReadMethod(JsonFields& q, ModelShape& s) {
  if (const json* layers = q.Object("quantized_layers")) return ReadLayered(q, *layers, s);
  const ModuleNames ignored(Ignored(q));
  const std::string method = q.String("quant_method", q.String("quant_algo", ""));
  const int64_t group_size = q.Find("group_size") != nullptr && q.Find("group_size")->is_number_unsigned()
                                 ? q.Optional({"group_size"}, 0).value_or(0)
                                 : 0;
  if (q.Has("config_groups")) {
    const std::vector<Group> groups = ReadGroups(q);
    Apply(s, [&](const std::string& module, const Matrix& m) -> std::optional<WeightFormat> {
      if (ignored.Matches(module)) return std::nullopt;
      for (const Group& group : groups) {
        if (group.targets.Matches(module)) return group.format;
      }
      for (const Group& group : groups) {
        if (group.all && IsLinear(m.part)) return group.format;
      }
      return std::nullopt;
    });
  } else if (method == "fp8" && q.Has("weight_block_size")) {
    const std::vector<int64_t> block = q.Counts("weight_block_size");
    if (block.size() != 2 || block[0] == 0 || block[1] == 0) {
      return q.Fail("weight_block_size", "two sizes are expected");
    }
    ApplyToLinear(s, Fp8Blocks(block[1], block[0]), ignored);
  } else if (method == "fbgemm_fp8" || method == "fp8") {
    ApplyToLinear(s, Fp8(), ignored);
  } else if (method == "gptq" || method == "awq" || method == "gptq_marlin" || method == "auto-round") {
    const int64_t bits = q.Optional({"bits", "w_bit"}).value_or(4);
    if (bits != 2 && bits != 3 && bits != 4 && bits != 8) return q.Fail("bits", "must be 2, 3, 4 or 8");
    ApplyToLinear(s, Grouped(method == "awq" ? "awq" : "gptq", bits, group_size, true), ignored);
  } else if (method == "mxfp4") {
    Apply(s, [&](const std::string& module, const Matrix& m) -> std::optional<WeightFormat> {
      if (m.part != Part::kExperts || ignored.Matches(module)) return std::nullopt;
      return Mxfp4();
    });
  } else if (const std::optional<WeightFormat> format = NamedFormat(q.String("quant_algo", method), group_size)) {
    ApplyToLinear(s, *format, ignored);
  } else {
    q.Fail("quant_method",
           absl::StrCat(Quoted(method), " is not counted: set weights_bytes to the size of the checkpoint's files"));
  }
}

}  // namespace

void ReadQuantization(JsonFields& f, ModelShape& s) {
  const json* config = f.Object("quantization_config");
  if (config == nullptr) return;
  JsonFields q(*config, absl::StrCat(f.name(), ": quantization_config"));
  ReadMethod(q, s);
  f.Adopt(q.status());
  // DeepSeek-V4 keeps its experts in 4 bits beside a config that speaks of fp8.
  if (f.String("expert_dtype", "") == "fp4" && !q.Has("quantized_layers")) {
    Apply(s, [](const std::string&, const Matrix& m) -> std::optional<WeightFormat> {
      if (m.part != Part::kExperts) return std::nullopt;
      return Mxfp4();
    });
  }
}

void ReadQuantizationFile(JsonFields& f, std::string_view text, ModelShape& s) {
  const absl::StatusOr<json> document = ParseJsonObject(text, "hf_quant_config.json");
  if (!document.ok()) return f.Adopt(document.status());
  JsonFields outer(*document, "hf_quant_config.json");
  if (const json* config = outer.Object("quantization")) {
    JsonFields q(*config, "hf_quant_config.json: quantization");
    if (!q.Has("quant_algo") && !q.Has("quantized_layers")) return;  // of the KV cache only
    ReadMethod(q, s);
    f.Adopt(q.status());
  }
  f.Adopt(outer.status());
}

absl::Status ApplyQuantization(std::string_view name, ModelShape& s) {
  const std::optional<WeightFormat> format = NamedFormat(std::string(name), 0);
  if (!format) {
    return absl::InvalidArgumentError(absl::StrCat(Quoted(name),
                                                   " is not a known quantization: write fp8, int8, gptq, awq, "
                                                   "mxfp4 or nvfp4"));
  }
  ApplyToLinear(s, *format, ModuleNames({}));
  return absl::OkStatus();
}

}  // namespace vramgate
