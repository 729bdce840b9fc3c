// The auditor against ledgers written by hand.
#include "admission/server/audit.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <sstream>

#include "absl/strings/str_cat.h"

namespace vramgate {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::UnorderedElementsAre;

constexpr char kHeader[] = "t_s,event,lease,account,delta_bytes,used_bytes,capacity_bytes\n";
constexpr char kLease1[] = "0000000000000001";
constexpr char kLease2[] = "0000000000000002";

// A ledger being written, one second a row but for rows of one moment.
class LedgerText {
 public:
  LedgerText& Row(const std::string& event, const std::string& lease, const std::string& account, int64_t delta,
                  int64_t used, int64_t capacity = 100) {
    if (!moment_) ++seconds_;
    absl::StrAppend(&text_, seconds_, ".000000000,", event, ",", lease, ",", account, ",", delta, ",", used, ",",
                    capacity, "\n");
    return *this;
  }
  LedgerText& Lost(int rows) {
    absl::StrAppend(&text_, ++seconds_, ".000000000,LOST,", rows, ",,0,0,0\n");
    return *this;
  }
  // Rows from here on share a time, until the next call.
  LedgerText& Moment() {
    ++seconds_;
    moment_ = true;
    return *this;
  }
  LedgerText& Later() {
    moment_ = false;
    return *this;
  }
  const std::string& text() const { return text_; }

