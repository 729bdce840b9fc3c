#include "admission/cli/status.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <iostream>
#include <memory>
#include <string>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "admission/cli/client.h"
#include "admission/server/durations.h"
#include "admission/units.h"
#include "vramgate/v1/operator.grpc.pb.h"

namespace vramgate {
namespace {

constexpr int kBarWidth = 40;
constexpr int64_t kNoLimit = std::numeric_limits<int64_t>::max();

struct Options {
  std::string target;
  std::string format = "text";
  bool watch = false;
};

// One bar of an account: # fixed, = reserved, ~ lingering, x foreign (off the capacity), . free.
std::string Bar(const v1::AccountStatus& account) {
  const int64_t whole = account.capacity_bytes() == kNoLimit ? 0 : account.capacity_bytes() + account.foreign_bytes();
  if (whole <= 0) return std::string(kBarWidth, ' ');
  std::string bar;
  const auto add = [&](char c, int64_t bytes) {
    const double part = static_cast<double>(bytes) / static_cast<double>(whole);
    const auto cells = static_cast<size_t>(std::lround(part * kBarWidth));
    bar.append(std::min(cells, kBarWidth - std::min<size_t>(kBarWidth, bar.size())), c);
  };
  add('#', account.fixed_bytes());
  add('=', account.reserved_bytes() - account.lingering_bytes());
  add('~', account.lingering_bytes());
  add('x', account.foreign_bytes());
  bar.resize(kBarWidth, '.');
  return bar;
}

std::string Notes(const v1::AccountStatus& account) {
  std::vector<std::string> notes;
  if (account.over_bytes() > 0) notes.push_back(absl::StrCat("over by ", FormatBytes(account.over_bytes())));
  if (account.foreign_bytes() > 0) notes.push_back(absl::StrCat("foreign ", FormatBytes(account.foreign_bytes())));
  if (account.stale()) {
    notes.push_back(
        absl::StrCat("STALE: last read ",
                     absl::FormatDuration(absl::Trunc(FromProto(account.telemetry_age()), absl::Seconds(1))), " ago"));
  }
  return absl::StrJoin(notes, ", ");
}

void Print(const v1::GetStatusResponse& status) {
  size_t width = 7;
  for (const v1::AccountStatus& account : status.accounts()) width = std::max(width, account.account().size());
  std::cout << absl::StrFormat("%-*s  %-*s %11s %11s %11s %11s %6s %7s\n", width, "ACCOUNT", kBarWidth + 2, "",
                               "CAPACITY", "FIXED", "RESERVED", "FREE", "LEASES", "WAITING");
  for (const v1::AccountStatus& account : status.accounts()) {
    const int64_t used = account.fixed_bytes() + account.reserved_bytes();
    const bool limited = account.capacity_bytes() != kNoLimit;
    std::cout << absl::StrFormat("%-*s  [%s] %11s %11s %11s %11s %6d %7d  %s\n", width, account.account(), Bar(account),
                                 limited ? FormatBytes(account.capacity_bytes()) : "no limit",
                                 FormatBytes(account.fixed_bytes()), FormatBytes(account.reserved_bytes()),
                                 limited ? FormatBytes(std::max<int64_t>(0, account.capacity_bytes() - used)) : "-",
                                 account.held(), account.waiting(), Notes(account));
  }
  for (const v1::AssuranceStatus& a : status.assurances()) {
    std::cout << a.model() << "/" << a.instance() << ": " << a.assurance();
    if (a.in_force() != a.assurance()) {
      std::cout << ", but " << a.in_force() << " is in force: ";
      std::cout << (a.silent() ? std::string("nobody reports steps") : absl::StrCat(a.late(), " late leases"));
    }
    if (a.windows() > 0) std::cout << absl::StrFormat("; risk %g wanted, %g measured", a.risk(), a.rate());
    std::cout << "\n";
  }
  std::cout << "# fixed  = reserved  ~ lingering  x foreign  . free\n"
            << status.held() << " held, " << status.lingering() << " lingering, " << status.waiting() << " waiting";
  if (!status.bottleneck().empty()) std::cout << "; scarce: " << status.bottleneck();
  if (status.draining()) std::cout << "; DRAINING: nothing is granted";
  std::cout << "\n" << std::flush;
}

ExitCode Ask(v1::OperatorService::Stub& stub, const Options& options) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(5));
  v1::GetStatusResponse response;
  const grpc::Status status = stub.GetStatus(&context, {}, &response);
  if (!status.ok()) {
    std::cerr << "--target " << options.target << ": " << status.error_message()
              << ": is it the operator address of a running `vramgate serve` (its ready line names it)?\n";
    return ExitCode::kFailure;
  }
  if (options.format == "json") {
    std::cout << ToJson(response) << std::endl;
  } else {
    if (options.watch && isatty(STDOUT_FILENO) != 0) std::cout << "\033[H\033[2J";
    Print(response);
  }
  return ExitCode::kDone;
}

ExitCode Run(const Options& options) {
  const auto stub = v1::OperatorService::NewStub(Connect(options.target));
  ExitCode exit = Ask(*stub, options);
  while (options.watch && exit == ExitCode::kDone) {
    std::this_thread::sleep_for(std::chrono::seconds(1));
    exit = Ask(*stub, options);
  }
  return exit;
}

}  // namespace

Command StatusCommand() {
  const auto options = std::make_shared<Options>();
  return {
      .name = "status",
      .help = "Show what holds the memory, who waits, what is scarce",
      .flags = {{.names = "--target",
                 .target = &options->target,
                 .help = "The sidecar's operator address, e.g. unix:/run/vramgate/operator.sock",
                 .required = true},
                {.names = "--watch", .target = &options->watch, .help = "Ask again every second"},
                {.names = "--format", .target = &options->format, .help = "text or json", .choices = {"text", "json"}}},
      .run = [options](const Command&) { return Run(*options); },
  };
}

}  // namespace vramgate
