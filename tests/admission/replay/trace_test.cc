#include "admission/replay/trace.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>
#include <string>

#include "admission/replay/access_log.h"

namespace vramgate {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr char kHeader[] = "arrival_s,prompt_tokens,output_tokens,tenant\n";

absl::StatusOr<Trace> Read(const std::string& text, int64_t first = Trace::kMaxRows) {
  std::istringstream in(text);
  return ReadTrace(in, first);
}

std::string ErrorOf(const std::string& text) {
  const absl::StatusOr<Trace> trace = Read(text);
  return trace.ok() ? "OK" : std::string(trace.status().message());
}

TEST(TraceTest, ReadsRowsAndTenants) {
  const absl::StatusOr<Trace> trace = Read(std::string(kHeader) + "0.5,10,20,a\n2,30,0,\n2,5,6,a\n");
  ASSERT_TRUE(trace.ok()) << trace.status();
  ASSERT_EQ(trace->rows.size(), 3u);
  EXPECT_EQ(trace->rows[0].arrival_ns, 0) << "time begins with the first row";
  EXPECT_EQ(trace->rows[1].arrival_ns, 1'500'000'000);
  EXPECT_EQ(trace->rows[0].prompt_tokens, 10);
  EXPECT_EQ(trace->rows[0].output_tokens, 20);
  EXPECT_THAT(trace->tenants, ElementsAre("a", ""));
  EXPECT_EQ(trace->rows[2].tenant, 0);
}

TEST(TraceTest, TenantIsOptionalAndLinesMayEndInCrLf) {
  const absl::StatusOr<Trace> trace = Read("arrival_s,prompt_tokens,output_tokens\r\n1,2,3\r\n4,5,6");
  ASSERT_TRUE(trace.ok()) << trace.status();
  EXPECT_EQ(trace->rows.size(), 2u);
  EXPECT_THAT(trace->tenants, ElementsAre(""));
}

TEST(TraceTest, ReadsAzuresOwnFiles) {
  const absl::StatusOr<Trace> trace = Read(
      "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.6805900,374,44\n2023-11-16 "
      "18:15:50.9951690,396,109\n");
  ASSERT_TRUE(trace.ok()) << trace.status();
  EXPECT_EQ(trace->rows[1].arrival_ns, 4'314'579'000);
}

TEST(TraceTest, StopsAtTheFirst) {
  const absl::StatusOr<Trace> trace = Read(std::string(kHeader) + "0,1,1,\n1,1,1,\nrubbish that is never read\n", 2);
  ASSERT_TRUE(trace.ok()) << trace.status();
  EXPECT_EQ(trace->rows.size(), 2u);
}

TEST(TraceTest, ReadsAnAccessLogInAnyOrder) {
  const absl::StatusOr<Trace> trace =
      Read(R"({"timestamp": 1700000005.5, "user": "b", "usage": {"prompt_tokens": 7, "completion_tokens": 8}})"
           "\n"
           R"({"time": "2023-11-14T22:13:20Z", "response": {"usage": {"prompt_tokens": 5, "completion_tokens": 6}}})"
           "\n"
           R"({"path": "/health", "status": 200})"
           "\n"
           R"({"custom_id": "x", "response": {"body": {"created": 1700000009, "usage": {"prompt_tokens": 1}}}})"
           "\n");
  ASSERT_TRUE(trace.ok()) << trace.status();
  ASSERT_EQ(trace->rows.size(), 3u);
  EXPECT_EQ(trace->skipped_lines, 1);
  EXPECT_EQ(trace->rows[0].prompt_tokens, 5);
  EXPECT_EQ(trace->rows[1].arrival_ns, 5'500'000'000);
  EXPECT_EQ(trace->tenants[static_cast<size_t>(trace->rows[1].tenant)], "b");
  EXPECT_EQ(trace->rows[2].output_tokens, 0) << "an embedding generates nothing";
}

TEST(TraceTest, SaysWhichLineIsWrongAndHow) {
  const std::string h = kHeader;
  EXPECT_THAT(ErrorOf(""), HasSubstr("line 1: empty"));
  EXPECT_THAT(ErrorOf("a,b,c\n1,2,3\n"), HasSubstr("line 1: the header \"a,b,c\""));
  EXPECT_THAT(ErrorOf(h), HasSubstr("no rows"));
  EXPECT_THAT(ErrorOf(h + "1,2,3\n"), HasSubstr("line 2: has 3 fields, not 4"));
  EXPECT_THAT(ErrorOf(h + "1,2,3,,\n"), HasSubstr("line 2: has 5 fields, not 4"));
  EXPECT_THAT(ErrorOf(h + "0,1,1,\n-1,2,3,\n"), HasSubstr("line 3: arrival_s \"-1\""));
  EXPECT_THAT(ErrorOf(h + "nan,2,3,\n"), HasSubstr("line 2: arrival_s \"nan\""));
  EXPECT_THAT(ErrorOf(h + "1e30,2,3,\n"), HasSubstr("line 2: arrival_s"));
  EXPECT_THAT(ErrorOf(h + "1,0,3,\n"), HasSubstr("line 2: prompt_tokens \"0\""));
  EXPECT_THAT(ErrorOf(h + "1,2.5,3,\n"), HasSubstr("line 2: prompt_tokens \"2.5\""));
  EXPECT_THAT(ErrorOf(h + "1,2,-3,\n"), HasSubstr("line 2: output_tokens \"-3\""));
  EXPECT_THAT(ErrorOf(h + "1,2,99999999999999999999,\n"), HasSubstr("line 2: output_tokens"));
  EXPECT_THAT(ErrorOf(h + "5,2,3,\n4,2,3,\n"), HasSubstr("line 3: arrives before the row above it"));
  EXPECT_THAT(ErrorOf(h + "1,2,3," + std::string(257, 'x') + "\n"), HasSubstr("line 2: tenant is longer"));
  EXPECT_THAT(ErrorOf(h + std::string((1 << 20) + 1, '1')), HasSubstr("line 2: longer than"));
  EXPECT_THAT(ErrorOf(std::string("\0\xff\x80", 3)), HasSubstr("line 1: the header"));
}

TEST(TraceTest, SaysWhatIsWrongInAnAccessLog) {
  EXPECT_THAT(ErrorOf("{\n"), HasSubstr("line 1: not a JSON object"));
  EXPECT_THAT(ErrorOf("{\"a\": 1}\n[1]\n"), HasSubstr("line 2: not a JSON object"));
  EXPECT_THAT(ErrorOf(R"({"usage": {"prompt_tokens": 1, "completion_tokens": 1}})"), HasSubstr("timestamp: missing"));
  EXPECT_THAT(ErrorOf(R"({"ts": 1, "usage": {"prompt_tokens": "1"}})"), HasSubstr("prompt_tokens: not a whole number"));
  EXPECT_THAT(ErrorOf(R"({"ts": 1, "usage": {"prompt_tokens": 0}})"), HasSubstr("prompt_tokens: out of range"));
  EXPECT_THAT(ErrorOf(R"({"ts": 1, "usage": {"prompt_tokens": 18446744073709551615}})"), HasSubstr("out of range"));
  EXPECT_THAT(ErrorOf(R"({"ts": -1, "usage": {"prompt_tokens": 1}})"), HasSubstr("ts: not seconds"));
  EXPECT_THAT(ErrorOf(R"({"ts": "noon", "usage": {"prompt_tokens": 1}})"), HasSubstr("timestamp \"noon\""));
  EXPECT_THAT(ErrorOf(R"({"ts": [], "usage": {"prompt_tokens": 1}})"), HasSubstr("ts: neither"));
  EXPECT_THAT(ErrorOf("{\"a\": 1}\n"), HasSubstr("no rows"));
}

TEST(TraceTest, NestedGarbageIsRefusedNotFollowed) {
  EXPECT_THAT(ErrorOf("{\"a\":" + std::string(200'000, '[')), HasSubstr("line 1: not a JSON object"));
}

TEST(TraceTest, FilesAreNamedInErrors) {
  const absl::StatusOr<Trace> trace = ReadTraceFile("/nowhere/trace.csv", 1);
  EXPECT_TRUE(absl::IsNotFound(trace.status()));
  EXPECT_THAT(std::string(trace.status().message()), HasSubstr("/nowhere/trace.csv"));
  const absl::StatusOr<Trace> slice = ReadTraceFile(VRAMGATE_TEST_DATA "/traces/azure2023_conv_1500.csv", 6000);
  ASSERT_TRUE(slice.ok()) << slice.status();
  EXPECT_EQ(slice->rows.size(), 1500u);
}

}  // namespace
}  // namespace vramgate
