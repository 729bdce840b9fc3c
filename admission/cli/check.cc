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

void AddCheckCommand(CLI::App& program, ExitCode& exit) {
  CLI::App* command = program.add_subcommand("check", "Validate a config and print it with every default filled in");
  const auto flags = std::make_shared<CheckFlags>();
  command->add_option("--config", flags->config, "the config file")->type_name("FILE")->required();
  command->add_option("--format", flags->format, "yaml or json (default: yaml)")
      ->type_name("FORMAT")
      ->check(CLI::IsMember({"yaml", "json"}));
  command->callback([flags, &exit] { exit = Run(*flags); });
}

}  // namespace vramgate
