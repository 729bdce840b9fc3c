// The `vramgate` program: one subcommand a file beside this one.
#include "admission/cli/admit.h"
#include "admission/cli/audit.h"
#include "admission/cli/check.h"
#include "admission/cli/command.h"
#include "admission/cli/estimate.h"
#include "admission/cli/replay.h"
#include "admission/cli/serve.h"
#include "admission/cli/status.h"
#include "admission/version.h"

namespace vramgate {
namespace {

ExitCode Main(int argc, char** argv) {
  const Program program = {
      .name = "vramgate",
      .version = kVersion,
      .help = "Admits, queues or rejects language-model requests by the VRAM they will take.",
      .footer =
          "Each command has its own --help. Exit codes: 0 done, 1 a finding or a failure, 2 wrong usage or input,\n"
          "3 refused but may be retried, 4 refused for good.",
      .commands = {ServeCommand(), EstimateCommand(), ReplayCommand(), CheckCommand(), StatusCommand(), AdmitCommand(),
                   AuditCommand()},
  };
  return RunProgram(program, argc, argv);
}

}  // namespace
}  // namespace vramgate

int main(int argc, char** argv) {
  return static_cast<int>(vramgate::Main(argc, argv));
}
