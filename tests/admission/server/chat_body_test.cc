#include "admission/server/chat_body.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace vramgate {
namespace {

using testing::HasSubstr;

ChatBody Read(std::string_view json) {
  ChatBody body;
  const std::optional<Refusal> refusal = ReadChatBody(json, &body);
  EXPECT_FALSE(refusal.has_value()) << refusal->field << ": " << refusal->message;
  return body;
}

Refusal Refused(std::string_view json) {
  ChatBody body;
  std::optional<Refusal> refusal = ReadChatBody(json, &body);
  EXPECT_TRUE(refusal.has_value()) << json;
  return refusal.value_or(Refusal{});
}

TEST(ChatBodyTest, ReadsAChat) {
  const ChatBody body = Read(R"({"model": "llama", "stream": true, "max_tokens": 20, "n": 3, "temperature": 0.7,
                                 "messages": [{"role": "user", "content": "Grüezi"}]})");
  EXPECT_EQ(body.model, "llama");
  EXPECT_EQ(body.max_output_tokens, 20);
  EXPECT_EQ(body.sequences, 3);
}

TEST(ChatBodyTest, AbsentMembersStayAbsent) {
  const ChatBody body = Read(R"({"messages": [], "max_tokens": null, "n": null})");
  EXPECT_EQ(body.model, "");
  EXPECT_EQ(body.max_output_tokens, std::nullopt);
  EXPECT_EQ(body.sequences, 1);
}

// Each byte of text is at most a token; two bodies that differ by so many bytes of text differ by so much in the bound.
TEST(ChatBodyTest, EveryByteOfTextCounts) {
  const std::string head = R"({"model": "m", "messages": [{"role": "user", "content": ")";
  const int64_t empty = Read(head + "\"}]}").prompt_bytes;
  EXPECT_GT(empty, 4);  // a template's own tokens
  EXPECT_EQ(Read(head + std::string(1000, 'a') + "\"}]}").prompt_bytes, empty + 1000);
  EXPECT_EQ(Read(head + "\\u00e9\"}]}").prompt_bytes, empty + 2) << "decoded, as the engine sees it";
}

TEST(ChatBodyTest, TextInPartsToolsAndCallsCounts) {
  const std::string text(500, 'x');
  EXPECT_GT(Read(R"({"messages": [{"content": [{"type": "text", "text": ")" + text + R"("}]}]})").prompt_bytes, 500);
  EXPECT_GT(Read(R"({"messages": [], "tools": [{"function": {"description": ")" + text + R"("}}]})").prompt_bytes, 500);
  EXPECT_GT(Read(R"({"messages": [{"tool_calls": [{"function": {"arguments": ")" + text + R"("}}]}]})").prompt_bytes,
            500);
}

TEST(ChatBodyTest, AnImageIsBoundedByTheModelOnly) {
  for (const char* part :
       {R"({"type": "image_url", "image_url": {"url": "http://x/y"}})",
        R"({"type": "input_audio", "input_audio": {"data": "AA=="}})", R"({"file": {"file_id": "f"}})"}) {
    EXPECT_GE(Read(std::string(R"({"messages": [{"content": [)") + part + "]}]}").prompt_bytes, int64_t{1} << 40);
  }
}

TEST(ChatBodyTest, TheLargerOfTwoLimitsCounts) {
  EXPECT_EQ(Read(R"({"max_tokens": 5, "max_completion_tokens": 9})").max_output_tokens, 9);
  EXPECT_EQ(Read(R"({"max_completion_tokens": 9, "max_tokens": 5})").max_output_tokens, 9);
  EXPECT_EQ(Read(R"({"max_tokens": 0})").max_output_tokens, 1);
  EXPECT_EQ(Read(R"({"max_tokens": 1e3})").max_output_tokens, 1000);
}

TEST(ChatBodyTest, APromptIsATextTokensOrAList) {
  const int64_t empty = Read(R"({"prompt": ""})").prompt_bytes;
  EXPECT_EQ(Read(R"({"prompt": "abcd"})").prompt_bytes, empty + 4);
  EXPECT_EQ(Read(R"({"prompt": [1, 2, 3, 4]})").sequences, 1);
  EXPECT_GE(Read(R"({"prompt": [1, 2, 3, 4]})").prompt_bytes, empty + 4);
}

TEST(ChatBodyTest, EachPromptOfAListIsASequenceAsLongAsTheLongest) {
  const ChatBody texts = Read(R"({"prompt": ["a", "bbbbbbbbbb", "cc"], "n": 2, "best_of": 4})");
  EXPECT_EQ(texts.sequences, 12);
  EXPECT_GE(texts.prompt_bytes, 10);
  EXPECT_LT(texts.prompt_bytes, 45);
  const ChatBody tokens = Read(R"({"prompt": [[1, 2], [3, 4, 5, 6, 7]]})");
  EXPECT_EQ(tokens.sequences, 2);
  EXPECT_GE(tokens.prompt_bytes, 5);
}

