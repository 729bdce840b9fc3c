// How the streams of gateways live and end: what the config says of ends, holds and phases, and any order of messages.
#include <numeric>
#include <random>
#include <thread>

#include "absl/strings/str_cat.h"
#include "admission/server/ext_proc_options.h"
#include "admission/server/ext_proc_service.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/admission/server/gateway.h"

namespace vramgate {
namespace {

using envoy::extensions::filters::http::ext_proc::v3::ProcessingMode;
using testing::HasSubstr;

std::string With(const std::string& ext_proc) {
  return absl::StrCat(OneModel(), "ext_proc: {", ext_proc, "}\n");
}

ExtProcOptions Options(const std::string& queue, const std::string& ext_proc) {
  const std::string yaml = absl::StrCat(DevicesYaml(1), "models:\n",
                                        ModelYaml("m", 1000, R"(      - {name: a, devices: ["0"], kv_pool: 1000MiB})"),
                                        "queue: {", queue, "}\next_proc: {", ext_proc, "}\n");
  const absl::StatusOr<LoadedConfig> loaded = ParseConfig(yaml, "test.yaml");
  CHECK(loaded.ok(), loaded.status().ToString().c_str());
  return ExtProcOptionsOf(loaded->config);
}

TEST(ExtProcOptionsTest, AnAnswerComesBeforeTheGatewaysTimeout) {
  struct Case {
    const char* queue;
    const char* ext_proc;
    absl::Duration wait;
    std::optional<absl::Duration> hold;
  };
  for (const Case& c : {
           Case{"max_wait: 30s", "", absl::Seconds(30), absl::Seconds(31)},
           Case{"max_wait: 24h", "", absl::Seconds(299), absl::Seconds(300)},
           Case{"max_wait: 30s", "max_message_timeout: 30s", absl::Seconds(29), absl::Seconds(30)},
           Case{"max_wait: 30s", "max_message_timeout: 2s", absl::Milliseconds(1800), absl::Seconds(2)},
           Case{"max_wait: 30s", "max_message_timeout: 60ms", absl::Milliseconds(30), absl::Milliseconds(60)},
           Case{"max_wait: 30s", "max_message_timeout: 0s", absl::Milliseconds(900), std::nullopt},
           Case{"max_wait: 30s", "max_message_timeout: 0s, message_timeout: 60s", absl::Seconds(30), std::nullopt},
           Case{"max_wait: 2m", "max_message_timeout: 0s, message_timeout: 60s", absl::Seconds(59), std::nullopt},
           Case{"max_wait: 0s", "", absl::ZeroDuration(), absl::Seconds(1)},
       }) {
    const ExtProcOptions options = Options(c.queue, c.ext_proc);
    EXPECT_EQ(options.longest_wait, c.wait) << c.queue << " " << c.ext_proc;
    EXPECT_EQ(options.hold_timeout, c.hold) << c.queue << " " << c.ext_proc;
  }
}

TEST(ExtProcLifeTest, AWaitEndsBeforeWhatTheGatewayGrants) {
  Gateway gateway(With("max_message_timeout: 10s"));
  Stream holder(gateway);
  ASSERT_TRUE(holder.Chat(kLarge).has_request_body());
  Stream waiter(gateway);
  EXPECT_EQ(waiter.Chat(kLarge).override_message_timeout().seconds(), 10);
  gateway.clock.Advance(absl::Seconds(9));
  gateway.controller().Advance();
  EXPECT_EQ(waiter.Read().immediate_response().status().code(), 429) << "though queue.max_wait is 30 s";
  EXPECT_TRUE(waiter.End().ok());
}

TEST(ExtProcLifeTest, AGatewayThatGrantsNoLongerTimeoutIsNotAsked) {
  Gateway gateway(With("max_message_timeout: 0s, message_timeout: 10s"));
  Stream holder(gateway);
  ASSERT_TRUE(holder.Chat(kLarge).has_request_body());
  ASSERT_TRUE(holder.Ask(ResponseHeaders()).has_response_headers());
  Stream waiter(gateway);
  ASSERT_TRUE(waiter.Ask(RequestHeaders(ChatHeaders())).has_request_headers());
  waiter.Send(RequestBody(kLarge));
  while (gateway.controller().GetSnapshot().waiting == 0) std::this_thread::yield();
  holder.HalfClose();
  EXPECT_TRUE(waiter.Read().has_request_body()) << "the first and only word to it";
}

TEST(ExtProcLifeTest, EndLingerLingersAfterEveryEnd) {
  for (const bool cancel : {false, true}) {
    Gateway gateway(With("end: linger"));
    Stream stream(gateway);
    ASSERT_TRUE(stream.Chat(kLarge).has_request_body());
    ASSERT_TRUE(stream.Ask(ResponseHeaders()).has_response_headers());
    cancel ? stream.Cancel() : stream.HalfClose();
    gateway.witness.Await(LedgerEvent::kLinger);
    EXPECT_EQ(gateway.controller().GetSnapshot().lingering, 1);
    gateway.clock.Advance(absl::Seconds(2));
    gateway.controller().Advance();
    EXPECT_EQ(gateway.controller().GetSnapshot().lingering, 0);
  }
}

// No response headers are asked for, and so none can be waited for.
TEST(ExtProcLifeTest, InTheLowLatencyModeAnEndAfterTheGrantFrees) {
  Gateway gateway(With("low_latency: true"));
  Stream stream(gateway);
  const ProcessingResponse headers = stream.Ask(RequestHeaders(ChatHeaders()));
  EXPECT_EQ(headers.mode_override().response_header_mode(), ProcessingMode::SKIP);
  EXPECT_EQ(headers.mode_override().response_trailer_mode(), ProcessingMode::SEND);
  ASSERT_TRUE(stream.Ask(RequestBody(kLarge)).has_request_body());
  stream.Cancel();
  gateway.witness.Await(Outcome::kCompleted);
  EXPECT_FALSE(gateway.witness.Seen(LedgerEvent::kLinger));
}

TEST(ExtProcLifeTest, BodiesOfResponsesAreAskedForOnlyWhereTheConfigSaysSo) {
  for (const bool usage : {false, true}) {
    Gateway gateway(With(usage ? "response_usage: true" : "response_usage: false"));
    Stream stream(gateway);
    const ProcessingResponse headers = stream.Ask(RequestHeaders(ChatHeaders()));
    EXPECT_EQ(headers.mode_override().response_body_mode(), usage ? ProcessingMode::STREAMED : ProcessingMode::NONE);
    Stream other(gateway);
    const ProcessingResponse passed = other.Ask(RequestHeaders({{":method", "GET"}, {":path", "/v1/models"}}, true));
    EXPECT_EQ(passed.mode_override().response_body_mode(), ProcessingMode::NONE);
  }
}

TEST(ExtProcLifeTest, UsageIsReadFromBodiesInPieces) {
  Gateway gateway(With("response_usage: true"));
  Stream stream(gateway);
  ASSERT_TRUE(stream.Chat(kLarge).has_request_body());
  ASSERT_TRUE(stream.Ask(ResponseHeaders()).has_response_headers());
  for (const char* piece : {"data: {\"choices\": []}\n\nda", "ta: {\"usage\": {\"prompt_tokens\": 3, \"comple",
                            "tion_tokens\": 12}}\n\n", "data: [DONE]\n\n"}) {
    ASSERT_TRUE(stream.Ask(ResponseBody(piece)).has_response_body());
  }
  stream.HalfClose();
  EXPECT_TRUE(stream.End().ok());
  gateway.witness.Await(Outcome::kCompleted);
  while (gateway.ends.usages() == 0) std::this_thread::yield();
  EXPECT_EQ(gateway.ends.count(ExtProcEnd::kFinished), 1);
  int64_t learned = 0;
  for (const auto& of_source : gateway.converter().PromptRatios(ModelId{0}).ratios) {
    learned += std::accumulate(of_source.counts.begin(), of_source.counts.end(), int64_t{0});
  }
  EXPECT_EQ(learned, 1) << "what the prompt came to, once";
}

// Of a request that needs no lease nothing is read.
TEST(ExtProcLifeTest, BodiesOfOtherResponsesAreNotRead) {
  Gateway gateway(With("response_usage: true"));
  Stream stream(gateway);
  ASSERT_TRUE(stream.Ask(RequestHeaders({{":method", "GET"}, {":path", "/"}}, true)).has_request_headers());
  ASSERT_TRUE(stream.Ask(ResponseBody(R"({"usage": {"completion_tokens": 12}})", true)).has_response_body());
  stream.HalfClose();
  EXPECT_TRUE(stream.End().ok());
  while (gateway.ends.count(ExtProcEnd::kPassed) == 0) std::this_thread::yield();
  EXPECT_EQ(gateway.ends.usages(), 0);
}

TEST(ExtProcLifeTest, EveryEndIsCountedOnce) {
  Gateway gateway;
  const auto ended = [&](ExtProcEnd end, Stream& stream) {
    stream.Cancel();
    (void)stream.End();
    while (gateway.ends.count(end) == 0) std::this_thread::yield();
    EXPECT_EQ(gateway.ends.count(end), 1) << static_cast<int>(end);
  };
  Stream passed(gateway);
  ASSERT_TRUE(passed.Ask(RequestHeaders({{":method", "GET"}, {":path", "/"}}, true)).has_request_headers());
  ended(ExtProcEnd::kPassed, passed);
  Stream refused(gateway);
  ASSERT_TRUE(refused.Chat("{}").has_immediate_response());
  ended(ExtProcEnd::kRefused, refused);
  Stream left(gateway);
  ASSERT_TRUE(left.Ask(RequestHeaders(ChatHeaders())).has_request_headers());
  ended(ExtProcEnd::kLeft, left);
  Stream overtaken(gateway);
  ASSERT_TRUE(overtaken.Ask(RequestHeaders(ChatHeaders())).has_request_headers());
  ASSERT_TRUE(overtaken.Ask(ResponseHeaders()).has_response_headers());
  ended(ExtProcEnd::kOvertaken, overtaken);
  Stream finished(gateway);
  ASSERT_TRUE(finished.Chat(kLarge).has_request_body());
  ASSERT_TRUE(finished.Ask(ResponseHeaders()).has_response_headers());
  ended(ExtProcEnd::kFinished, finished);
  Stream aborted(gateway);
  ASSERT_TRUE(aborted.Chat(kLarge).has_request_body());
  ended(ExtProcEnd::kAborted, aborted);
  Stream broken(gateway);
  ASSERT_TRUE(broken.Ask(RequestHeaders({{":method", "GET"}, {":path", "/"}})).has_request_headers());
  broken.Send(ProcessingRequest());
  EXPECT_EQ(broken.End().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  while (gateway.ends.count(ExtProcEnd::kBroken) == 0) std::this_thread::yield();
  EXPECT_EQ(gateway.ends.count(ExtProcEnd::kBroken), 1);
}

TEST(ExtProcLifeTest, FullDuplexBodiesAreRefusedWithTheFix) {
  Gateway gateway;
  Stream stream(gateway);
  ProcessingRequest headers = RequestHeaders(ChatHeaders());
  headers.mutable_protocol_config()->set_request_body_mode(ProcessingMode::FULL_DUPLEX_STREAMED);
  const ProcessingResponse answer = stream.Ask(headers);
  EXPECT_EQ(answer.immediate_response().status().code(), 400);
  EXPECT_THAT(answer.immediate_response().body(), HasSubstr("request_body_mode to BUFFERED"));
}

// The sidecar goes: who was admitted finishes, as far as the gateway is concerned; who was not does not pass.
TEST(ExtProcLifeTest, LetGoEndsAdmittedStreamsInGoodOrder) {
  Gateway gateway;
  Stream holder(gateway);
  ASSERT_TRUE(holder.Chat(kLarge).has_request_body());
  ASSERT_TRUE(holder.Ask(ResponseHeaders()).has_response_headers());
  Stream passed(gateway);
  ASSERT_TRUE(passed.Ask(RequestHeaders({{":method", "GET"}, {":path", "/"}}, true)).has_request_headers());
  Stream undecided(gateway);
  ASSERT_TRUE(undecided.Ask(RequestHeaders(ChatHeaders())).has_request_headers());
  gateway.controller().Drain();
  gateway.service().LetGo();
  EXPECT_TRUE(holder.End().ok());
  gateway.witness.Await(LedgerEvent::kLinger);  // its engine goes on
  EXPECT_TRUE(passed.End().ok());
  EXPECT_EQ(undecided.Ask(RequestBody(kLarge)).immediate_response().status().code(), 503);
}

// Whatever a gateway sends, in whichever order: every stream ends, and nothing is held afterwards (~Gateway).
TEST(ExtProcLifeTest, AnyOrderOfMessagesIsSurvived) {
  const unsigned seed = std::random_device()();
  SCOPED_TRACE(absl::StrCat("seed ", seed));
  std::mt19937 random(seed);
  Gateway gateway;
  const std::vector<ProcessingRequest> messages = {RequestHeaders(ChatHeaders()),
                                                   RequestHeaders(ChatHeaders(), true),
                                                   RequestHeaders({{":method", "GET"}, {":path", "/v1/models"}}),
                                                   RequestBody(R"({"model": "m", "max_tokens": 1, "prompt": "hi"})"),
                                                   RequestBody(kLarge),
                                                   RequestBody("{", false),
                                                   RequestBody(""),
                                                   RequestTrailers(),
                                                   ResponseHeaders(),
                                                   ResponseBody("data: 1\n\n"),
                                                   ResponseBody("", true),
                                                   ResponseTrailers(),
                                                   ProcessingRequest()};
  for (int round = 0; round < 300; ++round) {
    grpc::ClientContext context;
    const auto stream = gateway.stub().Process(&context);
    const size_t many = random() % 8;
    // Most begin as a request does.
    if (round % 4 != 0) (void)stream->Write(messages[0]);
    if (round % 4 > 1) (void)stream->Write(messages[3 + random() % 2]);
    for (size_t i = 0; i < many; ++i) {
      if (!stream->Write(messages[random() % messages.size()])) break;
    }
    round % 3 == 0 ? context.TryCancel() : static_cast<void>(stream->WritesDone());
    ProcessingResponse answer;
    while (stream->Read(&answer)) {
    }
    (void)stream->Finish();
  }
  gateway.clock.Advance(absl::Hours(1));
  gateway.controller().Advance();
  while (gateway.ends.open() != 0) std::this_thread::yield();
}

}  // namespace
}  // namespace vramgate
