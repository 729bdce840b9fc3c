// The ledger file: every row, in order, or a LOST row that says how many are missing.
#include "admission/server/ledger.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <limits>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "admission/server/audit.h"
#include "tests/support/temporary_directory.h"

namespace vramgate {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr AccountId kDevice{0};
constexpr AccountId kTenant{1};

class LedgerTest : public ::testing::Test {
 protected:
  std::unique_ptr<Ledger> OpenWithoutThread(size_t queue_rows = 65536) {
    absl::StatusOr<std::unique_ptr<Ledger>> ledger = Ledger::Open(path_, {.queue_rows = queue_rows, .thread = false});
    EXPECT_TRUE(ledger.ok()) << ledger.status();
    return ledger.ok() ? *std::move(ledger) : nullptr;
  }
  absl::Status OpenError() { return Ledger::Open(path_, {.thread = false}).status(); }
  std::string Text() {
    std::ostringstream out;
    out << std::ifstream(path_).rdbuf();
    return out.str();
  }
  // The rows, without the header.
  std::vector<std::string> Rows() {
    std::vector<std::string> lines = absl::StrSplit(Text(), '\n', absl::SkipEmpty());
    EXPECT_EQ(lines.front() + "\n", kLedgerHeader);
    lines.erase(lines.begin());
    return lines;
  }
  void Write(const std::string& text) { std::ofstream(path_) << text; }

