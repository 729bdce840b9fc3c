// What the commands of the `vramgate` program share: exit codes, and how a command line becomes one.
//
// Each command is one file with `Command <Name>Command()`: its flags, where their values go, and what to do. Machine
// output goes to stdout, words to stderr.
//
//   Command CheckCommand() {
//     const auto flags = std::make_shared<CheckFlags>();
//     return {.name = "check",
//             .help = "Validate a config and print it",
//             .flags = {{"--config", &flags->config, "FILE", "the config file"}},
//             .run = [flags](const Command&) { return Run(*flags); }};
//   }
//   return static_cast<int>(RunProgram({.name = "vramgate", .commands = {CheckCommand()}}, argc, argv));
//
// One thread. A command's `run` keeps alive what its flags point to.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/time/time.h"

namespace vramgate {

enum class ExitCode : int {
  kDone = 0,
  kFailure = 1,  // a finding (check, audit), or a failure
  kUsage = 2,    // wrong usage or input
  kRetry = 3,    // refused, may be tried again
  kRefused = 4,  // refused for good
};

struct Flag {
  // Left alone where the flag is absent. A bool takes no value; a list's flag may come again.
  using Target = std::variant<bool*, std::string*, std::vector<std::string>*, std::optional<int32_t>*,
                              std::optional<int64_t>*, std::optional<absl::Duration>*>;

  std::string names;  // "--tp,--tensor-parallel"; without dashes: told by its place
  Target target;
  std::string type;  // what help calls the value; "": by the target
  std::string help;
  std::string group;  // of help; "": Options
  bool required = false;
  std::vector<std::string> choices;  // none: any value
};

struct Command {
  std::string name;
  std::string help;
  std::vector<Flag> flags;
  std::string footer;  // of help; "": the program's
  std::function<ExitCode(const Command&)> run;
};

struct Program {
  std::string name;
  std::string version;
  std::string help;
  std::string footer;
  std::vector<Command> commands;
};

// Parses the command line and runs the command it names. Help and version: printed, kDone. A command line that cannot
// be: said on stderr with the nearest flag that exists, kUsage. Else what the command returned.
ExitCode RunProgram(const Program& program, int argc, const char* const* argv);

// `message` with field names as flags of `command` ("head_dim" becomes "--head-dim"), for errors of layers that know no
// flags.
std::string WithFlagNames(const Command& command, std::string_view message);

}  // namespace vramgate
