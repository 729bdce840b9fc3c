#include "admission/estimator/model.h"

#include <filesystem>
#include <fstream>
#include <system_error>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "admission/estimator/checkpoint.h"
#include "admission/estimator/gguf_config.h"
#include "admission/estimator/safetensors.h"
#include "admission/estimator/text_file.h"

namespace vramgate {
namespace {

namespace fs = std::filesystem;

// GGUF files begin with their name; so does no JSON.
bool IsGguf(const fs::path& file) {
  std::ifstream stream(file, std::ios::binary);
  std::string magic(4, '\0');
  return static_cast<bool>(stream.read(magic.data(), 4)) && magic == "GGUF";
}

// The exact bytes of a directory's checkpoint, where it has one.
absl::Status AddCheckpoint(const std::string& directory, ModelShape& shape) {
  const absl::StatusOr<Safetensors> checkpoint = ReadSafetensors(directory);
  if (absl::IsNotFound(checkpoint.status()) && !fs::exists(fs::path(directory) / "model.safetensors.index.json")) {
    return absl::OkStatus();
  }
  if (!checkpoint.ok()) return checkpoint.status();
  shape.checkpoint_bytes = CheckpointBytes(*checkpoint, shape);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ModelShape> ReadModel(const std::string& path, const ModelOverrides& overrides) {
  std::error_code error;
  const bool directory = fs::is_directory(path, error);
  const fs::path file = directory ? fs::path(path) / "config.json" : fs::path(path);
  if (!directory && fs::is_regular_file(file, error) && IsGguf(file)) {
    if (overrides.quantization) {
      return absl::InvalidArgumentError("quantization: a GGUF file says how each tensor is stored: leave it out");
    }
    return ReadGgufModel(path, overrides);
  }
  const absl::StatusOr<std::string> text = ReadTextFile(file.string());
  if (absl::IsNotFound(text.status())) {
    return absl::NotFoundError(
        absl::StrCat(text.status().message(), ": give a model's config.json, its directory, or a .gguf file"));
  }
  if (!text.ok()) return text.status();
  ModelOverrides more = overrides;
  const fs::path quantization = file.parent_path() / "hf_quant_config.json";
  if (directory && fs::exists(quantization, error)) {
    absl::StatusOr<std::string> extra = ReadTextFile(quantization.string());
    if (!extra.ok()) return extra.status();
    more.quantization_file = *std::move(extra);
  }
  absl::StatusOr<ModelShape> shape = ParseModelConfig(*text, file.string(), more);
  const bool by_files = directory && !overrides.quantization && !overrides.weights_bytes && !overrides.parameters;
  if (!shape.ok() || !by_files) return shape;
  if (absl::Status s = AddCheckpoint(path, *shape); !s.ok()) return s;
  if (absl::Status s = shape->Validate(); !s.ok())
    return absl::InvalidArgumentError(absl::StrCat(path, ": ", s.message()));
  return shape;
}

}  // namespace vramgate
