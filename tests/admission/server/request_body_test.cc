#include "admission/server/request_body.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace vramgate {
namespace {

using testing::HasSubstr;

RequestBody Read(std::string_view json, Endpoint endpoint = Endpoint::kChat) {
  RequestBody body;
  const std::optional<Refusal> refusal = ReadRequestBody(endpoint, {.bytes = json}, &body);
  EXPECT_FALSE(refusal.has_value()) << json << "\n" << refusal->field << ": " << refusal->message;
  return body;
}
RequestBody Completion(std::string_view json) {
  return Read(json, Endpoint::kCompletions);
}

Refusal Refused(std::string_view json, Endpoint endpoint = Endpoint::kChat) {
  RequestBody body;
  std::optional<Refusal> refusal = ReadRequestBody(endpoint, {.bytes = json}, &body);
  EXPECT_TRUE(refusal.has_value()) << json;
  return refusal.value_or(Refusal{});
}

bool Unbounded(std::string_view json, Endpoint endpoint = Endpoint::kChat) {
  return Read(json, endpoint).prompt_bytes == kUnboundedPromptBytes;
}

TEST(RequestBodyTest, ReadsAChat) {
  const RequestBody body = Read(R"({"model": "llama", "stream": true, "max_tokens": 20, "n": 3, "temperature": 0.7,
                                 "messages": [{"role": "user", "content": "Grüezi"}]})");
  EXPECT_EQ(body.model, "llama");
  EXPECT_EQ(body.max_output_tokens, 20);
  EXPECT_EQ(body.sequences, 3);
}

TEST(RequestBodyTest, AbsentMembersStayAbsent) {
  const RequestBody body = Read(R"({"messages": [], "max_tokens": null, "n": null})");
  EXPECT_EQ(body.model, "");
  EXPECT_EQ(body.max_output_tokens, std::nullopt);
  EXPECT_EQ(body.sequences, 1);
}

// Each byte of text is at most a token; two bodies that differ by so many bytes of text differ by so much in the bound.
TEST(RequestBodyTest, EveryByteOfTextCounts) {
  const std::string head = R"({"model": "m", "messages": [{"role": "user", "content": ")";
  const int64_t empty = Read(head + "\"}]}").prompt_bytes;
  EXPECT_GT(empty, 4);  // a template's own tokens
  EXPECT_EQ(Read(head + std::string(1000, 'a') + "\"}]}").prompt_bytes, empty + 1000);
  EXPECT_EQ(Read(head + "\\u00e9\"}]}").prompt_bytes, empty + 2) << "decoded, as the engine sees it";
}

TEST(RequestBodyTest, TextInPartsToolsAndCallsCounts) {
  const std::string text(500, 'x');
  EXPECT_GT(Read(R"({"messages": [{"content": [{"type": "text", "text": ")" + text + R"("}]}]})").prompt_bytes, 500);
  EXPECT_GT(Read(R"({"messages": [], "tools": [{"function": {"description": ")" + text + R"("}}]})").prompt_bytes, 500);
  EXPECT_GT(Read(R"({"messages": [{"tool_calls": [{"function": {"arguments": ")" + text + R"("}}]}]})").prompt_bytes,
            500);
}

TEST(RequestBodyTest, AnImageIsBoundedByTheModelOnly) {
  for (const char* part :
       {R"({"type": "image_url", "image_url": {"url": "http://x/y"}})",
        R"({"type": "input_audio", "input_audio": {"data": "AA=="}})", R"({"file": {"file_id": "f"}})"}) {
    EXPECT_GE(Read(std::string(R"({"messages": [{"content": [)") + part + "]}]}").prompt_bytes, int64_t{1} << 40);
  }
}

TEST(RequestBodyTest, TheLargerOfTwoLimitsCounts) {
  EXPECT_EQ(Read(R"({"max_tokens": 5, "max_completion_tokens": 9})").max_output_tokens, 9);
  EXPECT_EQ(Read(R"({"max_completion_tokens": 9, "max_tokens": 5})").max_output_tokens, 9);
  EXPECT_EQ(Read(R"({"max_tokens": 0})").max_output_tokens, 1);
  EXPECT_EQ(Read(R"({"max_tokens": 1e3})").max_output_tokens, 1000);
}

