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

ExitCode Serve(const std::string& config_path, const std::string& ledger_path) {
  const Signals signals;
  const absl::StatusOr<LoadedConfig> loaded = LoadConfig(config_path);
  if (!loaded.ok()) {
    std::cerr << loaded.status().message() << "\n";
    return ExitCode::kUsage;
  }
  for (const std::string& warning : loaded->warnings) std::cerr << "warning: " << warning << "\n";
  absl::StatusOr<std::unique_ptr<Server>> server =
      Server::Start(*loaded, {.ledger_path = ledger_path, .version = kVersion});
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

void AddServeCommand(CLI::App& program, ExitCode& exit) {
  auto config = std::make_shared<std::string>();
  auto ledger = std::make_shared<std::string>();
  CLI::App* serve = program.add_subcommand("serve", "Run the sidecar: admit, queue or reject requests by their VRAM");
  serve->add_option("--config", *config, "The YAML config file")->required();
  serve->add_option("--ledger", *ledger, "Write every change of every account to this CSV file, for `vramgate audit`");
  serve->callback([&exit, config, ledger] { exit = Serve(*config, *ledger); });
}

}  // namespace vramgate
