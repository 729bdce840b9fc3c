#include "examples/trace_driver/report.h"

#include <string>
#include <vector>

#include <nlohmann/json.hpp>
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace vramgate {
namespace {

// 4000 -> "4,000".
std::string Thousands(int64_t count) {
  std::string text = absl::StrCat(count);
  for (auto at = std::ssize(text) - 3; at > 0; at -= 3) text.insert(static_cast<size_t>(at), 1, ',');
  return text;
}

std::string HourMinuteSecond(absl::Duration d) {
  const int64_t seconds = absl::ToInt64Seconds(d);
  return absl::StrFormat("%d:%02d:%02d", seconds / 3600, seconds / 60 % 60, seconds % 60);
}

double Milliseconds(absl::Duration d) {
  return absl::ToDoubleMilliseconds(d);
}

std::string WaitLine(const char* what, const std::vector<absl::Duration>& waits) {
  if (waits.empty()) return absl::StrFormat("  %-28s none\n", what);
  return absl::StrFormat("  %-28s p50 %.1f ms   p99 %.1f ms   longest %.1f ms\n", what,
                         Milliseconds(Percentile(waits, 0.5)), Milliseconds(Percentile(waits, 0.99)),
                         Milliseconds(Percentile(waits, 1)));
}

nlohmann::json WaitJson(const std::vector<absl::Duration>& waits) {
  return {{"count", waits.size()},
          {"p50_ms", Milliseconds(Percentile(waits, 0.5))},
          {"p99_ms", Milliseconds(Percentile(waits, 0.99))},
          {"max_ms", Milliseconds(Percentile(waits, 1))}};
}

}  // namespace

std::string ProgressLine(const Driver& driver) {
  const Tally& tally = driver.tally();
  const int64_t completed = tally.count(kCompleted);
  const int64_t round = tally.sent() / driver.trace_rows();
  return absl::StrCat(absl::StrFormat("%6.1fs  ", absl::ToDoubleSeconds(driver.elapsed())),
                      driver.options().repeat ? absl::StrCat("round ", round + 1, "  ") : "", "trace ",
                      HourMinuteSecond(driver.trace_position()), " of ", HourMinuteSecond(driver.trace_length()),
                      "  sent ", Thousands(tally.sent()), "  held ", Thousands(driver.held()), "  waiting ",
                      Thousands(driver.waiting()), "  completed ", Thousands(completed), "  refused ",
                      Thousands(tally.ended() - completed));
}

std::string SummaryText(const Driver& driver) {
  const Tally& tally = driver.tally();
  const DriverOptions& options = driver.options();
  std::string text = absl::StrFormat(
      "%s requests in %.1f s: a time-compressed replay, %g x faster than recorded; arrivals a further %g x closer\n"
      "together. Emulated engine: %g prompt and %g output tokens/s for each request, of the trace's time.\n\n"
      "Outcome of each request\n",
      Thousands(tally.sent()), absl::ToDoubleSeconds(driver.elapsed()), options.speed, options.load,
      options.prefill_tokens_per_s, options.decode_tokens_per_s);
  for (const auto& [outcome, count] : tally.outcomes()) {
    absl::StrAppendFormat(&text, "  %-28s %7s  %5.1f %%\n", outcome, Thousands(count),
                          100.0 * static_cast<double>(count) / static_cast<double>(tally.ended()));
  }
  absl::StrAppendFormat(&text, "  granted at once %s, granted after a wait %s\n\n",
                        Thousands(tally.granted() - std::ssize(tally.queued_waits())),
                        Thousands(std::ssize(tally.queued_waits())));
  absl::StrAppend(&text, "Queue wait, as the caller saw it (multiply by ", options.speed, " for the trace's time)\n",
                  WaitLine("all that were granted", tally.waits()),
                  WaitLine("of those, that were queued", tally.queued_waits()));
  if (driver.held_back() > 0) {
    absl::StrAppend(&text, "  ", Thousands(driver.held_back()), " requests were sent late: ", options.max_streams,
                    " streams were open (--max-streams)\n");
  }
  if (driver.broken() > 0) {
    absl::StrAppend(&text, "  ", Thousands(driver.broken()),
                    " requests got no word from vramgate; the first: ", driver.first_error(), "\n");
  }
  return text;
}

std::string SummaryJson(const Driver& driver) {
  const Tally& tally = driver.tally();
  const DriverOptions& options = driver.options();
  nlohmann::json json = {
      {"elapsed_s", absl::ToDoubleSeconds(driver.elapsed())},
      {"speed", options.speed},
      {"load", options.load},
      {"sent", tally.sent()},
      {"queued", tally.queued()},
      {"granted", tally.granted()},
      {"outcomes", tally.outcomes()},
      {"wait", WaitJson(tally.waits())},
      {"queued_wait", WaitJson(tally.queued_waits())},
      {"held_back", driver.held_back()},
      {"broken", driver.broken()},
  };
  return json.dump(2) + "\n";
}

}  // namespace vramgate
