// Whatever an engine's endpoint may answer instead of a page.
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include "tests/admission/server/engine_watch_rig.h"

namespace vramgate {
namespace {

using testing::AllOf;
using testing::HasSubstr;

struct Fault {
  const char* name;
  std::string answer;
  const char* words;
};

class EngineFaultTest : public EngineWatchTest, public testing::WithParamInterface<Fault> {};

// Whatever comes instead of a page: it is said once, what was known holds, and the next good page counts again.
TEST_P(EngineFaultTest, IsSaidOnceAndChangesNothing) {
  FakeEngine engine(Page(128));
  const bool silent = GetParam().answer == FakeEngine::kSilence;
  const auto watch = Watch(Watched(engine), silent ? absl::Milliseconds(200) : absl::Seconds(60));
  (void)log_.Wait(1);
  engine.Answer(GetParam().answer);
  EXPECT_THAT(log_.Wait(2), AllOf(HasSubstr("W model llama, instance a: engine_metrics: "), HasSubstr(GetParam().words),
                                  HasSubstr(": held to what is known until it can be read")));
  Reread(engine);
  EXPECT_EQ(capacity(), 128 * kBlock);
  EXPECT_EQ(watch->drifts()[0].ratio, 0.5);
  engine.Answer(Page(128));
  EXPECT_THAT(log_.Wait(3), HasSubstr("I model llama, instance a: engine_metrics: read again"));
  watch->Stop();
  EXPECT_EQ(log_.lines().size(), 3u);
}

INSTANTIATE_TEST_SUITE_P(
    All, EngineFaultTest,
    testing::Values(
        Fault{"NotFound", "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "answers with status 404"},
        Fault{"Redirect", "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
              "answers with status 302"},
        Fault{"Html", FakeEngine::Ok("<html>hello</html>\n"), "line 1 is no sample"},
        Fault{"OtherPage", FakeEngine::Ok("node_load1 1\n"), "says nothing of a KV pool"},
        Fault{"Empty", FakeEngine::Ok(""), "says nothing of a KV pool"},
        Fault{"ImpossibleUse", FakeEngine::Ok("vllm:kv_cache_usage_perc 7\n"), "7 cannot be"},
        Fault{"NoHttp", "SSH-2.0-OpenSSH_9.2\r\n", "does not speak HTTP/1.1"}, Fault{"Nothing", "", "broke off"},
        Fault{"Torn", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nvllm:", "broke off"},
        Fault{"Announced", "HTTP/1.1 200 OK\r\nContent-Length: 5000000\r\n\r\n", "more than 4194304 bytes"},
        Fault{"EndlessBody", FakeEngine::Endless("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
              "more than 4194304 bytes"},
        Fault{"EndlessToTheEnd", FakeEngine::Endless("HTTP/1.0 200 OK\r\n\r\n"), "more than 4194304 bytes"},
        Fault{"EndlessHeader", FakeEngine::Endless("HTTP/1.1 200 OK\r\nX: "), "a header of more than 65536 bytes"},
        Fault{"Silent", FakeEngine::kSilence, "no whole answer within 200ms"}),
    [](const auto& fault) { return fault.param.name; });

}  // namespace
}  // namespace vramgate
