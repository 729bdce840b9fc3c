// The log: one JSON object a line, what is written and what is sampled, and nothing lost without being counted.
#include "admission/server/decision_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <cstdlib>
#include <map>
#include <new>

#include "tests/admission/server/decision_log_fixture.h"

// Counts what this program's threads allocate: Append runs under the controller's lock and must not. Sanitizers bring
// an operator new of their own.
#if defined(__has_feature)
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer)
#define VRAMGATE_SANITIZED
#endif
#endif
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define VRAMGATE_SANITIZED
#endif

#ifndef VRAMGATE_SANITIZED
namespace {
thread_local int64_t allocations = 0;
}  // namespace
[[gnu::noinline]] void* operator new(size_t size) {
  ++allocations;
  void* const memory = std::malloc(size);
  if (memory == nullptr) std::abort();
  return memory;
}
[[gnu::noinline]] void operator delete(void* memory) noexcept {
  std::free(memory);
}
[[gnu::noinline]] void operator delete(void* memory, size_t) noexcept {
  std::free(memory);
}
#endif

namespace vramgate {
namespace {

using ::testing::ElementsAre;
using Grants = DecisionLog::Grants;
using Json = nlohmann::json;

TEST_F(DecisionLogTest, ALineSaysWhatWasDecided) {
  config_.devices.push_back({.id = "1"});
  config_.models[0].instances[0].devices = {0, 1};
  DecisionLog log(config_, clock_, Unthreaded());
  log.Append(Of(Outcome::kGranted), {5'000'000});
  log.Flush();
  EXPECT_EQ(Text(),
            R"({"time":"2023-11-14T22:13:20.005Z","level":"info","event":"granted","lease":"leases/00000001000003e8",)"
            R"("request_id":"r-1","tenant":"team-a","model":"llama","instance":"a","bytes":2149580800,)"
            R"("waited_ms":12.5})"
            "\n");
}

TEST_F(DecisionLogTest, ARefusalSaysWhy) {
  DecisionLog log(config_, clock_, Unthreaded(Grants::kNone));
  Decision refused{.outcome = Outcome::kRejectedQueueFull};
  log.Append(refused, {1});
  refused.outcome = Outcome::kRejectedUnknownModel;
  refused.model = ModelId{-1};  // before one was known
  log.Append(refused, {2});
  log.Flush();
  const std::vector<Json> lines = Read();
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines[0]["event"], "rejected_queue_full");
  EXPECT_EQ(lines[0]["reason"], "QUEUE_FULL");
  EXPECT_EQ(lines[0]["level"], "warning");
  EXPECT_EQ(lines[0]["model"], "llama");
  EXPECT_FALSE(lines[0].contains("lease"));
  EXPECT_FALSE(lines[0].contains("instance"));
  EXPECT_FALSE(lines[1].contains("model"));
}

TEST_F(DecisionLogTest, ARevocationIsAskedForThenOverThenDone) {
  DecisionLog log(config_, clock_, Unthreaded());
  Decision stop = Of(Outcome::kRevoked, Decision::Kind::kStop);
  stop.grace = absl::Seconds(3);
  log.Append(stop, {1});
  stop.grace_over = true;
  log.Append(stop, {2});
  log.Append(Of(Outcome::kRevoked, Decision::Kind::kEnd), {3});
  log.Flush();
  EXPECT_THAT(Events(), ElementsAre("revoke_asked", "revoke_grace_over", "revoked"));
  EXPECT_EQ(Read()[0]["grace_ms"], 3000);
}

TEST_F(DecisionLogTest, GrantsAndCompletionsAreSampledTheRestIsNot) {
  DecisionLog log(config_, clock_, Unthreaded(Grants::kSampled));
  for (int i = 0; i < 1010; ++i) log.Append(Of(Outcome::kGranted), {i});
  for (int i = 0; i < 60; ++i) log.Append(Of(Outcome::kCompleted, Decision::Kind::kEnd), {i});
  for (int i = 0; i < 60; ++i) log.Append(Of(Outcome::kExpired, Decision::Kind::kEnd), {i});
  log.Flush();
  int plain = 0;
  int sampled = 0;
  std::map<std::string, int> counts;
  for (const Json& line : Read()) {
    ++counts[line["event"]];
    if (line["event"] == "granted") ++(line.contains("sampled") ? sampled : plain);
    EXPECT_EQ(line.value("sampled", 100), 100);
  }
  EXPECT_EQ(plain, 10);
  EXPECT_EQ(sampled, 10);  // of 1000
  EXPECT_EQ(counts["completed"], 10);
  EXPECT_EQ(counts["expired"], 60);
}

TEST_F(DecisionLogTest, LateLeasesAndWhoGaveWayAreAlwaysSaid) {
  DecisionLog log(config_, clock_, Unthreaded(Grants::kNone));
  Decision late = Of(Outcome::kGranted);
  late.kind = Decision::Kind::kLate;
  log.Append(late, {});
  Decision stop = Of(Outcome::kRevoked);
  stop.kind = Decision::Kind::kStop;
  stop.by_policy = true;
  log.Append(stop, {});
  log.Flush();
  EXPECT_THAT(Text(), ::testing::AllOf(::testing::HasSubstr(R"("level":"warning","event":"late","lease":)"),
                                       ::testing::HasSubstr(R"("event":"revoke_asked")"),
                                       ::testing::HasSubstr(R"("by":"policy")")));
}

TEST_F(DecisionLogTest, TheLevelLetsThroughWhatIsAsGrave) {
  DecisionLog::Options options = Unthreaded();
  options.level = LogLevel::kWarning;
  DecisionLog log(config_, clock_, options);
  log.Append(Of(Outcome::kGranted), {1});
  log.Append(Of(Outcome::kCancelled), {2});
  log.Append(Of(Outcome::kAborted, Decision::Kind::kEnd), {3});
  log.Say(LogLevel::kInfo, "starting");
  log.Say(LogLevel::kError, "cannot");
  log.Flush();
  EXPECT_THAT(Events(), ElementsAre("message", "aborted"));  // the message came at instant 1
}

TEST_F(DecisionLogTest, MessagesAndDecisionsStandInTheOrderOfTheirTimes) {
  DecisionLog log(config_, clock_, Unthreaded());
  clock_.Set({10});
  log.Say(LogLevel::kInfo, "ten");
  log.Append(Of(Outcome::kGranted), {5});
  log.Append(Of(Outcome::kExpired), {15});
  clock_.Set({20});
  log.Say(LogLevel::kWarning, "twenty");
  log.Flush();
  EXPECT_THAT(Events(), ElementsAre("granted", "message", "expired", "message"));
  EXPECT_EQ(Read()[1]["message"], "ten");
  EXPECT_EQ(Read()[3]["level"], "warning");
}

TEST_F(DecisionLogTest, HostileTextStaysOneLineOfGoodJson) {
  DecisionLog log(config_, clock_, Unthreaded());
  Decision decision = Of(Outcome::kGranted);
  decision.request_id.Assign("a\n{\"event\":\"forged\"}\x01");
  decision.tenant.Assign(std::string(30, 'x') + "\xc3\xa9");  // cut within the last character
  log.Append(decision, {0});
  log.Say(LogLevel::kInfo, "line one\nline two \xff\xfe");
  log.Say(LogLevel::kInfo, std::string(100'000, '\x02'));
  log.Flush();
  const std::vector<Json> lines = Read();
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_EQ(lines[0]["request_id"], "a\n{\"event\":\"forged\"}\x01");
  EXPECT_EQ(lines[0]["tenant"], std::string(30, 'x') + "\xef\xbf\xbd");
  EXPECT_EQ(lines[1]["message"], "line one\nline two \xef\xbf\xbd\xef\xbf\xbd");
  EXPECT_EQ(lines[2]["message"], std::string(DecisionLog::kMostMessageBytes, '\x02'));
}

TEST_F(DecisionLogTest, WhatFindsTheQueueFullIsCountedAndSaid) {
  DecisionLog::Options options = Unthreaded();
  options.queue_decisions = 4;
  DecisionLog log(config_, clock_, options);
  for (int i = 0; i < 10; ++i) log.Append(Of(Outcome::kGranted), {i});
  EXPECT_EQ(log.dropped(), 6);
  log.Flush();
  EXPECT_THAT(Events(), ElementsAre("granted", "granted", "granted", "granted", "log_dropped"));
  EXPECT_EQ(Read().back()["lines"], 6);
  log.Flush();
  EXPECT_EQ(Read().size(), 5u);  // said once
  EXPECT_EQ(log.dropped(), 6);
}

TEST_F(DecisionLogTest, MessagesAreBoundedToo) {
  DecisionLog log(config_, clock_, Unthreaded());
  for (size_t i = 0; i < DecisionLog::kMostMessages + 3; ++i) log.Say(LogLevel::kInfo, "again");
  EXPECT_EQ(log.dropped(), 3);
  log.Flush();
  EXPECT_EQ(Read().size(), DecisionLog::kMostMessages + 1);
}

TEST_F(DecisionLogTest, AppendAllocatesNothing) {
#ifdef VRAMGATE_SANITIZED
  GTEST_SKIP() << "a sanitizer's operator new does not count";
#else
  DecisionLog::Options options = Unthreaded();
  options.queue_decisions = 16;
  DecisionLog log(config_, clock_, options);
  const Decision decision = Of(Outcome::kGranted);
  const int64_t before = allocations;
  for (int i = 0; i < 100; ++i) log.Append(decision, {i});  // most find no room
  EXPECT_EQ(allocations, before);
#endif
}

}  // namespace
}  // namespace vramgate
