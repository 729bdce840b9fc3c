// What the commands of the `vramgate` program share: exit codes, and how a command line becomes one.
//
// Each command is one file with `void Add<Name>Command(CLI::App& program, ExitCode& exit)`: it adds its subcommand,
// whose callback does the work and sets `exit`. Machine output goes to stdout, words to stderr.
//
//   CLI::App program("...", "vramgate");
//   ExitCode exit = ExitCode::kDone;
//   AddEstimateCommand(program, exit);
//   return static_cast<int>(RunProgram(program, argc, argv, exit));
//
// One thread. `program` and `exit` outlive the callbacks.
#pragma once

#include <string>
#include <string_view>

#include <CLI/CLI.hpp>
#include "absl/status/status.h"

namespace vramgate {

enum class ExitCode : int {
  kDone = 0,
  kFailure = 1,  // a finding (check, audit), or a failure
  kUsage = 2,    // wrong usage or input
  kRetry = 3,    // refused, may be tried again
  kRefused = 4,  // refused for good
};

// Parses the command line and runs the command it names. Help and version: printed, kDone. A command line that cannot
// be: said on stderr with the nearest flag that exists, kUsage. Else what the command left in `exit`.
ExitCode RunProgram(CLI::App& program, int argc, const char* const* argv, const ExitCode& exit);

// `message` with field names as flags of `command` ("head_dim" becomes "--head-dim"), for errors of layers that know no
// flags.
std::string WithFlagNames(const CLI::App& command, std::string_view message);

}  // namespace vramgate