  TemporaryDirectory directory_;
  const std::string path_ = directory_.At("ledger.csv");
};

LedgerRow Start(AccountId account) {
  return {.time = {1}, .account = account, .capacity_bytes = 100};
}
LedgerRow Grant(uint64_t lease, int64_t delta, int64_t used) {
  return {.time = {static_cast<int64_t>(lease)},
          .lease = {lease},
          .account = kDevice,
          .event = LedgerEvent::kGrant,
          .delta_bytes = delta,
          .used_bytes = used,
          .capacity_bytes = int64_t{1} << 40};
}

TEST_F(LedgerTest, WritesRowsAsTheFormatSays) {
  std::unique_ptr<Ledger> ledger = OpenWithoutThread();
  ledger->NameAccount(kDevice, "device/0");
  ledger->NameAccount(kTenant, "tenant/a,\"b\"\n\x01 c");
  ledger->Append({.time = {5'000'000'042}, .account = kDevice, .capacity_bytes = 100});
  ledger->Append({.time = {12'345'678'901},
                  .lease = {0xabc},
                  .account = kTenant,
                  .event = LedgerEvent::kRelease,
                  .delta_bytes = -7,
                  .used_bytes = 0,
                  .capacity_bytes = std::numeric_limits<int64_t>::max()});
  ASSERT_TRUE(ledger->Close().ok());
  EXPECT_THAT(
      Rows(),
      ElementsAre("5.000000042,START,,device/0,0,0,100",
                  "12.345678901,RELEASE,0000000000000abc,tenant/a%2C%22b%22%0A%01%20c,-7,0,9223372036854775807"));
}

TEST_F(LedgerTest, FlushPutsIntoTheFileWhatWasAppended) {
  std::unique_ptr<Ledger> ledger = OpenWithoutThread();
  EXPECT_EQ(Text(), kLedgerHeader);
  ledger->NameAccount(kDevice, "device/0");
  ledger->Append(Start(kDevice));
  EXPECT_EQ(Text(), kLedgerHeader);
  EXPECT_TRUE(ledger->Flush().ok());
  EXPECT_EQ(Rows().size(), 1u);
}

// A forgotten tenant's account is given to another: rows from before keep the name of their time.
TEST_F(LedgerTest, ANameHoldsFromItsCallOn) {
  std::unique_ptr<Ledger> ledger = OpenWithoutThread();
  ledger->NameAccount(kTenant, "tenant/first");
  ledger->Append(Start(kTenant));
  ledger->NameAccount(kTenant, "tenant/second");
  ledger->Append(Start(kTenant));
  ASSERT_TRUE(ledger->Flush().ok());
  ledger->NameAccount(kTenant, "tenant/third");
  ledger->Append(Start(kTenant));
  ASSERT_TRUE(ledger->Close().ok());
  EXPECT_THAT(Rows(), ElementsAre(HasSubstr("tenant/first,"), HasSubstr("tenant/second,"), HasSubstr("tenant/third,")));
}

TEST_F(LedgerTest, AFullQueueLosesRowsLoudlyAndInTheirPlace) {
  std::unique_ptr<Ledger> ledger = OpenWithoutThread(4);
  ledger->NameAccount(kDevice, "device/0");
  for (uint64_t lease = 1; lease <= 7; ++lease) ledger->Append(Grant(lease, 1, static_cast<int64_t>(lease)));
  EXPECT_EQ(ledger->lost_rows(), 3);
  EXPECT_EQ(ledger->status().code(), absl::StatusCode::kDataLoss);
  ASSERT_TRUE(ledger->Flush().ok());  // nobody appended since: the count goes out at once
  ledger->Append(Grant(8, 1, 8));
  for (uint64_t lease = 9; lease <= 12; ++lease) ledger->Append(Grant(lease, 1, static_cast<int64_t>(lease)));
  EXPECT_EQ(ledger->lost_rows(), 4);
  EXPECT_EQ(ledger->Close().code(), absl::StatusCode::kDataLoss);

  std::vector<std::string> leases;
  for (const std::string& row : Rows()) {
    const std::vector<std::string> columns = absl::StrSplit(row, ',');
    leases.push_back(columns[1] == "LOST" ? "LOST " + columns[2] : columns[2].substr(15));
  }
  EXPECT_THAT(leases, ElementsAre("1", "2", "3", "4", "LOST 3", "8", "9", "a", "b", "LOST 1"));
}

// A LOST row and the next row need two places: with one alone the row is lost as well, and nothing stands before its
// LOST row.
TEST_F(LedgerTest, NoRowOvertakesALostOne) {
  std::unique_ptr<Ledger> ledger = OpenWithoutThread(2);
  ledger->NameAccount(kDevice, "device/0");
  for (uint64_t lease = 1; lease <= 5; ++lease) ledger->Append(Grant(lease, 1, static_cast<int64_t>(lease)));
  EXPECT_EQ(ledger->lost_rows(), 3);
  ledger->Close().IgnoreError();
  EXPECT_THAT(Rows(), ElementsAre(HasSubstr("GRANT,0000000000000001"), HasSubstr("GRANT,0000000000000002"),
                                  HasSubstr("LOST,3,,0,0,0")));
}

// The limit on the file's size stands for a full disk: writes fail, some of them half done.
TEST_F(LedgerTest, RowsWaitWhileTheDiskRefuses) {
  std::unique_ptr<Ledger> ledger = OpenWithoutThread();
  ledger->NameAccount(kDevice, "device/0");
  ledger->Append(Grant(1, 1, 1));
  ASSERT_TRUE(ledger->Flush().ok());

  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const rlimit full{.rlim_cur = Text().size() + 10, .rlim_max = before.rlim_max};
  const auto old_handler = signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &full), 0);
  ledger->Append(Grant(2, 1, 2));
  EXPECT_EQ(ledger->Flush().code(), absl::StatusCode::kUnavailable);
  ledger->Append(Grant(3, 1, 3));
  EXPECT_EQ(ledger->Flush().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(ledger->status().code(), absl::StatusCode::kUnavailable);
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
  signal(SIGXFSZ, old_handler);

  EXPECT_TRUE(ledger->Close().ok());  // nothing was lost
  EXPECT_THAT(Rows(),
              ElementsAre(HasSubstr("0000000000000001"), HasSubstr("0000000000000002"), HasSubstr("0000000000000003")));
}

TEST_F(LedgerTest, WhatTheDiskRefusesToTheEndIsLost) {
  std::unique_ptr<Ledger> ledger = OpenWithoutThread();
  ledger->NameAccount(kDevice, "device/0");
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const rlimit full{.rlim_cur = kLedgerHeader.size(), .rlim_max = before.rlim_max};
  const auto old_handler = signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &full), 0);
  ledger->Append(Grant(1, 1, 1));
  EXPECT_FALSE(ledger->Flush().ok());
  ledger->Append(Grant(2, 1, 2));
  EXPECT_FALSE(ledger->Close().ok());
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
  signal(SIGXFSZ, old_handler);
  EXPECT_EQ(ledger->lost_rows(), 2);
}

TEST_F(LedgerTest, ALaterRunGoesOnBehindTheFirst) {
  for (int run = 0; run < 2; ++run) {
    std::unique_ptr<Ledger> ledger = OpenWithoutThread();
    ledger->NameAccount(kDevice, "device/0");
    ledger->Append(Start(kDevice));
    ASSERT_TRUE(ledger->Close().ok());
  }
  EXPECT_EQ(Rows().size(), 2u);
}

TEST_F(LedgerTest, ATornLastRowIsCutOffAndCounted) {
  Write(absl::StrCat(std::string(kLedgerHeader), "1.000000000,START,,device/0,0,0,100\n1.0000"));
  std::unique_ptr<Ledger> ledger = OpenWithoutThread();
  ledger->NameAccount(kDevice, "device/0");
  ledger->Append({.time = {7}, .account = kDevice, .capacity_bytes = 100});
  ASSERT_TRUE(ledger->Close().ok());  // this run lost nothing
  EXPECT_THAT(Rows(), ElementsAre("1.000000000,START,,device/0,0,0,100", "0.000000007,LOST,1,,0,0,0",
                                  "0.000000007,START,,device/0,0,0,100"));
}

TEST_F(LedgerTest, ATornHeaderIsMadeWhole) {
  Write("t_s,event,le");
  ASSERT_TRUE(OpenWithoutThread()->Close().ok());
  EXPECT_EQ(Text(), kLedgerHeader);
}

TEST_F(LedgerTest, RefusesWhatIsNoLedger) {
  Write("important notes\n");
  EXPECT_EQ(OpenError().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(Text(), "important notes\n");
  unlink(path_.c_str());
  ASSERT_EQ(mkfifo(path_.c_str(), 0600), 0);
  EXPECT_EQ(OpenError().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_FALSE(Ledger::Open(directory_.path().string()).ok());
  EXPECT_EQ(Ledger::Open(directory_.At("nowhere/ledger.csv")).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(LedgerTest, RefusesAFileThatIsBeingWritten) {
  std::unique_ptr<Ledger> ledger = OpenWithoutThread();
  EXPECT_THAT(std::string(OpenError().message()), HasSubstr("another process writes it"));
}

// One thread appends, the ledger's own writes: all rows, in order, and the auditor agrees.
TEST_F(LedgerTest, TheThreadWritesEverything) {
  absl::StatusOr<std::unique_ptr<Ledger>> ledger = Ledger::Open(path_);
  ASSERT_TRUE(ledger.ok()) << ledger.status();
  constexpr int kLeases = 50'000;
  (*ledger)->NameAccount(kDevice, "device/0");
  (*ledger)->Append(Start(kDevice));
  for (int i = 1; i <= kLeases; ++i) {
    const auto lease = static_cast<uint64_t>(i);
    // The queue has no room for all of them: let the writer take its part.
    if (i % 20'000 == 0) {
      ASSERT_TRUE((*ledger)->Flush().ok());
    }
    (*ledger)->Append(Grant(lease, 3, 3));
    LedgerRow release = Grant(lease, -3, 0);
    release.event = LedgerEvent::kRelease;
    (*ledger)->Append(release);
    if (i % 1000 == 0) (*ledger)->NameAccount(kTenant, absl::StrCat("tenant/", i));
  }
  LedgerRow stop = Start(kDevice);
  stop.event = LedgerEvent::kStop;
  (*ledger)->Append(stop);
  ASSERT_TRUE((*ledger)->Close().ok());
  EXPECT_TRUE((*ledger)->Close().ok());

  const absl::StatusOr<AuditReport> report = AuditLedgerFile(path_);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->rows, 2 * kLeases + 2);
  EXPECT_TRUE(report->clean()) << ::testing::PrintToString(report->findings);
}

}  // namespace
}  // namespace vramgate