 private:
  std::string text_ = kHeader;
  int64_t seconds_ = 0;
  bool moment_ = false;
};

absl::StatusOr<AuditReport> Audit(const std::string& text) {
  std::istringstream in(text);
  return AuditLedger(in);
}
AuditReport Report(const LedgerText& ledger) {
  const absl::StatusOr<AuditReport> report = Audit(ledger.text());
  EXPECT_TRUE(report.ok()) << report.status();
  return report.ok() ? *report : AuditReport();
}

LedgerText Started() {
  return LedgerText().Row("START", "", "device/0", 0, 0).Row("FIXED", "", "device/0", 40, 40);
}

TEST(AuditTest, ARunThatKeepsItsPromiseIsClean) {
  const AuditReport report = Report(Started()
                                        .Row("GRANT", kLease1, "device/0", 60, 100)
                                        .Row("LINGER", kLease1, "device/0", 0, 100)
                                        .Row("EXPIRE", kLease1, "device/0", -60, 40)
                                        .Row("STOP", "", "device/0", 0, 40));
  EXPECT_TRUE(report.clean());
  EXPECT_EQ(report.rows, 6);
  EXPECT_EQ(report.runs, 1);
  EXPECT_THAT(report.peak_used_bytes, ElementsAre(Pair("device/0", 100)));
  EXPECT_THAT(report.findings, IsEmpty());
}

TEST(AuditTest, UsedAboveCapacityAfterARiseIsAnOverrun) {
  const AuditReport report = Report(Started()
                                        .Row("GRANT", kLease1, "device/0", 61, 101)
                                        .Row("RELEASE", kLease1, "device/0", -61, 40)
                                        .Row("STOP", "", "device/0", 0, 40));
  EXPECT_EQ(report.overruns, 1);
  EXPECT_FALSE(report.clean());
  EXPECT_THAT(report.findings, ElementsAre("line 4: overrun: device/0: used 101 > capacity 100"));
}

TEST(AuditTest, ACapacityThatFallsBelowUsedIsNoOverrun) {
  const AuditReport report = Report(Started()
                                        .Row("GRANT", kLease1, "device/0", 60, 100)
                                        .Row("CAPACITY", "", "device/0", 0, 100, 50)
                                        .Row("SHRINK", kLease1, "device/0", -5, 95, 50)
                                        .Row("RELEASE", kLease1, "device/0", -55, 40, 50)
                                        .Row("STOP", "", "device/0", 0, 40, 50));
  EXPECT_TRUE(report.clean()) << ::testing::PrintToString(report.findings);
}

TEST(AuditTest, ALeaseReleasedShortOfItsBytesIsALeak) {
  const AuditReport report = Report(Started()
                                        .Row("GRANT", kLease1, "device/0", 60, 100)
                                        .Row("RELEASE", kLease1, "device/0", -50, 50)
                                        .Row("STOP", "", "device/0", 0, 50));
  EXPECT_EQ(report.leaks, 1);
  EXPECT_EQ(report.leaked_bytes, 10);
  EXPECT_THAT(report.findings, ElementsAre("line 5: leak: lease 0000000000000001 ended with 10 bytes of device/0"));
}

// The rows of one release need not all be the same: the account that was forgotten is the leak.
TEST(AuditTest, AnAccountThatAReleaseForgetsIsALeak) {
  const AuditReport report = Report(Started()
                                        .Row("START", "", "pool/m/a", 0, 0)
                                        .Moment()
                                        .Row("GRANT", kLease1, "device/0", 6, 46)
                                        .Row("GRANT", kLease1, "pool/m/a", 7, 7)
                                        .Later()
                                        .Row("RELEASE", kLease1, "device/0", -6, 40)
                                        .Row("STOP", "", "device/0", 0, 40)
                                        .Row("STOP", "", "pool/m/a", 0, 7));
  EXPECT_EQ(report.leaks, 1);
  EXPECT_EQ(report.leaked_bytes, 7);
}

TEST(AuditTest, UsedThatIsNotTheSumOfDeltasIsALeakSaidOnce) {
  const AuditReport report = Report(Started()
                                        .Row("GRANT", kLease1, "device/0", 10, 53)
                                        .Row("RELEASE", kLease1, "device/0", -10, 43)
                                        .Row("STOP", "", "device/0", 0, 43));
  EXPECT_EQ(report.leaks, 1);
  EXPECT_EQ(report.leaked_bytes, 3);
  EXPECT_THAT(report.findings, ElementsAre("line 4: leak: device/0: used 53 is not the sum of its deltas, 50"));
}

TEST(AuditTest, ALeaseStillHeldAtTheEndIsOpenAndNoLeak) {
  const AuditReport report =
      Report(Started().Row("GRANT", kLease1, "device/0", 10, 50).Row("STOP", "", "device/0", 0, 50));
  EXPECT_TRUE(report.clean());
  EXPECT_EQ(report.open_leases, 1);
  EXPECT_THAT(report.findings, ElementsAre(HasSubstr("open leases: 1")));
}

// One lease's missing bytes hidden by another's: the accounts are as they should be, so the run had settled.
TEST(AuditTest, LeasesThatCancelOutInASettledRunAreLeaks) {
  const AuditReport report = Report(Started()
                                        .Row("GRANT", kLease1, "device/0", 10, 50)
                                        .Row("SHRINK", kLease2, "device/0", -10, 40)
                                        .Row("STOP", "", "device/0", 0, 40));
  EXPECT_EQ(report.leaks, 2);
  EXPECT_EQ(report.leaked_bytes, 20);
  EXPECT_EQ(report.open_leases, 0);
}

TEST(AuditTest, NoStopIsIncomplete) {
  const AuditReport report = Report(Started());
  EXPECT_FALSE(report.complete);
  EXPECT_FALSE(report.clean());
  EXPECT_THAT(report.findings, ElementsAre(AllOf(HasSubstr("STOP"), HasSubstr("device/0"))));
}

TEST(AuditTest, OneAccountWithoutStopIsIncomplete) {
  EXPECT_FALSE(Report(Started().Row("START", "", "pool/m/a", 0, 0).Row("STOP", "", "device/0", 0, 40)).complete);
}

// A tenant that nobody lists is known while it has leases; its account goes with the last one.
TEST(AuditTest, AnEmptyTenantNeedsNoStopAndMayComeAgain) {
  LedgerText ledger = Started();
  for (int i = 0; i < 2; ++i) {
    ledger.Row("START", "", "tenant/t", 0, 0)
        .Row("GRANT", kLease1, "tenant/t", 5, 5)
        .Row("RELEASE", kLease1, "tenant/t", -5, 0);
  }
  const AuditReport report = Report(ledger.Row("STOP", "", "device/0", 0, 40));
  EXPECT_TRUE(report.clean()) << ::testing::PrintToString(report.findings);
  EXPECT_EQ(report.runs, 1);
}

TEST(AuditTest, ATenantThatHoldsBytesNeedsAStop) {
  EXPECT_FALSE(Report(Started()
                          .Row("START", "", "tenant/t", 0, 0)
                          .Row("GRANT", kLease1, "tenant/t", 5, 5)
                          .Row("STOP", "", "device/0", 0, 40))
                   .complete);
}

TEST(AuditTest, LostRowsAreIncompleteAndBlameNobodyElse) {
  const AuditReport report = Report(Started()
                                        .Row("GRANT", kLease1, "device/0", 10, 50)
                                        .Lost(3)
                                        .Row("RELEASE", kLease1, "device/0", -10, 45)
                                        .Row("RELEASE", kLease2, "device/0", -5, 40)
                                        .Row("STOP", "", "device/0", 0, 40));
  EXPECT_FALSE(report.complete);
  EXPECT_EQ(report.leaks, 0);
  EXPECT_EQ(report.open_leases, 0);
  EXPECT_THAT(report.findings, ElementsAre("line 5: incomplete: 3 rows were lost"));
}

TEST(AuditTest, AnOverrunBehindLostRowsIsStillSeen) {
  EXPECT_EQ(
      Report(Started().Lost(3).Row("GRANT", kLease1, "device/0", 1, 101).Row("STOP", "", "device/0", 0, 101)).overruns,
      1);
}

TEST(AuditTest, RowsBeforeTheFirstStartAreIncomplete) {
  const AuditReport report =
      Report(LedgerText().Row("GRANT", kLease1, "device/0", 10, 50).Row("STOP", "", "device/0", 0, 50));
  EXPECT_FALSE(report.complete);
  EXPECT_EQ(report.leaks, 0);
}

TEST(AuditTest, ARestartBeginsSumsAnew) {
  LedgerText ledger = Started().Row("GRANT", kLease1, "device/0", 10, 50).Row("STOP", "", "device/0", 0, 50);
  ledger.Moment().Row("START", "", "device/0", 0, 0).Row("START", "", "device/1", 0, 0).Later();
  const AuditReport report = Report(ledger.Row("GRANT", kLease1, "device/1", 9, 9)
                                        .Row("RELEASE", kLease1, "device/1", -9, 0)
                                        .Row("STOP", "", "device/0", 0, 0)
                                        .Row("STOP", "", "device/1", 0, 0));
  EXPECT_TRUE(report.clean()) << ::testing::PrintToString(report.findings);
  EXPECT_EQ(report.runs, 2);
  EXPECT_THAT(report.peak_used_bytes, ElementsAre(Pair("device/0", 50), Pair("device/1", 9)));
}

// After a crash the new run may name a new device first: its START belongs to the new run.
TEST(AuditTest, ARestartAfterACrashKeepsTheNewRunsAccounts) {
  LedgerText ledger = Started();
  ledger.Moment().Row("START", "", "device/new", 0, 0).Row("START", "", "device/0", 0, 0).Later();
  const AuditReport report = Report(ledger.Row("STOP", "", "device/new", 0, 0).Row("STOP", "", "device/0", 0, 0));
  EXPECT_EQ(report.runs, 2);
  EXPECT_FALSE(report.complete);
  EXPECT_EQ(report.leaks, 0);
  EXPECT_EQ(report.findings.size(), 1u) << ::testing::PrintToString(report.findings);  // the first run's STOP
}

TEST(AuditTest, ALastRowWithoutItsEndIsIncomplete) {
  std::string text = Started().Row("STOP", "", "device/0", 0, 40).text();
  text.pop_back();
  const absl::StatusOr<AuditReport> report = Audit(text);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_FALSE(report->complete);
}

TEST(AuditTest, MalformedInputIsRefusedWithItsLine) {
  const std::string good = "1.000000000,START,,device/0,0,0,100\n";
  const struct {
    std::string rows;
    std::string why;
  } cases[] = {
      {"\n", "line 3: the row is not seven columns"},
      {"1.000000000,START,,device/0,0,0\n", "seven columns"},
      {"1.000000000,START,,device/0,0,0,100,7\n", "seven columns"},
      {"1.5,START,,device/0,0,0,100\n", "t_s"},
      {"-1.000000000,START,,device/0,0,0,100\n", "t_s"},
      {"99999999999999999999.000000000,START,,device/0,0,0,100\n", "t_s"},
      {"1.000000000,start,,device/0,0,0,100\n", "event"},
      {"1.000000000,GRANT,1,device/0,1,1,100\n", "lease"},
      {"1.000000000,GRANT,0000000000000000,device/0,1,1,100\n", "lease"},
      {"1.000000000,GRANT,,,1,1,100\n", "account"},
      {"1.000000000,GRANT,,a b,1,1,100\n", "account"},
      {"1.000000000,GRANT,,a,1.5,1,100\n", "delta_bytes"},
      {"1.000000000,LINGER,,a,1,1,100\n", "delta_bytes"},
      {"1.000000000,GRANT,,a,1,9223372036854775808,100\n", "used_bytes"},
      {"1.000000000,GRANT,,a,1,1,100\r\n", "capacity_bytes"},
      {"1.000000000,LOST,-1,,0,0,0\n", "lease"},
      {kHeader, "t_s"},
      {std::string("1.000000000,GRANT,,a\0b,1,1,1\n", 29), "account"},
      {std::string(5000, 'x') + "\n", "longer than"},
      {"2.000000000,GRANT,0000000000000001,device/0,9223372036854775807,9223372036854775807,1\n"
       "2.000000000,GRANT,0000000000000001,device/0,1,1,1\n",
       "64 bits"},
  };
  for (const auto& c : cases) {
    const absl::Status status = Audit(kHeader + good + c.rows).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << c.rows;
    EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr("line "), HasSubstr(c.why))) << c.rows;
  }
}

