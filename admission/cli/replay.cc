#include "admission/cli/replay.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <iostream>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "admission/cli/replay_question.h"
#include "admission/cli/replay_report.h"
#include "admission/replay/plot.h"
#include "admission/server/replay_ledger.h"

namespace vramgate {
namespace {

// A bar on a terminal's line, for what takes longer than a moment.
class Progress {
 public:
  Progress() : shown_(isatty(STDERR_FILENO) == 1), start_(clock_.Now()) {}
  ~Progress() { Clear(); }

  void Show(std::string_view what, int64_t done, int64_t all) {
    const Instant now = clock_.Now();
    if (!shown_ || now - start_ < absl::Milliseconds(300) || now - last_ < absl::Milliseconds(100)) return;
    last_ = now;
    const auto filled = static_cast<size_t>(kWidth * done / std::max<int64_t>(all, 1));
    std::cerr << "\r\033[K" << what << " [" << std::string(filled, '#') << std::string(kWidth - filled, '.') << "] "
              << done << " of " << all << std::flush;
    drawn_ = true;
  }
  void Clear() {
    if (drawn_) std::cerr << "\r\033[K" << std::flush;
    drawn_ = false;
  }

 private:
  static constexpr size_t kWidth = 40;
  const BootClock clock_;
  const bool shown_;
  const Instant start_;
  Instant last_;
  bool drawn_ = false;
};

absl::StatusOr<ReplayAnswer> RunOne(const PolicyRun& run, const ReplayInput& input, const std::string& ledger_path,
                                    Progress& progress) {
  absl::StatusOr<std::unique_ptr<ReplayLedger>> ledger = ReplayLedger::Open(ledger_path);
  if (!ledger.ok()) return ledger.status();
  const BootClock stopwatch;
  ReplayAnswer answer;
  answer.result = Replay(
      run, input, {.recorder = ledger->get(), .stopwatch = &stopwatch, .progress = [&](int64_t done, int64_t all) {
                     progress.Show(run.Label(), done, all);
                   }});
  const absl::StatusOr<AuditReport> report = (*ledger)->Close();
  if (!report.ok()) return report.status();
  if (!report->complete) return absl::DataLossError("the ledger is not complete");
  answer.violations = report->overruns + report->leaks;
  return answer;
}

absl::Status WriteFile(const std::string& path, const std::string& text) {
  errno = 0;
  std::ofstream out(path, std::ios::binary);
  out << text;
  out.close();
  return out ? absl::OkStatus() : absl::UnavailableError(absl::StrCat("--plot: ", path, ": ", std::strerror(errno)));
}

std::string Title(const ReplayFlags& flags, const ReplayQuestion& q) {
  const size_t slash = flags.trace.rfind('/');
  std::string title = slash == std::string::npos ? flags.trace : flags.trace.substr(slash + 1);
  absl::StrAppend(&title, ": ", q.input.jobs.size(), " requests");
  if (q.speed != 1) absl::StrAppendFormat(&title, ", time compressed %g times", q.speed);
  return title;
}

absl::Status RunSweep(const ReplayFlags& flags, const ReplayQuestion& q, Progress& progress) {
  std::vector<SweepAnswer> answers;
  for (const PolicyRun& run : q.policies) {
    const auto show = [&](int64_t runs) { progress.Show(absl::StrCat("sweep ", run.Label()), runs, 60); };
    answers.push_back({run.Label(), Sweep(run, q.input, q.target_wait_s, ResizePool, show)});
  }
  progress.Clear();
  std::cout << (flags.format == "json" ? SweepJson(answers) : SweepText(answers));
  return absl::OkStatus();
}

absl::Status Run(const ReplayFlags& flags, ExitCode& exit) {
  absl::StatusOr<ReplayQuestion> read = ReadReplayQuestion(flags);
  if (!read.ok()) {
    exit = ExitCode::kUsage;
    return read.status();
  }
  const ReplayQuestion& q = *read;
  for (const std::string& warning : q.warnings) std::cerr << "replay: " << warning << "\n";
  if (q.skipped_lines > 0) std::cerr << "replay: " << q.skipped_lines << " lines are no generation, passed over\n";
  if (q.speed != 1) {
    std::cerr << "replay: arrivals are " << (q.speed > 1 ? "compressed " : "stretched: ") << q.speed
              << " times: another load than was recorded\n";
  }
  Progress progress;
  if (flags.sweep) return RunSweep(flags, q, progress);
  std::vector<ReplayAnswer> answers;
  std::vector<ReplayResult> results;
  for (const PolicyRun& run : q.policies) {
    const std::string suffix = q.policies.size() > 1 ? absl::StrCat(".", run.Label()) : "";
    absl::StatusOr<ReplayAnswer> answer =
        RunOne(run, q.input, flags.ledger.empty() ? "" : flags.ledger + suffix, progress);
    if (!answer.ok()) return answer.status();
    if (!flags.plot.empty()) results.push_back(answer->result);
    answers.push_back(*std::move(answer));
  }
  progress.Clear();
  if (!flags.plot.empty()) {
    const std::string svg = PlotSvg(Title(flags, q), q.input.engine.pool_bytes, results);
    if (absl::Status status = WriteFile(flags.plot, svg); !status.ok()) return status;
  }
  std::cout << (flags.format == "json" ? ReplayJson(answers) : ReplayText(answers));
  for (const ReplayAnswer& answer : answers) {
    if (answer.violations > 0) exit = ExitCode::kFailure;
  }
  return absl::OkStatus();
}

}  // namespace

Command ReplayCommand() {
  const auto flags = std::make_shared<ReplayFlags>();
  return {
      .name = "replay",
      .help = "What a config would have done with recorded traffic",
      .flags = FlagsOf(*flags),
      .footer = "Policies: " + PolicyNames() + ".",
      .run =
          [flags](const Command& command) {
            ExitCode exit = ExitCode::kDone;
            const absl::Status status = Run(*flags, exit);
            if (status.ok()) return exit;
            const absl::string_view message = status.message();
            std::cerr << "replay: " << WithFlagNames(command, {message.data(), message.size()}) << "\n";
            return exit == ExitCode::kDone ? ExitCode::kFailure : exit;
          },
  };
}

}  // namespace vramgate
