// examples/audit.awk must find what the auditor finds, in the ledgers of tests/data/ledgers.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdio.h>

#include "absl/strings/str_cat.h"
#include "admission/server/audit.h"

namespace vramgate {
namespace {

using ::testing::HasSubstr;

// What `command` prints; its exit status in *status.
std::string Output(const std::string& command, int* status) {
  FILE* pipe = popen(command.c_str(), "r");
  std::string out;
  char buffer[4096];
  while (const size_t n = fread(buffer, 1, sizeof buffer, pipe)) out.append(buffer, n);
  *status = pclose(pipe);
  return out;
}

struct LedgerFile {
  const char* name;
  int64_t overruns;
  int64_t leaks;
  bool clean;
};
class AwkTest : public ::testing::TestWithParam<LedgerFile> {};

TEST_P(AwkTest, AgreesWithTheAuditor) {
  const std::string path = absl::StrCat(VRAMGATE_SOURCE_DIR "/tests/data/ledgers/", GetParam().name);
  const absl::StatusOr<AuditReport> report = AuditLedgerFile(path);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->overruns, GetParam().overruns);
  EXPECT_EQ(report->leaks, GetParam().leaks);
  EXPECT_EQ(report->clean(), GetParam().clean) << ::testing::PrintToString(report->findings);

  int status = 0;
  const std::string awk =
      Output(absl::StrCat("awk -F, -f '" VRAMGATE_SOURCE_DIR "/examples/audit.awk' '", path, "'"), &status);
  EXPECT_THAT(awk, HasSubstr(absl::StrCat(GetParam().overruns, " overruns, ", GetParam().leaks, " leaks")));
  EXPECT_EQ(status == 0, GetParam().clean) << awk;
}

INSTANTIATE_TEST_SUITE_P(Ledgers, AwkTest,
                         ::testing::Values(LedgerFile{"clean.csv", 0, 0, true}, LedgerFile{"overrun.csv", 1, 0, false},
                                           LedgerFile{"leak.csv", 0, 1, false},
                                           LedgerFile{"no_stop.csv", 0, 0, false}));

}  // namespace
}  // namespace vramgate
