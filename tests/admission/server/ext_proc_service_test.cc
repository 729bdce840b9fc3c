#include "admission/server/ext_proc_service.h"

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/admission/server/gateway.h"

namespace vramgate {
namespace {

using envoy::extensions::filters::http::ext_proc::v3::ProcessingMode;

std::string Small(int max_tokens) {
  return absl::StrCat(R"({"model": "m", "max_tokens": )", max_tokens, R"(, "prompt": "hi"})");
}

TEST(ExtProcTest, ARequestIsAdmittedAndItsLeaseEndsWithTheStream) {
  Gateway gateway;
  Stream stream(gateway);
  const ProcessingResponse headers = stream.Ask(RequestHeaders(ChatHeaders()));
  ASSERT_TRUE(headers.has_request_headers());
  EXPECT_EQ(headers.mode_override().request_body_mode(), ProcessingMode::BUFFERED);
  EXPECT_EQ(headers.mode_override().response_header_mode(), ProcessingMode::SEND);
  EXPECT_EQ(headers.mode_override().response_body_mode(), ProcessingMode::NONE);
  EXPECT_EQ(headers.mode_override().response_trailer_mode(), ProcessingMode::SEND);
  EXPECT_EQ(gateway.controller().GetSnapshot().held, 0);

  EXPECT_TRUE(stream.Ask(RequestBody(kLarge)).has_request_body());
  EXPECT_EQ(gateway.controller().GetSnapshot().held, 1);
  EXPECT_TRUE(stream.Ask(ResponseHeaders()).has_response_headers());
  EXPECT_EQ(gateway.controller().GetSnapshot().held, 1);

  stream.HalfClose();
  EXPECT_TRUE(stream.End().ok());
  gateway.witness.Await(Outcome::kCompleted);
  EXPECT_EQ(gateway.controller().GetSnapshot().held, 0);
  EXPECT_FALSE(gateway.witness.Seen(LedgerEvent::kLinger));
}

// Envoy ends a finished request's stream as EOF or as CANCELLED, at random.
TEST(ExtProcTest, ACancellationAfterTheResponseHeadersFreesAtOnce) {
  Gateway gateway;
  Stream stream(gateway);
  ASSERT_TRUE(stream.Chat(kLarge).has_request_body());
  ASSERT_TRUE(stream.Ask(ResponseHeaders()).has_response_headers());
  stream.Cancel();
  gateway.witness.Await(Outcome::kCompleted);
  EXPECT_FALSE(gateway.witness.Seen(LedgerEvent::kLinger));
}

TEST(ExtProcTest, AnEndBeforeTheResponseHeadersLingers) {
  for (const bool cancel : {false, true}) {
    Gateway gateway;
    Stream stream(gateway);
    ASSERT_TRUE(stream.Chat(kLarge).has_request_body());
    cancel ? stream.Cancel() : stream.HalfClose();
    gateway.witness.Await(LedgerEvent::kLinger);
    EXPECT_EQ(gateway.controller().GetSnapshot().lingering, 1);
    gateway.clock.Advance(absl::Seconds(2));
    gateway.controller().Advance();
    gateway.witness.Await(Outcome::kAborted);
    EXPECT_EQ(gateway.controller().GetSnapshot().lingering, 0);
  }
}

TEST(ExtProcTest, AHeldRequestIsGrantedWhenRoomComes) {
  Gateway gateway;
  Stream first(gateway);
  ASSERT_TRUE(first.Chat(kLarge).has_request_body());
  ASSERT_TRUE(first.Ask(ResponseHeaders()).has_response_headers());

  Stream second(gateway);
  const ProcessingResponse hold = second.Chat(kLarge);
  EXPECT_EQ(hold.response_case(), ProcessingResponse::RESPONSE_NOT_SET);
  EXPECT_EQ(hold.override_message_timeout().seconds(), 31) << "queue.max_wait, and a margin for the answer";
  EXPECT_EQ(gateway.controller().GetSnapshot().waiting, 1);

  first.HalfClose();
  const ProcessingResponse granted = second.Read();
  EXPECT_TRUE(granted.has_request_body());
  EXPECT_FALSE(granted.has_override_message_timeout());
  EXPECT_EQ(gateway.controller().GetSnapshot().waiting, 0);
}

// Envoy takes one longer timeout and no more: a waiter that moves up is not told.
TEST(ExtProcTest, AMoveInTheQueueIsNotTold) {
  Gateway gateway;
  Stream holder(gateway);
  ASSERT_TRUE(holder.Chat(kLarge).has_request_body());
  ASSERT_TRUE(holder.Ask(ResponseHeaders()).has_response_headers());
  Stream ahead(gateway);
  Stream behind(gateway);
  ASSERT_TRUE(ahead.Chat(kLarge).has_override_message_timeout());
  ASSERT_TRUE(behind.Chat(kLarge).has_override_message_timeout());

  ahead.Cancel();
  gateway.witness.Await(Outcome::kCancelled);
  gateway.controller().TellPositions();
  holder.HalfClose();
  EXPECT_TRUE(behind.Read().has_request_body());
}

TEST(ExtProcTest, AClientGoneWhileHeldLeavesTheQueue) {
  for (const bool cancel : {false, true}) {
    Gateway gateway;
    Stream holder(gateway);
    ASSERT_TRUE(holder.Chat(kLarge).has_request_body());
    Stream waiter(gateway);
    ASSERT_TRUE(waiter.Chat(kLarge).has_override_message_timeout());
    cancel ? waiter.Cancel() : waiter.HalfClose();
    gateway.witness.Await(Outcome::kCancelled);
    EXPECT_EQ(gateway.controller().GetSnapshot().waiting, 0);
  }
}

// What a client calls its request is no key: two requests of one name are two leases.
TEST(ExtProcTest, AClientsRequestIdIsNoKey) {
  Gateway gateway;
  Headers headers = ChatHeaders();
  headers["x-request-id"] = "always-the-same";
  Stream a(gateway);
  Stream b(gateway);
  EXPECT_TRUE(a.Chat(Small(1), headers).has_request_body());
  EXPECT_TRUE(b.Chat(Small(1), headers).has_request_body());
  EXPECT_EQ(gateway.controller().GetSnapshot().held, 2);
}

TEST(ExtProcTest, OtherPathsPassUngated) {
  Gateway gateway;
  for (const Headers& headers : {Headers{{":method", "GET"}, {":path", "/v1/models"}},
                                 Headers{{":method", "GET"}, {":path", "/v1/chat/completions"}},
                                 Headers{{":method", "POST"}, {":path", "/v1/audio/speech"}}}) {
    Stream stream(gateway);
    const ProcessingResponse answer = stream.Ask(RequestHeaders(headers, headers.at(":method") == "GET"));
    ASSERT_TRUE(answer.has_request_headers());
    EXPECT_EQ(answer.mode_override().request_body_mode(), ProcessingMode::NONE);
    EXPECT_TRUE(stream.Ask(RequestBody("not JSON")).has_request_body());
    EXPECT_TRUE(stream.Ask(ResponseHeaders()).has_response_headers());
    stream.HalfClose();
    EXPECT_TRUE(stream.End().ok());
  }
  EXPECT_EQ(gateway.controller().GetSnapshot().held, 0);
}

TEST(ExtProcTest, TrailersAndStrayBodiesAreAnsweredAtOnce) {
  Gateway gateway;
  Stream stream(gateway);
  ASSERT_TRUE(stream.Chat(kLarge).has_request_body());
  ProcessingRequest message;
  message.mutable_request_trailers();
  EXPECT_TRUE(stream.Ask(message).has_request_trailers());
  EXPECT_TRUE(stream.Ask(ResponseHeaders()).has_response_headers());
  message.mutable_response_body()->set_body("a token");
  EXPECT_TRUE(stream.Ask(message).has_response_body());
  message.mutable_response_trailers();
  EXPECT_TRUE(stream.Ask(message).has_response_trailers());
}

// Envoy refused the body itself (413): response headers come right after request headers.
TEST(ExtProcTest, AResponseWithoutABodyBeforeIt) {
  Gateway gateway;
  Stream stream(gateway);
  ASSERT_TRUE(stream.Ask(RequestHeaders(ChatHeaders())).has_request_headers());
  EXPECT_TRUE(stream.Ask(ResponseHeaders()).has_response_headers());
  stream.HalfClose();
  EXPECT_TRUE(stream.End().ok());
}

TEST(ExtProcTest, AResponseWhileHeldEndsTheWait) {
  Gateway gateway;
  Stream holder(gateway);
  ASSERT_TRUE(holder.Chat(kLarge).has_request_body());
  Stream waiter(gateway);
  ASSERT_TRUE(waiter.Chat(kLarge).has_override_message_timeout());
  EXPECT_TRUE(waiter.Ask(ResponseHeaders()).has_response_headers());
  gateway.witness.Await(Outcome::kCancelled);
  EXPECT_TRUE(waiter.End().ok());
}

// A reply to a later message must not be taken for the decision on the first.
TEST(ExtProcTest, NothingOvertakesTheDecision) {
  Gateway gateway;
  Stream holder(gateway);
  ASSERT_TRUE(holder.Chat(kLarge).has_request_body());
  ASSERT_TRUE(holder.Ask(ResponseHeaders()).has_response_headers());
  Stream waiter(gateway);
  ASSERT_TRUE(waiter.Chat(kLarge).has_override_message_timeout());
  waiter.Send(RequestBody(""));
  ProcessingRequest trailers;
  trailers.mutable_request_trailers();
  waiter.Send(trailers);
  holder.HalfClose();
  EXPECT_TRUE(waiter.Read().has_request_body());
  EXPECT_TRUE(waiter.Read().has_request_body());
  EXPECT_TRUE(waiter.Read().has_request_trailers());
}

TEST(ExtProcTest, AFloodOfMessagesIsAnsweredOneByOne) {
  Gateway gateway;
  Stream stream(gateway);
  ASSERT_TRUE(stream.Chat(Small(1)).has_request_body());
  ProcessingRequest message;
  message.mutable_response_body()->set_body("a token");
  constexpr int kMany = 500;
  for (int i = 0; i < kMany; ++i) stream.Send(message);
  for (int i = 0; i < kMany; ++i) ASSERT_TRUE(stream.Read().has_response_body()) << i;
}

TEST(ExtProcTest, ARevokedLeaseEndsTheStream) {
  Gateway gateway;
  Stream stream(gateway);
  ASSERT_TRUE(stream.Chat(kLarge).has_request_body());
  ASSERT_TRUE(stream.Ask(ResponseHeaders()).has_response_headers());
  size_t next = 0;
  const std::vector<LeaseView> held = gateway.controller().List(0, 10, LeaseState::kHeld, &next);
  ASSERT_EQ(held.size(), 1u);
  ASSERT_TRUE(gateway.controller().Revoke(held[0].id, absl::Seconds(5), "maintenance"));
  EXPECT_EQ(stream.End().error_code(), grpc::StatusCode::ABORTED);
  gateway.witness.Await(LedgerEvent::kLinger);  // the engine may not have heard
}

}  // namespace
}  // namespace vramgate
