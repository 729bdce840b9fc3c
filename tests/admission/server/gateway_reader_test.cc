#include "admission/server/gateway_reader.h"

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/admission/server/parts.h"

namespace vramgate {
namespace {

using testing::HasSubstr;
using Header = GatewayCounters::Header;
using Use = GatewayCounters::Use;
using Lines = std::vector<std::pair<std::string, std::string>>;

constexpr Instant kNow{100'000'000'000};
constexpr char kBody[] = R"({"model": "m", "prompt": "hello", "max_tokens": 7})";

class Reader {
 public:
  explicit Reader(Caller caller, std::string_view more = "")
      : parts(absl::StrCat(kTwoDevices, std::string(more))), reader(*parts.converter, caller, parts.loaded.config) {}

  std::optional<Refusal> Headers(const Lines& lines, std::string_view path = "/v1/completions") {
    asked = {};
    envoy::service::ext_proc::v3::HttpHeaders headers;
    const auto add = [&](std::string_view key, std::string_view value) {
      auto* header = headers.mutable_headers()->add_headers();
      header->set_key(std::string(key));
      header->set_raw_value(std::string(value));
    };
    add(":method", "POST");
    add(":path", path);
    for (const auto& [key, value] : lines) add(key, value);
    return reader.ReadHeaders(headers, kNow, &asked);
  }
  Request Body(std::string_view body = kBody) {
    Request request;
    const std::optional<Refusal> refusal = reader.ReadBody(body, &asked, &request);
    EXPECT_FALSE(refusal.has_value()) << refusal->field << ": " << refusal->message;
    return request;
  }
  Refusal RefusedBody(std::string_view body) {
    Request request;
    std::optional<Refusal> refusal = reader.ReadBody(body, &asked, &request);
    EXPECT_TRUE(refusal.has_value()) << body;
    return refusal.value_or(Refusal{});
  }
  int64_t Count(Header header, Use use) const { return reader.counters()->count(header, use); }

  Parts parts;
  GatewayReader reader;
  GatewayRequest asked;
};

const Caller kTrusted{.id = 1, .trusted_headers = true};

TEST(GatewayReaderTest, WhoAsksIsReadFromHeaders) {
  for (const char* prefix : {"x-llm-d-inference-", "x-gateway-inference-"}) {
    Reader reader(kTrusted);
    EXPECT_EQ(reader.Headers({{absl::StrCat(prefix, "fairness-id"), "team-a"},
                              {absl::StrCat(prefix, "objective"), "critical"},
                              {"x-request-timeout", "2.5"},
                              {"x-request-id", "r-1"},
                              {"traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}}),
              std::nullopt);
    const Request request = reader.Body();
    EXPECT_EQ(request.tenant, "team-a");
    EXPECT_EQ(request.priority, 10);
    EXPECT_EQ(request.deadline, kNow + absl::Milliseconds(2500));
    EXPECT_EQ(request.log_id, "r-1");
    EXPECT_EQ(request.request_id, "") << "a header is no key";
    EXPECT_EQ(request.trace, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    EXPECT_EQ(request.route, "/v1/completions");
    EXPECT_EQ(reader.Count(Header::kTenant, Use::kUsed), 1);
    EXPECT_EQ(reader.Count(Header::kPriority, Use::kUsed), 1);
  }
}

TEST(GatewayReaderTest, WhereHeadersAreNotTrustedTheyAreCounted) {
  Reader reader({.id = 1});
  EXPECT_EQ(reader.Headers({{"x-llm-d-inference-fairness-id", "team-a"},
                            {"x-llm-d-inference-objective", "critical"},
                            {"x-vramgate-prompt-tokens", "1"},
                            {"x-request-timeout", "1s"}}),
            std::nullopt);
  const Request request = reader.Body();
  EXPECT_EQ(request.tenant, "");
  EXPECT_EQ(request.priority, 0);
  EXPECT_NE(request.prompt_tokens, 1);
  EXPECT_EQ(request.deadline, kNow + absl::Seconds(1)) << "it can only hurt whoever sets it";
  EXPECT_EQ(reader.Count(Header::kTenant, Use::kUntrusted), 1);
  EXPECT_EQ(reader.Count(Header::kPriority, Use::kUntrusted), 1);
  EXPECT_EQ(reader.Count(Header::kPromptTokens, Use::kUntrusted), 1);
  EXPECT_EQ(reader.Count(Header::kTenant, Use::kUsed), 0);
}

TEST(GatewayReaderTest, ThePriorityOfAnObjective) {
  Reader reader(kTrusted, "gateways: {priorities: {batch: -500}, priority_headers: [x-class]}\n");
  const auto priority = [&](std::string_view value) {
    EXPECT_EQ(reader.Headers({{"x-class", std::string(value)}}), std::nullopt);
    return reader.Body().priority;
  };
  EXPECT_EQ(priority("batch"), -500);
  EXPECT_EQ(priority("sheddable"), -10) << "those of the config come on top";
  EXPECT_EQ(priority("77"), 77);
  EXPECT_EQ(priority("-3"), -3);
  EXPECT_EQ(reader.Count(Header::kPriority, Use::kUnknown), 0);
  for (const char* value : {"unheard-of", "1000001", "1.5", "Batch", "99999999999999999999"})
    EXPECT_EQ(priority(value), 0);
  EXPECT_EQ(reader.Count(Header::kPriority, Use::kUnknown), 5);
}

// The limits of the one must not be escaped by naming the other, and no proxy behind is known to take the same.
TEST(GatewayReaderTest, TwoTenantsAreRefused) {
  Reader reader(kTrusted);
  const std::optional<Refusal> refusal =
      reader.Headers({{"x-llm-d-inference-fairness-id", "a"}, {"x-gateway-inference-fairness-id", "b"}});
  ASSERT_TRUE(refusal.has_value());
  EXPECT_EQ(refusal->field, "x-gateway-inference-fairness-id");
  EXPECT_NE(reader.Headers({{"x-llm-d-inference-fairness-id", "a"}, {"x-llm-d-inference-fairness-id", "b"}}),
            std::nullopt);
  EXPECT_EQ(reader.Headers({{"x-llm-d-inference-fairness-id", "a"}, {"x-gateway-inference-fairness-id", "a"}}),
            std::nullopt);
  EXPECT_NE(reader.Headers({{"x-llm-d-inference-fairness-id", "\xff"}}), std::nullopt);
  EXPECT_EQ(reader.Headers({{"x-llm-d-inference-fairness-id", std::string(10'000, 'a')}}), std::nullopt);
  EXPECT_EQ(reader.RefusedBody(kBody).field, "tenant") << "longer than limits.request_id_bytes";
}

TEST(GatewayReaderTest, Timeouts) {
  Reader reader(kTrusted, "gateways: {timeout_headers: [grpc-timeout, x-request-timeout, x-wait-ms]}\n");
  const auto deadline = [&](std::string_view name, std::string_view value) {
    EXPECT_EQ(reader.Headers({{std::string(name), std::string(value)}}), std::nullopt);
    return reader.asked.deadline;
  };
  EXPECT_EQ(deadline("x-request-timeout", "30"), kNow + absl::Seconds(30));
  EXPECT_EQ(deadline("x-request-timeout", "250ms"), kNow + absl::Milliseconds(250));
  EXPECT_EQ(deadline("x-wait-ms", "1500"), kNow + absl::Milliseconds(1500));
  EXPECT_EQ(deadline("x-wait-ms", "2s"), kNow + absl::Seconds(2));
  EXPECT_EQ(deadline("grpc-timeout", "5S"), kNow + absl::Seconds(5));
  EXPECT_EQ(deadline("grpc-timeout", "20m"), kNow + absl::Milliseconds(20));
  EXPECT_EQ(deadline("grpc-timeout", "2H"), kNow + absl::Hours(2));
  EXPECT_EQ(deadline("x-request-timeout", "1e300"), kNow + absl::Hours(24));
  EXPECT_EQ(deadline("x-request-timeout", "inf"), kNow + absl::Hours(24));
  EXPECT_EQ(reader.Count(Header::kTimeout, Use::kUnknown), 0);
  for (const char* value : {"0", "-1", "soon", "1x", "nan", "-inf", ""})
    EXPECT_EQ(deadline("x-request-timeout", value), kNever) << value;
  for (const char* value : {"5", "S", "123456789S", "-1S", "5s"})
    EXPECT_EQ(deadline("grpc-timeout", value), kNever) << value;
  EXPECT_EQ(reader.Count(Header::kTimeout, Use::kUnknown), 11) << "an empty one is none";
  EXPECT_EQ(reader.Headers({{"grpc-timeout", "9S"}, {"x-request-timeout", "3"}}), std::nullopt);
  EXPECT_EQ(reader.asked.deadline, kNow + absl::Seconds(3)) << "the shortest";
}

TEST(GatewayReaderTest, PromptTokensAreGivenBoundOrCounted) {
  Reader reader({.id = 1, .trusted_cost = true});
  EXPECT_EQ(reader.Headers({{"x-vramgate-prompt-tokens", "42"}}), std::nullopt);
  Request request = reader.Body();
  EXPECT_EQ(request.prompt_tokens, 42);
  EXPECT_EQ(request.prompt_source, PromptSource::kGiven);

  EXPECT_EQ(reader.Headers({}), std::nullopt);
  request = reader.Body();
  EXPECT_EQ(request.prompt_source, PromptSource::kBound);
  EXPECT_GE(request.prompt_tokens, 3) << "half a token a byte, as the model is configured";

  EXPECT_EQ(reader.Headers({}), std::nullopt);
  request = reader.Body(R"({"model": "m", "prompt": [1, 2, 3, 4, 5]})");
  EXPECT_EQ(request.prompt_tokens, 5);
  EXPECT_EQ(request.prompt_source, PromptSource::kGiven);

  for (const char* value : {"0", "-1", "many", "1.5", "99999999999999"}) {
    const std::optional<Refusal> refusal = reader.Headers({{"x-vramgate-prompt-tokens", value}});
    ASSERT_TRUE(refusal.has_value()) << value;
    EXPECT_EQ(refusal->field, "x-vramgate-prompt-tokens");
  }
}

TEST(GatewayReaderTest, TheModelOfThePath) {
  Reader reader(kTrusted);
  EXPECT_EQ(reader.Headers({}, "/v2/models/m/versions/1/infer"), std::nullopt);
  Request request =
      reader.Body(R"({"inputs": [{"name": "text_input", "data": ["hello"]}, {"name": "max_tokens", "data": [9]}]})");
  EXPECT_EQ(request.max_output_tokens, 9);

  EXPECT_EQ(reader.Headers({}, "/openai/deployments/alias/chat/completions"), std::nullopt);
  reader.Body(R"({"model": "alias", "messages": []})");
  EXPECT_EQ(reader.Headers({}, "/openai/deployments/m/chat/completions"), std::nullopt);
  const Refusal refusal = reader.RefusedBody(R"({"model": "alias", "messages": []})");
  EXPECT_EQ(refusal.field, "model");
  EXPECT_THAT(refusal.message, HasSubstr("alias"));
  EXPECT_EQ(reader.Headers({}, "/v2/models/absent/infer"), std::nullopt);
  EXPECT_EQ(reader.RefusedBody(R"({"inputs": []})").outcome, Outcome::kRejectedUnknownModel);
}

TEST(GatewayReaderTest, WhatCannotBePricedIsRefused) {
  Reader reader(kTrusted, "gateways: {paths: {/v1/audio/translations: pass, /v1/embeddings: refuse}}\n");
  const std::optional<Refusal> refusal = reader.Headers({}, "/v1/audio/transcriptions");
  ASSERT_TRUE(refusal.has_value());
  EXPECT_THAT(refusal->message, HasSubstr("gateways.paths"));
  EXPECT_EQ(reader.Headers({}, "/v1/audio/translations"), std::nullopt);
  EXPECT_FALSE(reader.asked.gated());
  EXPECT_NE(reader.Headers({}, "/v1/embeddings"), std::nullopt);
  EXPECT_EQ(reader.reader.counters()->count(Endpoint::kUnpriced), 2);
  EXPECT_EQ(reader.reader.counters()->count(Endpoint::kNone), 1);
}

TEST(GatewayReaderTest, AWholePathComesBeforeAnEnding) {
  Reader reader(kTrusted, "gateways: {paths: {\"*/say\": chat, /x/say: pass, \"*/you/say\": completions}}\n");
  const auto endpoint = [&](std::string_view path) {
    EXPECT_EQ(reader.Headers({}, path), std::nullopt);
    return reader.asked.endpoint;
  };
  EXPECT_EQ(endpoint("/a/say"), Endpoint::kChat);
  EXPECT_EQ(endpoint("/x/say"), Endpoint::kNone);
  EXPECT_EQ(endpoint("/a/you/say"), Endpoint::kCompletions);
}

TEST(GatewayReaderTest, EmbeddingsOfTheWholeLengthFit) {
  Reader reader(kTrusted);
  std::string ids = "1";
  for (int i = 1; i < 1000; ++i) ids += ",1";
  EXPECT_EQ(reader.Headers({}, "/v1/embeddings"), std::nullopt);
  const Request request = reader.Body(absl::StrCat(R"({"model": "m", "input": [)", ids, "]}"));
  EXPECT_EQ(request.tokens, 1000);
}

TEST(GatewayReaderTest, TheLengthOfKServesJson) {
  Reader reader(kTrusted);
  for (const char* value : {"-1", "x", "1.5", "99999999999999999999"}) {
    const std::optional<Refusal> refusal = reader.Headers({{"inference-header-content-length", value}});
    ASSERT_TRUE(refusal.has_value()) << value;
    EXPECT_EQ(refusal->field, "inference-header-content-length");
  }
}

TEST(GatewayReaderTest, ATraceThatIsNoneIsLeftOut) {
  Reader reader(kTrusted);
  for (const char* value : {"", "00", "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
                            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0\"",
                            "00x0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}) {
    EXPECT_EQ(reader.Headers({{"traceparent", value}}), std::nullopt);
    EXPECT_EQ(reader.asked.trace, "") << value;
  }
}

}  // namespace
}  // namespace vramgate
