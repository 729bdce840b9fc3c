// What ext_proc answers to requests that are not to go on.
#include "absl/strings/str_cat.h"
#include "admission/server/ext_proc_service.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/admission/server/gateway.h"

namespace vramgate {
namespace {

using envoy::config::core::v3::HeaderValueOption;
using ext_proc::ImmediateResponse;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Pair;

// Every header must overwrite: the default would append to what is there.
Headers HeadersOf(const ImmediateResponse& response) {
  Headers headers;
  for (const HeaderValueOption& option : response.headers().set_headers()) {
    EXPECT_EQ(option.append_action(), HeaderValueOption::OVERWRITE_IF_EXISTS_OR_ADD);
    EXPECT_EQ(option.header().value(), "");
    EXPECT_TRUE(headers.emplace(option.header().key(), option.header().raw_value()).second);
  }
  return headers;
}

nlohmann::json ErrorOf(const ImmediateResponse& response) {
  const nlohmann::json body = nlohmann::json::parse(response.body());
  EXPECT_EQ(body.size(), 1u);
  return body.at("error");
}

// The answer to one chat with that body, after which the stream ends well.
ImmediateResponse Refused(Gateway& gateway, std::string_view body) {
  Stream stream(gateway);
  const ProcessingResponse answer = stream.Chat(body);
  EXPECT_TRUE(answer.has_immediate_response()) << answer.ShortDebugString();
  EXPECT_TRUE(stream.End().ok());
  return answer.immediate_response();
}

TEST(ExtProcRefusalTest, AFullQueueIs429) {
  Gateway gateway;
  Stream holder(gateway);
  ASSERT_TRUE(holder.Chat(kLarge).has_request_body());
  Stream first(gateway);
  Stream second(gateway);
  ASSERT_TRUE(first.Chat(kLarge).has_override_message_timeout());
  ASSERT_TRUE(second.Chat(kLarge).has_override_message_timeout());

  const ImmediateResponse response = Refused(gateway, kLarge);
  EXPECT_EQ(response.status().code(), 429);
  EXPECT_EQ(response.details(), "vramgate_queue_full");
  EXPECT_FALSE(response.has_grpc_status());
  EXPECT_THAT(HeadersOf(response), ElementsAre(Pair("content-type", "application/json"), Pair("retry-after", "1"),
                                               Pair("retry-after-ms", "1000"), Pair("x-should-retry", "true"),
                                               Pair("x-vramgate-reason", "QUEUE_FULL")));
  const nlohmann::json error = ErrorOf(response);
  EXPECT_EQ(error.at("type"), "server_overloaded");
  EXPECT_EQ(error.at("code"), "queue_full");
  EXPECT_THAT(error.at("message").get<std::string>(), HasSubstr("queue is full"));
}

TEST(ExtProcRefusalTest, AWaitThatIsOverIs429) {
  Gateway gateway;
  Stream holder(gateway);
  ASSERT_TRUE(holder.Chat(kLarge).has_request_body());
  Stream waiter(gateway);
  ASSERT_TRUE(waiter.Chat(kLarge).has_override_message_timeout());
  gateway.clock.Advance(absl::Seconds(30));
  gateway.controller().Advance();
  const ProcessingResponse answer = waiter.Read();
  EXPECT_EQ(answer.immediate_response().status().code(), 429);
  EXPECT_EQ(HeadersOf(answer.immediate_response()).at("x-vramgate-reason"), "QUEUE_TIMEOUT");
  EXPECT_TRUE(waiter.End().ok());
}

TEST(ExtProcRefusalTest, WhatNeverFitsIs413AndNotRetried) {
  Gateway gateway;
  const ImmediateResponse response = Refused(gateway, R"({"model": "m", "n": 2, "max_tokens": 10000, "messages": []})");
  EXPECT_EQ(response.status().code(), 413);
  EXPECT_THAT(HeadersOf(response),
              ElementsAre(Pair("content-type", "application/json"), Pair("x-should-retry", "false"),
                          Pair("x-vramgate-reason", "NEVER_FITS")));
  EXPECT_EQ(ErrorOf(response).at("type"), "invalid_request_error");
}

TEST(ExtProcRefusalTest, AnUnknownModelIs404) {
  Gateway gateway;
  const ImmediateResponse response = Refused(gateway, R"({"model": "other", "messages": []})");
  EXPECT_EQ(response.status().code(), 404);
  EXPECT_THAT(ErrorOf(response).at("message").get<std::string>(), HasSubstr("other"));
}

TEST(ExtProcRefusalTest, AMalformedBodyIs400) {
  Gateway gateway;
  for (const char* body : {"", "{", "[]", R"({"messages": []})", R"({"model": "m", "max_tokens": -1})",
                           R"({"model": "m", "n": 100000, "messages": []})"}) {
    const ImmediateResponse response = Refused(gateway, body);
    EXPECT_EQ(response.status().code(), 400) << body;
    EXPECT_EQ(ErrorOf(response).at("code"), "invalid_request") << body;
    EXPECT_EQ(HeadersOf(response).at("x-should-retry"), "false") << body;
  }
}

TEST(ExtProcRefusalTest, ABodyInPartsSaysWhichModeToSet) {
  Gateway gateway;
  Stream stream(gateway);
  ASSERT_TRUE(stream.Ask(RequestHeaders(ChatHeaders())).has_request_headers());
  const ProcessingResponse answer = stream.Ask(RequestBody(R"({"model": "m", "mess)", /*end_of_stream=*/false));
  EXPECT_EQ(answer.immediate_response().status().code(), 400);
  EXPECT_THAT(answer.immediate_response().body(), HasSubstr("request_body_mode to BUFFERED"));
}

TEST(ExtProcRefusalTest, DrainingIs503) {
  Gateway gateway;
  Stream holder(gateway);
  ASSERT_TRUE(holder.Chat(kLarge).has_request_body());
  Stream waiter(gateway);
  ASSERT_TRUE(waiter.Chat(kLarge).has_override_message_timeout());
  gateway.controller().Drain();
  EXPECT_EQ(waiter.Read().immediate_response().status().code(), 503);
  const ImmediateResponse response = Refused(gateway, kLarge);
  EXPECT_EQ(response.status().code(), 503);
  EXPECT_EQ(HeadersOf(response).at("x-should-retry"), "true");
}

TEST(ExtProcRefusalTest, TheConfigMaySetTheStatus) {
  Gateway gateway(absl::StrCat(OneModel(), "http_status: {UNKNOWN_MODEL: 410}\n"));
  EXPECT_EQ(Refused(gateway, R"({"model": "other", "messages": []})").status().code(), 410);
}

TEST(ExtProcRefusalTest, AGenerationWithoutABodyIs400) {
  Gateway gateway;
  Stream ended(gateway);
  EXPECT_EQ(ended.Ask(RequestHeaders(ChatHeaders(), /*end_of_stream=*/true)).immediate_response().status().code(), 400);
  Stream with_trailers(gateway);
  ASSERT_TRUE(with_trailers.Ask(RequestHeaders(ChatHeaders())).has_request_headers());
  ProcessingRequest trailers;
  trailers.mutable_request_trailers();
  EXPECT_EQ(with_trailers.Ask(trailers).immediate_response().status().code(), 400);
}

// Whether it generates cannot be told: it must not pass unadmitted.
TEST(ExtProcRefusalTest, ABodyWithoutHeadersIs400) {
  Gateway gateway;
  Stream stream(gateway);
  const ProcessingResponse answer = stream.Ask(RequestBody(kLarge));
  EXPECT_EQ(answer.immediate_response().status().code(), 400);
  EXPECT_THAT(answer.immediate_response().body(), HasSubstr("request_header_mode"));
}

TEST(ExtProcRefusalTest, AStreamThatBreaksTheProtocolEnds) {
  Gateway gateway;
  Stream twice(gateway);
  ASSERT_TRUE(twice.Chat(kLarge).has_request_body());
  twice.Send(RequestHeaders(ChatHeaders()));
  EXPECT_EQ(twice.End().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  gateway.witness.Await(LedgerEvent::kLinger);  // its request may run on
  Stream empty(gateway);
  ASSERT_TRUE(empty.Ask(RequestHeaders(ChatHeaders())).has_request_headers());
  empty.Send(ProcessingRequest());
  EXPECT_EQ(empty.End().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

TEST(ExtProcRefusalTest, GrpcCallersGetAGrpcStatus) {
  Gateway gateway;
  Headers headers = ChatHeaders();
  headers["content-type"] = "application/grpc+json";
  Stream stream(gateway);
  const ProcessingResponse answer = stream.Chat(R"({"model": "other", "messages": []})", headers);
  EXPECT_EQ(answer.immediate_response().grpc_status().status(), 5u);
}

TEST(ExtProcRefusalTest, AStreamTooManyIs429) {
  Gateway gateway(absl::StrCat(OneModel(), "limits: {streams: 1}\n"));
  Stream first(gateway);
  ASSERT_TRUE(first.Chat(kLarge).has_request_body());
  Stream second(gateway);
  EXPECT_EQ(second.Read().immediate_response().status().code(), 429);
  EXPECT_TRUE(second.End().ok());
}

// A client sleeps for as long as it is told.
TEST(HttpAnswersTest, RetryHintsAreRoundedUpAndCapped) {
  Gateway gateway;
  const v1::Config config;
  const absl::StatusOr<LoadedConfig> loaded = ParseConfig(OneModel(), "test.yaml");
  ASSERT_TRUE(loaded.ok());
  const absl::StatusOr<ModelTable> models = ModelTable::Load(*loaded);
  ASSERT_TRUE(models.ok());
  const Converter converter(*models, gateway.controller(), loaded->config);
  const HttpAnswers answers(converter, config);  // no http_status given: the defaults
  struct Case {
    absl::Duration after;
    const char* seconds;
    const char* millis;
  };
  for (const Case& c : {Case{absl::ZeroDuration(), "1", "1"}, Case{absl::Microseconds(1), "1", "1"},
                        Case{absl::Milliseconds(1200), "2", "1200"}, Case{absl::Seconds(2), "2", "2000"},
                        Case{absl::Seconds(90), "90", "60000"}, Case{absl::InfiniteDuration(), "86400", "60000"}}) {
    ImmediateResponse response;
    answers.Write(Decision{.outcome = Outcome::kRejectedBudgetExhausted, .retry_after = c.after}, false, &response);
    EXPECT_EQ(response.status().code(), 429);
    EXPECT_EQ(HeadersOf(response).at("retry-after"), c.seconds);
    EXPECT_EQ(HeadersOf(response).at("retry-after-ms"), c.millis);
  }
}

}  // namespace
}  // namespace vramgate
