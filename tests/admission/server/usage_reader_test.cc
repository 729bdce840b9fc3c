#include "admission/server/usage_reader.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace vramgate {
namespace {

using Count = std::optional<int64_t>;

// What is read must not depend on where the body is cut.
UsageReader::Usage Read(std::string_view body) {
  UsageReader whole;
  whole.Feed(body);
  for (const size_t piece : {size_t{1}, size_t{7}, size_t{64}}) {
    UsageReader reader;
    for (size_t at = 0; at < body.size(); at += piece) reader.Feed(body.substr(at, piece));
    EXPECT_EQ(reader.usage().prompt_tokens, whole.usage().prompt_tokens) << "in pieces of " << piece;
    EXPECT_EQ(reader.usage().output_tokens, whole.usage().output_tokens) << "in pieces of " << piece;
  }
  return whole.usage();
}

void Expect(std::string_view body, Count prompt_tokens, Count output_tokens) {
  const UsageReader::Usage usage = Read(body);
  EXPECT_EQ(usage.prompt_tokens, prompt_tokens) << body;
  EXPECT_EQ(usage.output_tokens, output_tokens) << body;
}

TEST(UsageReaderTest, AChatThatIsNotStreamed) {
  Expect(R"({"id":"chatcmpl-1","object":"chat.completion","model":"m","choices":[{"index":0,"message":{"role":
      "assistant","content":"Hi \"there\"","tool_calls":[]},"logprobs":null,"finish_reason":"stop"}],
      "service_tier":null,"usage":{"prompt_tokens":17,"total_tokens":40,"completion_tokens":23,
      "prompt_tokens_details":{"cached_tokens":16}},"prompt_logprobs":null})",
         17, 23);
}

TEST(UsageReaderTest, AStreamedChatWithItsUsageLast) {
  Expect(
      "data: {\"choices\":[{\"delta\":{\"content\":\"Hi\"}}],\"usage\":null}\n\n"
      ": a comment\n\n"
      "data: {\"choices\":[{\"delta\":{\"content\":\"\"},\"finish_reason\":\"length\"}]}\n\n"
      "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"total_tokens\":12,\"completion_tokens\":3}}\n\n"
      "data: [DONE]\n\n",
      9, 3);
}

TEST(UsageReaderTest, AUsageInEveryChunkGrows) {
  std::string body;
  for (int i = 1; i <= 300; ++i) {
    absl::StrAppend(&body, "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":", i,
                    "}}\r\n\r\n");
  }
  Expect(body, 9, 300);
}

// The prompt is told first, the output again and again; what was read from a cache is part of the prompt.
TEST(UsageReaderTest, AnthropicsMessages) {
  Expect(
      "event: message_start\n"
      "data: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"content\":[],\"usage\":{\"input_tokens\":25,"
      "\"cache_creation_input_tokens\":3,\"cache_read_input_tokens\":100,\"output_tokens\":1}}}\n\n"
      "event: content_block_delta\n"
      "data: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"Hello\"}}\n\n"
      "event: message_delta\n"
      "data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":15}}\n\n"
      "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
      128, 15);
  Expect(R"({"type":"message","content":[{"type":"text","text":"x"}],"usage":{"input_tokens":5,"output_tokens":6}})", 5,
         6);
}

TEST(UsageReaderTest, OpenAisResponses) {
  const std::string response =
      R"({"id":"resp_1","output":[{"content":[{"text":"long"}]}],"usage":{"input_tokens":36,)"
      R"("input_tokens_details":{"cached_tokens":32},"output_tokens":87,)"
      R"("output_tokens_details":{"reasoning_tokens":5},"total_tokens":123},"user":null,"metadata":{}})";
  Expect(response, 36, 87);
  Expect(absl::StrCat("event: response.created\ndata: {\"response\":{\"usage\":null}}\n\n"
                      "event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":",
                      response, "}\n\n"),
         36, 87);
}

TEST(UsageReaderTest, EmbeddingsAndSglang) {
  Expect(R"({"data":[{"embedding":[-0.1,2e-3,7]}],"usage":{"prompt_tokens":8,"total_tokens":8}})", 8, std::nullopt);
  Expect(R"({"text":"x","meta_info":{"prompt_tokens":4,"completion_tokens":16,"finish_reason":{"type":"stop"}}})", 4,
         16);
}

