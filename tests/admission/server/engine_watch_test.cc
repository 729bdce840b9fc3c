// Engines that are watched over real sockets and files: what the pool's account becomes, and what is said.
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include "absl/strings/str_cat.h"
#include "tests/admission/server/engine_watch_rig.h"
#include "tests/support/temporary_directory.h"

namespace vramgate {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;

TEST_F(EngineWatchTest, ARealPageOfAnEngineThatIsAsPriced) {
  FakeEngine engine(FakeEngine::Ok(RealPage("vllm_0.32_after_preempt.prom")));
  const auto watch = Watch(Watched(engine));
  engine.WaitForRequests(3);
  EXPECT_THAT(engine.last_request(), AllOf(StartsWith("GET /metrics HTTP/1.1\r\n"),
                                           HasSubstr(absl::StrCat("Host: 127.0.0.1:", engine.port(), "\r\n"))));
  EXPECT_EQ(capacity(), 256 * kBlock);
  ASSERT_EQ(watch->drifts().size(), 1u);
  EXPECT_EQ(watch->drifts()[0].model, "llama");
  EXPECT_EQ(watch->drifts()[0].instance, "a");
  EXPECT_EQ(watch->drifts()[0].ratio, 1.0);
  EXPECT_THAT(log_.lines(), ElementsAre("I model llama, instance a: the engine's KV pool is as priced")) << "once";
  watch->Stop();
  EXPECT_THAT(rows_.capacities, IsEmpty()) << "nothing has changed";
}

TEST_F(EngineWatchTest, ASmallerPoolLowersTheAccount) {
  FakeEngine engine(Page(128));
  const auto watch = Watch(Watched(engine));
  engine.WaitForRequests(3);
  EXPECT_EQ(capacity(), 128 * kBlock);
  EXPECT_EQ(watch->drifts()[0].ratio, 0.5);
  EXPECT_EQ(Ask("too large", 129).decision.outcome, Outcome::kRejectedNeverFits);
  EXPECT_EQ(Ask("fits", 128).decision.outcome, Outcome::kGranted);
  EXPECT_THAT(log_.lines(), ElementsAre(HasSubstr("W model llama, instance a: vLLM has 50.0 % less KV pool")));
  watch->Stop();
  EXPECT_THAT(rows_.capacities, ElementsAre(128 * kBlock));
}

TEST_F(EngineWatchTest, ALargerPoolLetsAWaiterGo) {
  FakeEngine engine(Page(256));
  const auto watch = Watch(Watched(engine));
  ASSERT_EQ(Ask("first", 256).decision.outcome, Outcome::kGranted);
  const auto waiter = std::make_shared<Waiter>();
  ASSERT_FALSE(Ask("second", 100, absl::InfiniteDuration(), waiter).decided);
  engine.Answer(Page(400));  // started again with more memory
  EXPECT_EQ(waiter->Wait(), Outcome::kGranted);
  EXPECT_EQ(capacity(), 400 * kBlock);
}

TEST_F(EngineWatchTest, UseBesideTheGateIsNotGivenOut) {
  FakeEngine engine(Page(256, 0.5));
  const auto watch = Watch(Watched(engine));
  EXPECT_THAT(log_.Wait(2), HasSubstr("the engine holds 16MiB of KV that no lease explains"));
  engine.WaitForRequests(3);
  EXPECT_EQ(capacity(), 128 * kBlock);
  EXPECT_EQ(controller_.GetAccount(kPool).foreign_bytes, 128 * kBlock);
  EXPECT_EQ(watch->drifts()[0].ratio, 0.5);
  // It may fit later: not never.
  EXPECT_EQ(Ask("large", 200).decision.outcome, Outcome::kRejectedBudgetExhausted);
  engine.Answer(Page(256, 0));
  EXPECT_THAT(log_.Wait(3), HasSubstr("I model llama, instance a: the engine holds no more KV than its leases"));
  Reread(engine);
  EXPECT_EQ(capacity(), 256 * kBlock);
  EXPECT_EQ(watch->drifts()[0].ratio, 1.0);
}

TEST_F(EngineWatchTest, UseThatLeasesExplainChangesNothing) {
  FakeEngine engine(Page(256, 0));
  const auto watch = Watch(Watched(engine));
  ASSERT_EQ(Ask("half", 128).decision.outcome, Outcome::kGranted);
  engine.Answer(Page(256, 0.5));
  Reread(engine);
  EXPECT_EQ(capacity(), 256 * kBlock);
}

TEST_F(EngineWatchTest, AnEngineThatIsStartedAnewIsComparedAnew) {
  FakeEngine engine(Page(128));
  const auto watch = Watch(Watched(engine));
  engine.WaitForRequests(2);
  EXPECT_EQ(capacity(), 128 * kBlock);
  engine.Answer(Page(256));
  Reread(engine);
  EXPECT_EQ(capacity(), 256 * kBlock);
  EXPECT_THAT(log_.Wait(2), HasSubstr("as priced"));
}

TEST_F(EngineWatchTest, NobodyThere) {
  WatchedEngine watched = Watched();
  {
    const FakeEngine gone("");
    watched.metrics = *ParseHttpUrl(gone.url("/metrics"));
  }
  const auto watch = Watch(watched);
  EXPECT_THAT(log_.Wait(1), HasSubstr("Connection refused"));
  EXPECT_EQ(capacity(), 256 * kBlock);
  EXPECT_THAT(watch->drifts(), IsEmpty());
}

TEST_F(EngineWatchTest, StopsWhileAnEngineKeepsItWaiting) {
  FakeEngine engine(FakeEngine::kSilence);
  const auto watch = Watch(Watched(engine));
  engine.WaitForRequests(1);
  watch->Stop();
  EXPECT_THAT(log_.lines(), IsEmpty());
  EXPECT_THAT(watch->drifts(), IsEmpty());
}

TEST_F(EngineWatchTest, SeveralEnginesDoNotWaitForEachOther) {
  FakeEngine slow(FakeEngine::kSilence);
  FakeEngine quick(Page(128));
  std::vector<WatchedEngine> engines = {Watched(slow), Watched(quick)};
  EngineWatch watch(controller_, engines, log_.say(), absl::Seconds(60));
  slow.WaitForRequests(1);
  quick.WaitForRequests(3);
  EXPECT_EQ(capacity(), 128 * kBlock);
}

TEST_F(EngineWatchTest, ALogIsReadBeforeAnythingElse) {
  const TemporaryDirectory directory;
  WatchedEngine watched = Watched();
  watched.log_path = directory.At("engine.log");
  std::ofstream(watched.log_path)
      << "INFO # GPU blocks: 128, # CPU blocks: 2048\nINFO Maximum concurrency for 1280 tokens per request: 3.20x\n";
  const auto watch = Watch(watched);
  EXPECT_EQ(capacity(), 128 * kBlock);
  EXPECT_EQ(watch->drifts()[0].ratio, 0.5);
}

TEST_F(EngineWatchTest, ALogIsFollowedAndMayBeReplaced) {
  const TemporaryDirectory directory;
  WatchedEngine watched = Watched();
  watched.log_path = directory.At("engine.log");
  const auto watch = Watch(watched);
  EXPECT_THAT(log_.Wait(1), AllOf(HasSubstr("engine_log: "), HasSubstr("No such file")));
  EXPECT_EQ(capacity(), 256 * kBlock);
  {
    std::ofstream log(watched.log_path);
    log << "INFO # GPU blocks: 12" << std::flush << "8, # CPU blocks: 0\n" << std::flush;
  }
  EXPECT_THAT(log_.Wait(2), HasSubstr("read again"));
  EXPECT_THAT(log_.Wait(3), HasSubstr("50.0 % less"));
  EXPECT_EQ(watch->drifts().size(), 1u);
  const std::string next = directory.At("next.log");
  std::ofstream(next) << "INFO # GPU blocks: 256, # CPU blocks: 0\n";
  std::filesystem::rename(next, watched.log_path);
  EXPECT_THAT(log_.Wait(4), HasSubstr("as priced"));
}

TEST_F(EngineWatchTest, ADirectoryOrPipeIsNoLog) {
  const TemporaryDirectory directory;
  WatchedEngine watched = Watched();
  watched.log_path = directory.path().string();
  {
    const auto watch = Watch(watched);
    EXPECT_THAT(log_.Wait(1), HasSubstr("engine_log: "));
  }
  watched.log_path = directory.At("pipe");
  ASSERT_EQ(mkfifo(watched.log_path.c_str(), 0600), 0);
  const auto watch = Watch(watched);
  EXPECT_THAT(log_.Wait(2), HasSubstr("not a regular file"));
}

// The page names the pool's blocks, the log the version that says what its tokens mean: both are one engine.
TEST_F(EngineWatchTest, LogAndPageAreTakenTogether) {
  const TemporaryDirectory directory;
  FakeEngine engine(FakeEngine::Ok("vllm:kv_cache_usage_perc 0.25\n"));
  WatchedEngine watched = Watched(engine);
  watched.log_path = directory.At("engine.log");
  std::ofstream(watched.log_path) << "# GPU blocks: 128, # CPU blocks: 2048\n";
  const auto watch = Watch(watched);
  engine.WaitForRequests(3);
  EXPECT_EQ(capacity(), (128 - 32) * kBlock) << "a quarter of the log's pool is in use by nobody we know";
}

}  // namespace
}  // namespace vramgate