TEST(AuditTest, WhatIsNoLedgerIsRefused) {
  EXPECT_EQ(Audit("").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Audit("a,b\n").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(AuditLedgerFile("/nonexistent/ledger.csv").status().code(), absl::StatusCode::kNotFound);
  EXPECT_FALSE(AuditLedgerFile(::testing::TempDir()).ok());  // a directory
}

TEST(AuditTest, FindingsAreBoundedAndCountsAreNot) {
  LedgerText ledger = Started();
  for (int i = 0; i < 100; ++i) ledger.Row("OVERUSE", kLease1, "device/0", 0, 41 + i);
  const AuditReport report = Report(ledger.Row("STOP", "", "device/0", 0, 140));
  EXPECT_EQ(report.leaks, 100);
  EXPECT_EQ(report.findings.size(), AuditReport::kMaxFindings);
}

// Bytes flipped at random: a status, never a crash.
TEST(AuditTest, SurvivesAnything) {
  const auto seed = static_cast<uint32_t>(::testing::UnitTest::GetInstance()->random_seed());
  SCOPED_TRACE(absl::StrCat("seed ", seed));
  std::mt19937 random(seed);
  const std::string good = Started()
                               .Row("GRANT", kLease1, "device/0", 10, 50)
                               .Row("RELEASE", kLease1, "device/0", -10, 40)
                               .Row("STOP", "", "device/0", 0, 40)
                               .text();
  int refused = 0;
  for (int i = 0; i < 5000; ++i) {
    std::string text = good;
    for (int k = 0; k < 3; ++k)
      text[sizeof kHeader - 1 + random() % (text.size() - sizeof kHeader)] = static_cast<char>(random());
    refused += Audit(text).ok() ? 0 : 1;
  }
  EXPECT_GT(refused, 1000);
}

}  // namespace
}  // namespace vramgate