TEST(UsageReaderTest, LinesOfJson) {
  Expect("{\"usage\":{\"prompt_tokens\":1}}\n{\"usage\":{\"prompt_tokens\":2,\"completion_tokens\":3}}\n", 2, 3);
}

TEST(UsageReaderTest, DataMayBeSpreadOverLines) {
  Expect("data: {\"usage\":\ndata: {\"prompt_tokens\":2,\ndata:\"completion_tokens\":3}}\n\n", 2, 3);
  Expect("data: {\"usage\":\r\ndata: {\"prompt_tokens\":2,\r\ndata:\"completion_tokens\":3}}\r\n\r\n", 2, 3);
}

TEST(UsageReaderTest, AnEventCutOffDoesNotSpoilTheNext) {
  Expect("data: {\"choices\":[{\"text\":\"never ends\n\ndata: {\"usage\":{\"prompt_tokens\":2}}\n\n", 2, std::nullopt);
}

// A generated text, or a tool's arguments, may say anything.
TEST(UsageReaderTest, OnlyTheEnginesOwnUsageCounts) {
  for (const char* body : {
           R"({"choices":[{"text":"\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":1}"}]})",
           R"({"content":[{"type":"tool_use","input":{"usage":{"input_tokens":1,"output_tokens":1}}}]})",
           R"({"message":{"content":[{"input":{"usage":{"input_tokens":1}}}]}})",
           R"({"message":{"content":{"usage":{"input_tokens":1}}}})",
           R"([{"usage":{"prompt_tokens":1}}])",
           R"({"usage":[{"prompt_tokens":1}]})",
           R"({"usage":[1,2],"x":{"prompt_tokens":1}})",
           R"({"u\u0073age":{"prompt_tokens":1}})",
           R"({"other":{"prompt_tokens":1}})",
           R"({"x":"usage","y":{"prompt_tokens":1}})",
           R"({"usage":{"x":{"prompt_tokens":1}}})",
       }) {
    Expect(body, std::nullopt, std::nullopt);
  }
}

TEST(UsageReaderTest, AUsageCutOffDoesNotCount) {
  const std::string whole = R"({"usage":{"prompt_tokens":123})";
  for (size_t size = 0; size < whole.size(); ++size) Expect(whole.substr(0, size), std::nullopt, std::nullopt);
  Expect(whole, 123, std::nullopt);
}

TEST(UsageReaderTest, WhatIsNoCountIsNone) {
  for (const char* value : {"-1", "1.5", "1e3", "null", "true", "\"7\"", "[7]", "{}", "99999999999999999999999999",
                            "1099511627777", "0x7", "7 7"}) {
    const UsageReader::Usage usage = Read(absl::StrCat(R"({"usage":{"completion_tokens":)", value, "}}"));
    EXPECT_FALSE(usage.output_tokens.has_value() && *usage.output_tokens > 7) << value;
  }
  Expect(R"({"usage":{"completion_tokens": 1099511627776 }})", std::nullopt, 1099511627776);
}

TEST(UsageReaderTest, WhatIsNoAnswerYieldsNothing) {
  Expect("", std::nullopt, std::nullopt);
  Expect("\x1f\x8b\x08 compressed {\"usage\":{\"prompt_tokens\":1}}", std::nullopt, std::nullopt);
  Expect("}}}}]]]]", std::nullopt, std::nullopt);
  Expect("{" + std::string(1'000'000, '['), std::nullopt, std::nullopt);
  Expect(std::string(1'000'000, '{'), std::nullopt, std::nullopt);
  Expect("{\"" + std::string(1'000'000, 'k') + "\":{\"prompt_tokens\":1}}", std::nullopt, std::nullopt);
}

TEST(UsageReaderTest, MembersAfterALargeOneAreFound) {
  const std::string logprobs = "[" + std::string(100'000, '[') + std::string(100'000, ']') + "]";
  Expect(absl::StrCat("{\"prompt_logprobs\":", logprobs, ",\"usage\":{\"prompt_tokens\":3},\"z\":", logprobs, "}"), 3,
         std::nullopt);
}

}  // namespace
}  // namespace vramgate
