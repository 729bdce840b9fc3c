#include "admission/server/config.h"

#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "admission/server/config_check.h"
#include "admission/server/engine_defaults.h"
#include "admission/server/yaml_message.h"
#include "admission/server/yaml_node.h"

namespace vramgate {
namespace {

// The file's text; one byte more than is allowed is enough to see that it is too large.
absl::StatusOr<std::string> ReadFile(const std::string& path) {
  struct stat info{};
  if (stat(path.c_str(), &info) != 0) return absl::ErrnoToStatus(errno, absl::StrCat("config ", path));
  if (S_ISDIR(info.st_mode))
    return absl::InvalidArgumentError(absl::StrCat("config ", path, ": is a directory: name the file"));
  std::ifstream file(path, std::ios::binary);
  if (!file) return absl::ErrnoToStatus(errno, absl::StrCat("config ", path));
  std::string text(kMaxYamlBytes + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (file.bad()) return absl::DataLossError(absl::StrCat("config ", path, ": cannot be read"));
  text.resize(static_cast<size_t>(file.gcount()));
  return text;
}

}  // namespace

std::string LoadedConfig::Resolve(std::string_view path) const {
  return (std::filesystem::path(file).parent_path() / std::filesystem::path(path)).lexically_normal().string();
}

absl::StatusOr<LoadedConfig> LoadConfig(const std::string& path) {
  absl::StatusOr<std::string> text = ReadFile(path);
  if (!text.ok()) return text.status();
  return ParseConfig(*text, path);
}

absl::StatusOr<LoadedConfig> ParseConfig(std::string_view yaml, std::string_view name) {
  absl::StatusOr<YamlNode> root = ParseYaml(yaml, name);
  if (!root.ok()) return root.status();
  if (root->kind == YamlNode::Kind::kNull) *root = YamlNode::Map();  // nothing but comments
  LoadedConfig loaded;
  loaded.file = name;
  loaded.lines = SourceMap(loaded.file);
  ErrorList errors;
  FillMessage(*root, loaded.config, loaded.lines, errors);
  for (v1::Model& model : *loaded.config.mutable_models()) FillEngineDefaults(loaded, model);
  CheckConfig(loaded.config, loaded.lines, errors, loaded.warnings);
  if (!errors.empty()) return errors.ToStatus();
  return loaded;
}

std::string ConfigToYaml(const v1::Config& config) {
  return WriteYaml(NodeFromMessage(config));
}
std::string ConfigToJson(const v1::Config& config) {
  return WriteJson(NodeFromMessage(config));
}

}  // namespace vramgate
