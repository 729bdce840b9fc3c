#include "admission/estimator/model_config.h"

#include <array>
#include <filesystem>
#include <fstream>
#include <system_error>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "admission/estimator/json_fields.h"
#include "admission/estimator/model_families.h"

namespace vramgate {
namespace {

using nlohmann::json;

// Keys of layer kinds that plain attention does not have. A config of a known family that carries one is another model
// in its clothes, and the family's formula would be wrong for it.
constexpr std::array<const char*, 18> kForeignKeys = {
    "kv_lora_rank",
    "index_topk",
    "compress_ratios",
    "attention_chunk_size",
    "num_kv_shared_layers",
    "block_configs",
    "layers_block_type",
    "attn_layer_period",
    "hybrid_override_pattern",
    "full_attention_interval",
    "linear_attn_config",
    "linear_num_key_heads",
    "mamba_d_state",
    "ssm_state_size",
    "attn_type_list",
    "conv_L_cache",
    "text_config",
    "vision_config",
};

// For a model that is let in by its overrides, and for what a family does not price.
constexpr char kOverrides[] = "set kv_bytes_per_token and weights_bytes (or parameters) to price it by hand";

bool PricedByHand(const ModelOverrides& o) {
  return o.kv_bytes_per_token.has_value() && (o.weights_bytes.has_value() || o.parameters.has_value());
}

// `layer_types` lists the kind of every layer: full attention is what is priced, a window is bounded, the rest is not
// known.
void ReadLayerTypes(JsonFields& f, ModelShape& s) {
  const json* types = f.Find("layer_types");
  if (types == nullptr) return;
  if (!types->is_array() || static_cast<int64_t>(types->size()) != s.layers) {
    return f.Fail("layer_types",
                  absl::StrCat("a list with one name for each of the ", s.layers, " layers is expected"));
  }
  for (const json& type : *types) {
    if (type == "sliding_attention") {
      s.windowed = true;
    } else if (type != "full_attention") {
      return f.Fail("layer_types", absl::StrCat("a kind of layer that is not known: ", kOverrides));
    }
  }
}

// True where every group of a compressed-tensors config stores weights in 8 bits.
bool AllGroupsEightBit(const json& quantization) {
  const auto groups = quantization.find("config_groups");
  if (groups == quantization.end() || !groups->is_object() || groups->empty()) return false;
  for (const json& group : *groups) {
    const json* weights = group.is_object() && group.contains("weights") ? &group["weights"] : nullptr;
    if (weights == nullptr || !weights->is_object() || weights->value("num_bits", json()) != 8) return false;
  }
  return true;
}

// 8-bit checkpoints keep the layers' matrices in one byte an element; other formats need the weights by hand.
void ReadQuantization(JsonFields& f, const ModelOverrides& overrides, ModelShape& s) {
  constexpr char kKey[] = "quantization_config";
  const json* quantization = f.Find(kKey);
  if (quantization == nullptr || overrides.weights_bytes.has_value() || overrides.parameters.has_value()) return;
  if (!quantization->is_object()) return f.Fail(kKey, "an object is expected");
  const json method = quantization->value("quant_method", json());
  if (method == "fp8" || method == "fbgemm_fp8") {
    s.linear_dtype = DType::kFp8;
  } else if (method == "compressed-tensors" && AllGroupsEightBit(*quantization)) {
    s.linear_dtype = DType::kInt8;  // or fp8: the same size
  } else {
    f.Fail(kKey, "weights in this format are not counted: set weights_bytes to the size of the checkpoint's files");
  }
}

void ReadDType(JsonFields& f, ModelShape& s) {
  const char* key = f.Has("dtype") ? "dtype" : "torch_dtype";
  const std::string text = f.String(key, "");
  if (text.empty() || text == "auto") return;
  const absl::StatusOr<DType> dtype = ParseDType(text);
  if (!dtype.ok()) return f.Fail(key, std::string(dtype.status().message()));
  if (DTypeBytes(*dtype) < 2) return f.Fail(key, "a whole model in 8 bits is not known: set weights_bytes");
  s.dtype = *dtype;
}

std::string Family(JsonFields& f) {
  std::string name = f.String("model_type", "");
  if (name.size() > 64) name.resize(64);
  return absl::CHexEscape(name);
}

// The sizes that activation needs, where the rest is given by hand. Their absence is no error here.
ModelShape ReadSizesOnly(JsonFields& f) {
  ModelShape s;
  s.family = Family(f);
  s.layers = f.Optional({"num_hidden_layers", "n_layer", "num_layers", "n_layers"}).value_or(0);
  s.hidden = f.Optional({"hidden_size", "n_embd", "d_model"}).value_or(0);
  s.max_positions = f.Optional({"max_position_embeddings", "n_positions"}).value_or(0);
  return s;
}

void ReadKnownFamily(JsonFields& f, ReadFamily read, const ModelOverrides& overrides, ModelShape& s) {
  for (const char* key : kForeignKeys) {
    if (f.Has(key))
      f.Fail(key, absl::StrCat("plain ", s.family, " models have none, so this is another kind: ", kOverrides));
  }
  if (f.Bool("is_encoder_decoder", false)) f.Fail("is_encoder_decoder", absl::StrCat("not priced: ", kOverrides));
  if (!f.status().ok()) return;
  read(f, s);
  if (!f.status().ok()) return;
  ReadLayerTypes(f, s);
  ReadQuantization(f, overrides, s);
}

// Everything of a known family. Errors stick to `f`.
ModelShape ReadShape(JsonFields& f, const ModelOverrides& overrides) {
  ModelShape s;
  s.family = Family(f);
  if (const ReadFamily read = FindFamily(s.family)) {
    ReadKnownFamily(f, read, overrides, s);
    ReadDType(f, s);
  } else {
    const std::string what = s.family.empty() ? "missing" : absl::StrCat("\"", s.family, "\" is not known");
    f.Fail("model_type", absl::StrCat(what, ", and never guessed: ", kOverrides, ". Known: ", KnownFamilies()));
  }
  return s;
}

void Apply(const ModelOverrides& o, ModelShape& s) {
  s.kv_bytes_per_token = o.kv_bytes_per_token;
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
    // What the family's formulas would need is not all there, or is of another kind: the overrides stand in for them.
    JsonFields sizes(*document, name_for_errors);
    shape = ReadSizesOnly(sizes);
    if (!sizes.status().ok()) return sizes.status();
  } else if (!fields.status().ok()) {
    return fields.status();
  }
  Apply(overrides, shape);
  if (const absl::Status s = shape.Validate(); !s.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat(absl::string_view(name_for_errors.data(), name_for_errors.size()), ": ", s.message()));
  }
  return shape;
}

absl::StatusOr<ModelShape> ReadModelConfig(const std::string& path, const ModelOverrides& overrides) {
  std::error_code error;
  std::filesystem::path file(path);
  if (std::filesystem::is_directory(file, error)) file /= "config.json";
  if (!std::filesystem::exists(file, error)) {
    return absl::NotFoundError(
        absl::StrCat(file.string(), ": no such file: give a model's config.json or its directory"));
  }
  if (!std::filesystem::is_regular_file(file, error)) {
    return absl::InvalidArgumentError(absl::StrCat(file.string(), ": not a regular file"));
  }
  std::ifstream stream(file, std::ios::binary);
  std::string text(kMaxConfigBytes + 1, '\0');  // one byte more than allowed, to see that there is more
  stream.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (!stream.is_open() || stream.bad())
    return absl::InvalidArgumentError(absl::StrCat(file.string(), ": cannot be read"));
  text.resize(static_cast<size_t>(stream.gcount()));
  return ParseModelConfig(text, file.string(), overrides);
}

}  // namespace vramgate
