// What the tests of the log share: decisions to log, and a log file in memory to read them from.
#pragma once

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "absl/strings/str_split.h"
#include "admission/server/decision_log.h"
#include "nlohmann/json.hpp"
#include "tests/admission/server/small_gate.h"

namespace vramgate {

inline Decision Of(Outcome outcome, Decision::Kind kind = Decision::Kind::kAnswer) {
  Decision decision{.kind = kind, .outcome = outcome, .lease = {.id = {0x1000003e8}}};
  decision.instance = InstanceId{0};
  decision.cost = {.kv_bytes = kGiB, .activation_bytes = kMiB};
  decision.waited = absl::Microseconds(12500);
  decision.request_id.Assign("r-1");
  decision.tenant.Assign("team-a");
  return decision;
}

inline std::vector<std::string> Lines(const std::string& text) {
  return absl::StrSplit(text, '\n', absl::SkipEmpty());
}

class DecisionLogTest : public ::testing::Test {
 protected:
  DecisionLogTest() : fd_(memfd_create("log", MFD_CLOEXEC)) { EXPECT_GE(fd_, 0); }
  ~DecisionLogTest() override { close(fd_); }

  DecisionLog::Options Unthreaded(DecisionLog::Grants grants = DecisionLog::Grants::kAll) const {
    return {.fd = fd_, .grants = grants, .thread = false, .wall_time = [](Instant time) {
              return absl::FromUnixSeconds(1'700'000'000) + absl::Nanoseconds(time.ns);
            }};
  }
  std::string Text() const {
    std::string text(static_cast<size_t>(lseek(fd_, 0, SEEK_END)), '\0');
    EXPECT_EQ(pread(fd_, text.data(), text.size(), 0), static_cast<ssize_t>(text.size()));
    return text;
  }
  // Every line must be an object; *events: their events.
  std::vector<nlohmann::json> Read() const {
    std::vector<nlohmann::json> lines;
    for (const std::string& line : Lines(Text())) {
      lines.push_back(nlohmann::json::parse(line, nullptr, false));
      EXPECT_TRUE(lines.back().is_object()) << line;
    }
    return lines;
  }
  std::vector<std::string> Events() const {
    std::vector<std::string> events;
    for (const nlohmann::json& line : Read()) events.push_back(line["event"]);
    return events;
  }

  const int fd_;
  FakeClock clock_;
  GateConfig config_ = SmallGate();
};

}  // namespace vramgate