TEST(RequestBodyTest, APromptIsATextTokensOrAList) {
  const int64_t empty = Completion(R"({"prompt": ""})").prompt_bytes;
  EXPECT_EQ(Completion(R"({"prompt": "abcd"})").prompt_bytes, empty + 4);
  EXPECT_EQ(Completion(R"({"prompt": [1, 2, 3, 4]})").sequences, 1);
  EXPECT_GE(Completion(R"({"prompt": [1, 2, 3, 4]})").prompt_bytes, empty + 4);
}

TEST(RequestBodyTest, EachPromptOfAListIsASequenceAsLongAsTheLongest) {
  const RequestBody texts = Completion(R"({"prompt": ["a", "bbbbbbbbbb", "cc"], "n": 2, "best_of": 4})");
  EXPECT_EQ(texts.sequences, 12);
  EXPECT_GE(texts.prompt_bytes, 10);
  EXPECT_LT(texts.prompt_bytes, 45);
  const RequestBody tokens = Completion(R"({"prompt": [[1, 2], [3, 4, 5, 6, 7]]})");
  EXPECT_EQ(tokens.sequences, 2);
  EXPECT_GE(tokens.prompt_bytes, 5);
}

TEST(RequestBodyTest, NestedNamesakesAreNoMembers) {
  const RequestBody body = Read(R"({"metadata": {"model": "x", "max_tokens": "many", "n": []}, "model": "m"})");
  EXPECT_EQ(body.model, "m");
  EXPECT_EQ(body.max_output_tokens, std::nullopt);
}

TEST(RequestBodyTest, AMemberGivenTwiceIsRefused) {
  EXPECT_EQ(Refused(R"({"model": "a", "model": "b"})").field, "model");
  EXPECT_EQ(Refused(R"({"max_tokens": 1, "max_tokens": 100000})").field, "max_tokens");
  EXPECT_EQ(Refused(R"({"max\u005ftokens": 1, "max_tokens": 100000})").field, "max_tokens") << "escaped, yet the same";
}

