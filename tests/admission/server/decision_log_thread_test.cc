// The log's thread, and readers of the log that stand still or leave.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <thread>

#include "absl/strings/str_cat.h"
#include "tests/admission/server/decision_log_fixture.h"

namespace vramgate {
namespace {

using Json = nlohmann::json;

TEST_F(DecisionLogTest, AllThreadsAreHeardWhole) {
  DecisionLog::Options options = Unthreaded();
  options.thread = true;
  std::atomic<int> said = 0;
  constexpr int kThreads = 4;
  constexpr int kEach = 200;
  {
    DecisionLog log(config_, clock_, options);
    std::vector<std::thread> threads;
    threads.reserve(kThreads);
    for (int t = 0; t < kThreads; ++t) {
      threads.emplace_back([&] {
        for (int i = 0; i < kEach; ++i) log.Say(LogLevel::kInfo, absl::StrCat("message ", ++said));
      });
    }
    for (int i = 0; i < 1000; ++i) log.Append(Of(Outcome::kGranted), {i});
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(log.dropped(), 0);
  }
  EXPECT_EQ(Read().size(), 1000u + kThreads * kEach);
}

class PipeTest : public DecisionLogTest {
 protected:
  PipeTest() { EXPECT_EQ(pipe2(pipe_, O_CLOEXEC), 0); }
  ~PipeTest() override {
    CloseReader();
    CloseWriter();
  }
  void CloseReader() {
    if (pipe_[0] >= 0) close(pipe_[0]);
    pipe_[0] = -1;
  }
  void CloseWriter() {
    if (pipe_[1] >= 0) close(pipe_[1]);
    pipe_[1] = -1;
  }
  DecisionLog::Options ToPipe(bool thread) const {
    DecisionLog::Options options = Unthreaded();
    options.fd = pipe_[1];
    options.thread = thread;
    options.most_stall = absl::ZeroDuration();
    return options;
  }
  std::string ReadSome() const {
    std::string text(1 << 20, '\0');
    const ssize_t n = read(pipe_[0], text.data(), text.size());
    EXPECT_GE(n, 0);
    text.resize(static_cast<size_t>(std::max<ssize_t>(n, 0)));
    return text;
  }

  int pipe_[2] = {-1, -1};
};

TEST_F(PipeTest, TheThreadWritesByItself) {
  DecisionLog log(config_, clock_, ToPipe(true));
  log.Append(Of(Outcome::kGranted), {1});
  EXPECT_THAT(ReadSome(), ::testing::HasSubstr("\"event\":\"granted\""));
  log.Say(LogLevel::kInfo, "hello");
  EXPECT_THAT(ReadSome(), ::testing::HasSubstr("hello"));
}

TEST_F(PipeTest, AReaderThatStandsStillCostsLinesAndNoTime) {
  DecisionLog log(config_, clock_, ToPipe(false));
  constexpr int kDecisions = 2000;
  for (int i = 0; i < kDecisions; ++i) log.Append(Of(Outcome::kGranted), {i});
  log.Flush();  // the pipe holds some 64 KiB of it
  EXPECT_GT(log.dropped(), 0);
  EXPECT_EQ(static_cast<int64_t>(Lines(ReadSome()).size()), kDecisions - log.dropped());

  log.Append(Of(Outcome::kExpired), {kDecisions});  // it reads again: this one arrives, and the count
  log.Close();
  const std::vector<std::string> lines = Lines(ReadSome());
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(Json::parse(lines[0])["event"], "expired");
  EXPECT_EQ(Json::parse(lines[1])["lines"], log.dropped());
}

TEST_F(PipeTest, AReaderThatIsGoneDoesNotEndTheProgram) {
  DecisionLog log(config_, clock_, ToPipe(false));
  CloseReader();
  log.Append(Of(Outcome::kGranted), {1});
  log.Say(LogLevel::kInfo, "nobody hears");
  log.Flush();
  EXPECT_EQ(log.dropped(), 2);
  log.Close();
  EXPECT_EQ(log.dropped(), 2);  // the word about it is none of them
}

}  // namespace
}  // namespace vramgate
