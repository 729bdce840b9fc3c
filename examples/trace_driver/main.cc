// trace_driver: plays a request trace against a running sidecar and prints what became of the requests.
#include <signal.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <iostream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <grpcpp/grpcpp.h>
#include <CLI/CLI.hpp>
#include "absl/time/time.h"
#include "admission/clock.h"
#include "admission/units.h"
#include "examples/trace_driver/driver.h"
#include "examples/trace_driver/report.h"
#include "examples/trace_driver/trace.h"

namespace vramgate {
namespace {

constexpr int kFailed = 1;
constexpr int kUsage = 2;

struct Flags {
  std::string target = "unix:build/run/gate.sock";
  std::string trace = "examples/traces/azure2023_conv_4000.csv";
  std::string max_wait = "3s";
  int64_t requests = 0;  // 0: all
  std::string format = "text";
  DriverOptions driver;
};

void AddOptions(CLI::App& app, Flags& flags) {
  app.add_option("--target", flags.target, "The sidecar: unix:PATH or HOST:PORT")->capture_default_str();
  app.add_option("--trace", flags.trace, "CSV file: arrival_s,prompt_tokens,output_tokens,tenant")
      ->capture_default_str();
  app.add_option("--model", flags.driver.model, "Model that the requests ask for")->capture_default_str();
  app.add_option("--requests", flags.requests, "Only so many rows of the trace; 0: all")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  app.add_option("--speed", flags.driver.speed, "Arrivals and engine run so many times faster than recorded")
      ->check(CLI::Range(0.001, 1e6))
      ->capture_default_str();
  app.add_option("--load", flags.driver.load, "Arrivals come so many times closer together still")
      ->check(CLI::Range(0.001, 1e6))
      ->capture_default_str();
  app.add_option("--max-output-tokens", flags.driver.max_output_tokens, "Each request's own bound on its output")
      ->check(CLI::Range(int64_t{1}, int64_t{1'000'000'000}))
      ->capture_default_str();
  app.add_option("--max-wait", flags.max_wait, "Longest wait of a request, in the trace's time; `none`: the sidecar's")
      ->capture_default_str();
  app.add_option("--prefill-rate", flags.driver.prefill_tokens_per_s,
                 "Emulated engine: prompt tokens/s of one request, in the trace's time")
      ->check(CLI::Range(0.001, 1e9))
      ->capture_default_str();
  app.add_option("--decode-rate", flags.driver.decode_tokens_per_s,
                 "Emulated engine: output tokens/s of one request, in the trace's time")
      ->check(CLI::Range(0.001, 1e9))
      ->capture_default_str();
  app.add_option("--max-streams", flags.driver.max_streams, "Most requests open at once; later ones are held back")
      ->check(CLI::Range(int64_t{1}, int64_t{50'000}))
      ->capture_default_str();
  app.add_flag("--repeat", flags.driver.repeat, "Start over at the end of the trace, until Ctrl-C");
  app.add_option("--format", flags.format, "text or json")
      ->check(CLI::IsMember({"text", "json"}))
      ->capture_default_str();
}

// SIGINT and SIGTERM are blocked and asked for, so that no handler runs in the middle of anything. Blocked before any
// thread starts: threads inherit it.
sigset_t BlockStopSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  return signals;
}

bool StopWanted(const sigset_t& signals) {
  const timespec at_once{};
  return sigtimedwait(&signals, nullptr, &at_once) > 0;
}

// One line rewritten in place on a terminal, else a line every few seconds.
class Progress {
 public:
  explicit Progress(const Clock& clock) : clock_(clock), said_(clock.Now()) {}

  void Show(const Driver& driver) {
    const Instant now = clock_.Now();
    if (now - said_ < (terminal_ ? absl::Milliseconds(200) : absl::Seconds(4))) return;
    said_ = now;
    if (terminal_) {
      std::cerr << "\r\x1b[K" << ProgressLine(driver).substr(0, Columns()) << std::flush;
    } else {
      std::cerr << ProgressLine(driver) << "\n" << std::flush;
    }
  }
  void End(const Driver& driver) {
    std::cerr << (terminal_ ? "\r\x1b[K" : "") << ProgressLine(driver) << "\n\n" << std::flush;
  }

 private:
  // A line that wraps could not be rewritten.
  static size_t Columns() {
    winsize size{};
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1 ? size.ws_col - 1 : 79;
  }

  const Clock& clock_;
  const bool terminal_ = isatty(STDERR_FILENO) != 0;
  Instant said_;
};

int Play(const Flags& flags, std::vector<TraceRow> trace, const sigset_t& signals) {
  grpc::ChannelArguments arguments;
  const auto channel = grpc::CreateCustomChannel(flags.target, grpc::InsecureChannelCredentials(), arguments);
  if (!channel->WaitForConnected(std::chrono::system_clock::now() + std::chrono::seconds(5))) {
    std::cerr << "trace_driver: nobody answers at " << flags.target << ": is `vramgate serve` running there?\n";
    return kFailed;
  }
  const auto stub = v1::AdmissionService::NewStub(channel);
  const BootClock clock;
  Driver driver(*stub, clock, flags.driver, std::move(trace));
  Progress progress(clock);
  driver.Run([&] { return StopWanted(signals); }, [&](const Driver& d) { progress.Show(d); });
  progress.End(driver);
  std::cout << (flags.format == "json" ? SummaryJson(driver) : SummaryText(driver)) << std::flush;
  return driver.broken() > 0 ? kFailed : 0;
}

int Main(int argc, char** argv) {
  CLI::App app("Plays a request trace against a running vramgate and stands in for the engine behind it.",
               "trace_driver");
  app.footer("Exit codes: 0 every request got an answer, 1 some got none or nobody listens, 2 wrong usage or input.");
  Flags flags;
  AddOptions(app, flags);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : kUsage;
  }
  absl::StatusOr<std::vector<TraceRow>> trace = ReadTrace(flags.trace);
  if (!trace.ok()) {
    std::cerr << "trace_driver: " << trace.status().message() << "\n";
    return kUsage;
  }
  if (flags.requests > 0 && flags.requests < std::ssize(*trace)) trace->resize(static_cast<size_t>(flags.requests));
  if (flags.max_wait == "none") {
    flags.driver.max_wait.reset();
  } else {
    const absl::StatusOr<absl::Duration> max_wait = ParseDuration(flags.max_wait);
    if (!max_wait.ok()) {
      std::cerr << "trace_driver: --max-wait: " << max_wait.status().message() << "\n";
      return kUsage;
    }
    flags.driver.max_wait = *max_wait;
  }
  const sigset_t signals = BlockStopSignals();
  return Play(flags, *std::move(trace), signals);
}

}  // namespace
}  // namespace vramgate

int main(int argc, char** argv) {
  return vramgate::Main(argc, argv);
}