TEST(RequestBodyTest, WrongTypesAndValuesNameTheMember) {
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

TEST(RequestBodyTest, WhatIsNoObjectIsRefused) {
  for (const char* text : {"", " ", "null", "[]", "\"x\"", "7", "true", "[{\"model\": \"m\"}]"}) {
    EXPECT_EQ(Refused(text).outcome, Outcome::kRejectedInvalidRequest) << text;
  }
}

TEST(RequestBodyTest, IllFormedTextIsRefusedWithoutQuotingIt) {
  for (const char* text :
       {"{", "{\"model\": \"secret\"", "{\"secret\": 1,}", "{\"secret\": NaN}", "{\"secret\": 1} x", "{'secret': 1}",
        "{\"secret\": \"\xff\"}", "{\"secret\": \"\\ud800\"}", "{\"secret\": 01}"}) {
    const Refusal refusal = Refused(text);
    EXPECT_THAT(refusal.message, HasSubstr("not well-formed JSON")) << text;
    EXPECT_THAT(refusal.message, testing::Not(HasSubstr("secret"))) << text;
  }
}

TEST(RequestBodyTest, DepthIsBounded) {
  const auto nested = [](size_t depth) { return "{\"x\": " + std::string(depth, '[') + std::string(depth, ']') + "}"; };
  Read(nested(63));
  EXPECT_THAT(Refused(nested(64)).message, HasSubstr("nested deeper"));
  EXPECT_THAT(Refused("{\"x\": " + std::string(5'000'000, '[')).message, HasSubstr("nested deeper"));
}

TEST(RequestBodyTest, HugeCountsDoNotOverflow) {
  std::string prompts = "{\"best_of\": 1099511627776, \"prompt\": [";
  for (int i = 0; i < 1000; ++i) prompts += "\"p\",";
  prompts.back() = ']';
  EXPECT_EQ(Completion(prompts + "}").sequences, std::numeric_limits<int32_t>::max());
}

TEST(RequestBodyTest, TokenIdsAreCounted) {
  EXPECT_EQ(Completion(R"({"prompt": [5, 6, 7]})").prompt_tokens, 3);
  EXPECT_EQ(Completion(R"({"prompt": [[5, 6], [7, 8, 9, 10], []]})").prompt_tokens, 4);
  EXPECT_EQ(Read(R"({"input_ids": [[1, 2, 3], [4]]})", Endpoint::kGenerate).prompt_tokens, 3);
  EXPECT_EQ(Read(R"({"token_ids": [1, 2, 3]})", Endpoint::kTokens).prompt_tokens, 3);
  for (const char* json : {R"({"prompt": "abc"})", R"({"prompt": [[1, 2], "abc"]})", R"({"prompt": []})",
                           R"({"prompt": [1, 2], "prompt_embeds": "AAAA"})", R"({"prompt": [1, 2], "suffix": "x"})",
                           R"({"prompt": [1.5]})", R"({"prompt": [[[1, 2, 3]]]})", R"({"prompt": 7})",
                           R"({"prompt": null})", R"({"messages": [1, 2]})"}) {
    EXPECT_EQ(Completion(json).prompt_tokens, std::nullopt) << json;
  }
}

TEST(RequestBodyTest, PromptsInSeveralMembersAddUp) {
  const RequestBody body = Completion(R"({"prompt": ["a", "b"], "prompt_embeds": ["x", "y", "z"], "n": 2})");
  EXPECT_EQ(body.prompts, 5);
  EXPECT_EQ(body.sequences, 10);
}

// Another endpoint's member is not read by the engine, so it must not lower what is charged.
TEST(RequestBodyTest, OnlyTheEndpointsOwnLimitCounts) {
  EXPECT_EQ(Completion(R"({"max_completion_tokens": 1, "max_output_tokens": 1})").max_output_tokens, std::nullopt);
  EXPECT_EQ(Completion(R"({"max_tokens": 7})").max_output_tokens, 7);
  EXPECT_EQ(Read(R"({"max_output_tokens": 1})").max_output_tokens, std::nullopt);
  EXPECT_EQ(Read(R"({"max_output_tokens": 9, "max_tokens": 1})", Endpoint::kResponses).max_output_tokens, 9);
  EXPECT_EQ(Read(R"({"max_tokens": 9})", Endpoint::kMessages).max_output_tokens, 9);
  EXPECT_EQ(Read(R"({"max_tokens": 1, "sampling_params": {"max_new_tokens": 9, "max_tokens": 2}})", Endpoint::kGenerate)
                .max_output_tokens,
            9);
  EXPECT_EQ(Read(R"({"sampling_params": {"max_new_tokens": 9, "max_tokens": 2}})", Endpoint::kTokens).max_output_tokens,
            2);
  EXPECT_EQ(Read(R"({"n": 5, "messages": []})", Endpoint::kMessages).sequences, 1);
}

TEST(RequestBodyTest, ParametersMayBeAList) {
  const RequestBody body = Read(
      R"({"text": ["a", "b"], "sampling_params": [{"max_new_tokens": 5, "n": 2}, {"max_new_tokens": 50, "n": 1}]})",
      Endpoint::kGenerate);
  EXPECT_EQ(body.max_output_tokens, 50);
  EXPECT_EQ(body.sequences, 4);
  EXPECT_EQ(Refused(R"({"sampling_params": {"n": 1, "n": 2}})", Endpoint::kGenerate).field, "sampling_params.n");
  EXPECT_EQ(Refused(R"({"parameters": {"best_of": 0}})", Endpoint::kGenerate).field, "parameters.best_of");
  EXPECT_EQ(Read(R"({"parameters": {"x": {"n": 7}}})", Endpoint::kGenerate).sequences, 1);
}

TEST(RequestBodyTest, ANegativeLimitOfOllamaIsNone) {
  EXPECT_EQ(Read(R"({"options": {"num_predict": 12}})", Endpoint::kOllama).max_output_tokens, 12);
  EXPECT_EQ(Read(R"({"options": {"num_predict": -1}})", Endpoint::kOllama).max_output_tokens, kMostCount);
  EXPECT_EQ(Read(R"({"n_predict": -1})", Endpoint::kLlamaCpp).max_output_tokens, kMostCount);
  EXPECT_EQ(Refused(R"({"max_tokens": -1})").field, "max_tokens");
}

TEST(RequestBodyTest, TritonsGenerate) {
  const RequestBody body =
      Read(R"({"text_input": "abc", "max_tokens": 9, "beam_width": 4, "stream": true})", Endpoint::kGenerateModel);
  EXPECT_EQ(body.max_output_tokens, 9);
  EXPECT_EQ(body.sequences, 4);
  EXPECT_EQ(Read(R"({"parameters": {"max_tokens": 8, "n": 2}})", Endpoint::kGenerateModel).max_output_tokens, 8);
  // Where sampling_parameters are given, the backend reads no others.
  const RequestBody text = Read(R"({"sampling_parameters": "{\"max_tokens\": \"30\", \"best_of\": 3}",
                                    "parameters": {"max_tokens": 100}})",
                                Endpoint::kGenerateModel);
  EXPECT_EQ(text.max_output_tokens, 30);
  EXPECT_EQ(text.sequences, 3);
  const Refusal refusal = Refused(R"({"sampling_parameters": "{\"max_tokens\": \"lots\"}"})", Endpoint::kGenerateModel);
  EXPECT_EQ(refusal.field, "sampling_parameters.max_tokens");
  EXPECT_EQ(Refused(R"({"sampling_parameters": "{"})", Endpoint::kGenerateModel).field, "sampling_parameters");
  EXPECT_EQ(Refused(R"({"sampling_parameters": "[]"})", Endpoint::kGenerateModel).field, "sampling_parameters");
}

// Together they are the prompt.
TEST(RequestBodyTest, EmbeddingsAreTheirPromptAlone) {
  const RequestBody ids = Read(R"({"input": [[1, 2, 3, 4, 5], [6]], "max_tokens": 100})", Endpoint::kEmbeddings);
  EXPECT_EQ(ids.prompt_tokens, 4);
  EXPECT_EQ(ids.max_output_tokens, 1);
  EXPECT_EQ(ids.sequences, 2);
  const RequestBody ranks =
      Read(R"({"query": "q", "documents": ["aaaa", {"text": "bb"}, "c"]})", Endpoint::kEmbeddings);
  EXPECT_EQ(ranks.sequences, 3);
  EXPECT_EQ(ranks.max_output_tokens, 1);
  EXPECT_EQ(ranks.prompt_tokens, std::nullopt);
  EXPECT_EQ(Read(R"({"query": "q", "input": [1, 2]})", Endpoint::kEmbeddings).prompt_tokens, std::nullopt);
}

TEST(RequestBodyTest, WhatTheBodyDoesNotHoldIsBoundedByTheModelOnly) {
  EXPECT_TRUE(Unbounded(R"({"messages": [], "chat_template": "{% for i in range(10**9) %}x{% endfor %}"})"));
  EXPECT_FALSE(Unbounded(R"({"messages": [], "chat_template": null})"));
  EXPECT_TRUE(
      Unbounded(R"({"messages": [{"content": [{"type": "image", "source": {"url": "x"}}]}]})", Endpoint::kMessages));
  EXPECT_TRUE(Unbounded(R"({"messages": [{"content": [{"type": "document", "source": {}}]}]})", Endpoint::kMessages));
  EXPECT_FALSE(
      Unbounded(R"({"messages": [{"content": [{"type": "text", "text": "an image"}]}]})", Endpoint::kMessages));
  EXPECT_TRUE(Unbounded(R"({"input": "x", "previous_response_id": "resp_1"})", Endpoint::kResponses));
  EXPECT_TRUE(Unbounded(R"({"input": "x", "conversation": {"id": "c"}})", Endpoint::kResponses));
  EXPECT_TRUE(Unbounded(R"({"input": "x", "tools": [{"type": "web_search"}]})", Endpoint::kResponses));
  EXPECT_FALSE(Unbounded(R"({"input": "x", "tools": [{"type": "function", "parameters": {"type": "object"}}]})",
                         Endpoint::kResponses));
  EXPECT_TRUE(Unbounded(R"({"text": "x", "image_data": ["AA"]})", Endpoint::kGenerate));
  EXPECT_FALSE(Unbounded(R"({"text": "x", "image_data": null})", Endpoint::kGenerate));
  EXPECT_TRUE(Unbounded(R"({"inputs": "![](http://x/y.png) what is it?"})", Endpoint::kGenerate));
  EXPECT_TRUE(Unbounded(R"({"messages": [], "images": ["AA"]})", Endpoint::kOllama));
}

TEST(RequestBodyTest, WhatGoesOnAfterItsAnswerIsRefused) {
  EXPECT_EQ(Refused(R"({"input": "x", "background": true})", Endpoint::kResponses).field, "background");
  Read(R"({"input": "x", "background": false})", Endpoint::kResponses);
}

TEST(RequestBodyTest, ConversationsOfABatchAreSequences) {
  const std::string text(400, 'x');
  const RequestBody body = Read(
      R"({"messages": [[{"role": "user", "content": ")" + text + R"("}], [{"content": "y"}]]})", Endpoint::kChatBatch);
  EXPECT_EQ(body.sequences, 2);
  EXPECT_GE(body.prompt_bytes, 400);
  EXPECT_LT(body.prompt_bytes, 460);
}

}  // namespace
}  // namespace vramgate
