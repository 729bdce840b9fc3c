#include "admission/cli/serve.h"

#include <pthread.h>
#include <signal.h>

#include <atomic>
#include <iostream>
#include <memory>
#include <string>
#include <thread>

#include "admission/server/durations.h"
#include "admission/server/server.h"
#include "admission/version.h"

namespace vramgate {
namespace {

struct ServeFlags {
  std::string config;
  std::string ledger;
};

// SIGTERM and SIGINT, taken one by one. Must be made before any thread is: threads inherit the mask.
class Signals {
 public:
  Signals() {
    sigemptyset(&set_);
    sigaddset(&set_, SIGTERM);
    sigaddset(&set_, SIGINT);
    pthread_sigmask(SIG_BLOCK, &set_, nullptr);
    signal(SIGPIPE, SIG_IGN);
  }
  void Wait() const {
    int signal = 0;
    sigwait(&set_, &signal);
  }

 private:
  sigset_t set_;
};

ExitCode Serve(const ServeFlags& flags) {
  const Signals signals;
  const absl::StatusOr<LoadedConfig> loaded = LoadConfig(flags.config);
  if (!loaded.ok()) {
    std::cerr << loaded.status().message() << "\n";
    return ExitCode::kUsage;
  }
  for (const std::string& warning : loaded->warnings) std::cerr << "warning: " << warning << "\n";
  absl::StatusOr<std::unique_ptr<Server>> server =
      Server::Start(*loaded, {.ledger_path = flags.ledger, .version = kVersion});
  if (!server.ok()) {
    std::cerr << server.status().message() << "\n";
    return absl::IsInvalidArgument(server.status()) ? ExitCode::kUsage : ExitCode::kFailure;
  }
  std::cout << (*server)->ReadyLine() << std::endl;
  signals.Wait();
  std::thread impatient([&] {
    signals.Wait();
    std::cerr << "second signal: ending at once\n";
    std::_Exit(static_cast<int>(ExitCode::kFailure));
  });
  impatient.detach();
  const absl::Status closed = (*server)->Shutdown(FromProto(loaded->config.drain().grace()));
  if (closed.ok()) return ExitCode::kDone;
  std::cerr << "ledger: " << closed.message() << "\n";
  return ExitCode::kFailure;
}

}  // namespace

Command ServeCommand() {
  const auto flags = std::make_shared<ServeFlags>();
  return {
      .name = "serve",
      .help = "Run the sidecar: admit, queue or reject requests by their VRAM",
      .flags = {{.names = "--config", .target = &flags->config, .help = "The YAML config file", .required = true},
                {.names = "--ledger",
                 .target = &flags->ledger,
                 .help = "Write every change of every account to this CSV file, for `vramgate audit`"}},
      .run = [flags](const Command&) { return Serve(*flags); },
  };
}

}  // namespace vramgate
