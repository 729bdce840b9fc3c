#include "admission/cli/check.h"

#include <iostream>
#include <memory>

#include "admission/server/config.h"
#include "admission/server/model_table.h"

namespace vramgate {
namespace {

struct CheckFlags {
  std::string config;
  std::string format = "yaml";
};

ExitCode Run(const CheckFlags& flags) {
  const absl::StatusOr<LoadedConfig> loaded = LoadConfig(flags.config);
  if (!loaded.ok()) {
    std::cerr << loaded.status().message() << "\n";
    return ExitCode::kUsage;
  }
  for (const std::string& warning : loaded->warnings) std::cerr << warning << " (warning)\n";
  if (absl::Status priced = CheckModels(*loaded); !priced.ok()) {
    std::cerr << priced.message() << "\n";
    return ExitCode::kUsage;
  }
  std::cout << (flags.format == "json" ? ConfigToJson(loaded->config) : ConfigToYaml(loaded->config));
  return ExitCode::kDone;
}

}  // namespace

Command CheckCommand() {
  const auto flags = std::make_shared<CheckFlags>();
  return {
      .name = "check",
      .help = "Validate a config and print it with every default filled in",
      .flags =
          {{.names = "--config", .target = &flags->config, .type = "FILE", .help = "the config file", .required = true},
           {.names = "--format",
            .target = &flags->format,
            .type = "FORMAT",
            .help = "yaml or json (default: yaml)",
            .choices = {"yaml", "json"}}},
      .run = [flags](const Command&) { return Run(*flags); },
  };
}

}  // namespace vramgate