TEST(ChatBodyTest, NestedNamesakesAreNoMembers) {
  const ChatBody body = Read(R"({"metadata": {"model": "x", "max_tokens": "many", "n": []}, "model": "m"})");
  EXPECT_EQ(body.model, "m");
  EXPECT_EQ(body.max_output_tokens, std::nullopt);
}

TEST(ChatBodyTest, AMemberGivenTwiceIsRefused) {
  EXPECT_EQ(Refused(R"({"model": "a", "model": "b"})").field, "model");
  EXPECT_EQ(Refused(R"({"max_tokens": 1, "max_tokens": 100000})").field, "max_tokens");
  EXPECT_EQ(Refused(R"({"max\u005ftokens": 1, "max_tokens": 100000})").field, "max_tokens") << "escaped, yet the same";
}

TEST(ChatBodyTest, WrongTypesAndValuesNameTheMember) {
  for (const char* count : {"max_tokens", "max_completion_tokens", "n", "best_of"}) {
    for (const char* value : {"-1", "1.5", "\"7\"", "true", "[]", "{}", "1e300", "99999999999999999999"}) {
      EXPECT_EQ(Refused("{\"" + std::string(count) + "\": " + value + "}").field, count) << value;
    }
  }
  EXPECT_EQ(Refused(R"({"n": 0})").field, "n");
  for (const char* value : {"null", "7", "[\"m\"]", "{}", "true"}) {
    EXPECT_EQ(Refused("{\"model\": " + std::string(value) + "}").field, "model") << value;
  }
  EXPECT_EQ(Refused(R"({"model": ")" + std::string(2000, 'm') + "\"}").field, "model");
}

TEST(ChatBodyTest, WhatIsNoObjectIsRefused) {
  for (const char* text : {"", " ", "null", "[]", "\"x\"", "7", "true", "[{\"model\": \"m\"}]"}) {
    EXPECT_EQ(Refused(text).outcome, Outcome::kRejectedInvalidRequest) << text;
  }
}

TEST(ChatBodyTest, IllFormedTextIsRefusedWithoutQuotingIt) {
  for (const char* text :
       {"{", "{\"model\": \"secret\"", "{\"secret\": 1,}", "{\"secret\": NaN}", "{\"secret\": 1} x", "{'secret': 1}",
        "{\"secret\": \"\xff\"}", "{\"secret\": \"\\ud800\"}", "{\"secret\": 01}"}) {
    const Refusal refusal = Refused(text);
    EXPECT_THAT(refusal.message, HasSubstr("not well-formed JSON")) << text;
    EXPECT_THAT(refusal.message, testing::Not(HasSubstr("secret"))) << text;
  }
}

TEST(ChatBodyTest, DepthIsBounded) {
  const auto nested = [](size_t depth) { return "{\"x\": " + std::string(depth, '[') + std::string(depth, ']') + "}"; };
  Read(nested(63));
  EXPECT_THAT(Refused(nested(64)).message, HasSubstr("nested deeper"));
  EXPECT_THAT(Refused("{\"x\": " + std::string(5'000'000, '[')).message, HasSubstr("nested deeper"));
}

TEST(ChatBodyTest, HugeCountsDoNotOverflow) {
  std::string prompts = "{\"best_of\": 1099511627776, \"prompt\": [";
  for (int i = 0; i < 1000; ++i) prompts += "\"p\",";
  prompts.back() = ']';
  EXPECT_EQ(Read(prompts + "}").sequences, std::numeric_limits<int32_t>::max());
}

TEST(IsGenerationTest, KnowsThePathsThatGenerate) {
  EXPECT_TRUE(IsGeneration("POST", "/v1/chat/completions"));
  EXPECT_TRUE(IsGeneration("POST", "/v1/completions"));
  EXPECT_TRUE(IsGeneration("POST", "/v1/completions?x=/y"));
  EXPECT_TRUE(IsGeneration("POST", "/v1/chat/completion%73")) << "the engine decodes it, so the gate does";
  EXPECT_TRUE(IsGeneration("POST", "/v1/chat%2Fcompletions"));
}

TEST(IsGenerationTest, LeavesTheRestAlone) {
  EXPECT_FALSE(IsGeneration("GET", "/v1/chat/completions"));
  for (const char* path :
       {"", "/", "/v1/models", "/v1/completions/", "/v1/completionss", "/v1/completion%7", "%", "%zz", "?"}) {
    EXPECT_FALSE(IsGeneration("POST", path)) << path;
  }
  EXPECT_FALSE(IsGeneration("POST", std::string(1'000'000, '/')));
}

}  // namespace
}  // namespace vramgate
