// The config: one YAML file whose schema is proto/vramgate/v1/config.proto.
//
//   absl::StatusOr<LoadedConfig> loaded = LoadConfig("/etc/vramgate/gate.yaml");
//   if (!loaded.ok()) return Fail(loaded.status());          // every fault, a line each: "gate.yaml:14:
//   queue.max_wait: ..." for (const std::string& warning : loaded->warnings) ... loaded->config.queue().max_requests()
//   // given, or its default
//
// What a file can be judged by alone is judged here. What needs models or devices (does the pool fit?) is judged by who
// has them, who names the place with Where(). Used by serve and check. Thread rule: none of its own, plain values.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "admission/server/config_errors.h"
#include "vramgate/v1/config.pb.h"

namespace vramgate {

struct LoadedConfig {
  v1::Config config;  // every default filled in
  SourceMap lines;
  std::vector<std::string> warnings;  // "file:line: field: ...": what is legal, and has no effect or an odd one
  std::string file;

  // "file:line: path", path as in "models[0].instances[0].kv_pool".
  std::string Where(std::string_view path) const { return lines.Where(path); }
  // A path that the file names: relative ones are relative to the file's directory.
  std::string Resolve(std::string_view path) const;
};

// INVALID_ARGUMENT: all faults found (at most ErrorList::kMax of them), one a line. NOT_FOUND, PERMISSION_DENIED, ...:
// cannot be read.
absl::StatusOr<LoadedConfig> LoadConfig(const std::string& path);

// The same for a text; `name` stands for the file's.
absl::StatusOr<LoadedConfig> ParseConfig(std::string_view yaml, std::string_view name);

// The whole config with its defaults, in human units. ParseConfig of the YAML gives the same config again.
std::string ConfigToYaml(const v1::Config& config);
std::string ConfigToJson(const v1::Config& config);

}  // namespace vramgate
