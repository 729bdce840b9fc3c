// Requests of every kind of endpoint, on their way through a gateway.
#include <map>
#include <string>

#include "absl/strings/str_cat.h"
#include "admission/server/ext_proc_service.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "protozero/pbf_writer.hpp"
#include "tests/admission/server/gateway.h"

namespace vramgate {
namespace {

using testing::HasSubstr;

Headers To(std::string_view path) {
  Headers headers = ChatHeaders();
  headers[":path"] = path;
  return headers;
}

// The tokens, prompt and output of all sequences, that a request is charged for: a token is 1 MiB of KV.
int64_t ChargedTokens(Gateway& gateway) {
  size_t next = 0;
  const std::vector<LeaseView> leases = gateway.controller().List(0, 10, LeaseState::kHeld, &next);
  EXPECT_EQ(leases.size(), 1);
  return leases.empty() ? 0 : leases[0].cost.kv_bytes / kMiB;
}

void ExpectTokens(std::string_view path, std::string_view body, int64_t least, int64_t most) {
  Gateway gateway;
  Stream stream(gateway);
  const ProcessingResponse answer = stream.Chat(body, To(path));
  ASSERT_TRUE(answer.has_request_body()) << path << ": " << answer.immediate_response().body();
  const int64_t tokens = ChargedTokens(gateway);
  EXPECT_GE(tokens, least) << path;
  EXPECT_LE(tokens, most) << path;
  EXPECT_TRUE(stream.Ask(ResponseHeaders()).has_response_headers());
  stream.HalfClose();
  EXPECT_TRUE(stream.End().ok());
  gateway.witness.Await(Outcome::kCompleted);
}

TEST(ExtProcEndpointsTest, EveryEndpointIsCharged) {
  ExpectTokens("/v1/completions", R"({"model": "m", "prompt": [1, 2, 3, 4], "max_tokens": 20, "n": 2})", 48, 48);
  ExpectTokens("/v1/responses", R"({"model": "m", "input": "hi", "max_output_tokens": 20})", 22, 60);
  ExpectTokens("/v1/messages", R"({"model": "m", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 20})",
               22, 80);
  ExpectTokens("/v1/embeddings", R"({"model": "m", "input": [[1, 2, 3, 4], [5]]})", 8, 8);
  ExpectTokens("/rerank", R"({"model": "m", "query": "a", "documents": ["b", "c"]})", 4, 100);
  ExpectTokens("/generate", R"({"model": "m", "input_ids": [1, 2], "sampling_params": {"max_new_tokens": 20}})", 22,
               22);
  ExpectTokens("/v2/models/m/generate", R"({"text_input": "hi", "max_tokens": 20})", 22, 60);
  ExpectTokens("/v2/models/m/infer",
               R"({"inputs": [{"name": "input_ids", "shape": [1, 3], "datatype": "INT32", "data": [7, 8, 9]},
                              {"name": "request_output_len", "shape": [1, 1], "datatype": "INT32", "data": [20]}]})",
               23, 23);
}

TEST(ExtProcEndpointsTest, AModelInferOverGrpc) {
  std::string contents;
  const std::vector<int32_t> ids = {1, 2, 3, 4, 5};
  protozero::pbf_writer(contents).add_packed_int32(2, ids.begin(), ids.end());
  std::string input;
  protozero::pbf_writer input_writer(input);
  input_writer.add_string(1, "input_ids");
  input_writer.add_string(2, "INT32");
  input_writer.add_message(5, contents);
  std::string limit;
  protozero::pbf_writer(limit).add_int64(2, 20);
  std::string parameter;
  protozero::pbf_writer parameter_writer(parameter);
  parameter_writer.add_string(1, "max_tokens");
  parameter_writer.add_message(2, limit);
  std::string message;
  protozero::pbf_writer writer(message);
  writer.add_string(1, "m");
  writer.add_message(4, parameter);
  writer.add_message(5, input);
  const std::string frame = {0, 0, 0, 0, static_cast<char>(message.size())};
  ExpectTokens("/inference.GRPCInferenceService/ModelInfer", frame + message, 25, 25);

  Gateway gateway;
  Stream stream(gateway);
  Headers headers = To("/inference.GRPCInferenceService/ModelInfer");
  headers["content-type"] = "application/grpc";
  const ProcessingResponse answer = stream.Chat(frame, headers);
  EXPECT_EQ(answer.immediate_response().grpc_status().status(), grpc::StatusCode::INVALID_ARGUMENT);
}

// A stream of many requests would not be seen until its client has sent them all.
TEST(ExtProcEndpointsTest, WhatCannotBePricedIsRefusedByItsHeaders) {
  for (const char* path : {"/inference.GRPCInferenceService/ModelStreamInfer", "/v1/audio/transcriptions"}) {
    Gateway gateway;
    Stream stream(gateway);
    const ProcessingResponse answer = stream.Ask(RequestHeaders(To(path)));
    EXPECT_EQ(answer.immediate_response().status().code(), 400) << path;
    EXPECT_THAT(answer.immediate_response().body(), HasSubstr("gateways.paths"));
    EXPECT_TRUE(stream.End().ok());
  }
}

TEST(ExtProcEndpointsTest, TheTenantAndPriorityOfHeadersAreTheLeases) {
  Gateway gateway;
  Stream stream(gateway);
  Headers headers = ChatHeaders();
  headers["x-llm-d-inference-fairness-id"] = "team-a";
  headers["x-llm-d-inference-objective"] = "critical";
  headers["x-request-id"] = "r-1";
  ASSERT_TRUE(stream.Chat(kLarge, headers).has_request_body());
  size_t next = 0;
  const LeaseView lease = gateway.controller().List(0, 10, LeaseState::kHeld, &next).at(0);
  EXPECT_EQ(lease.tenant, "team-a");
  EXPECT_EQ(lease.priority, 10);
  EXPECT_EQ(lease.request_id, "") << "no key: two requests with one id must not share a lease";
  EXPECT_EQ(lease.log_id, "r-1");
}

TEST(ExtProcEndpointsTest, ATimeoutOfTheClientEndsItsWait) {
  Gateway gateway;
  Stream holder(gateway);
  ASSERT_TRUE(holder.Chat(kLarge).has_request_body());
  Stream waiter(gateway);
  Headers headers = ChatHeaders();
  headers["x-request-timeout"] = "2s";
  ASSERT_TRUE(waiter.Chat(kLarge, headers).has_override_message_timeout());
  gateway.clock.Advance(absl::Seconds(2));
  gateway.controller().Advance();
  const ProcessingResponse answer = waiter.Read();
  EXPECT_EQ(answer.immediate_response().status().code(), 504);
  EXPECT_THAT(answer.immediate_response().body(), HasSubstr("\"timeout\""));
  gateway.witness.Await(Outcome::kDeadline);
}

std::map<std::string, std::string> SetHeaders(const ProcessingResponse& answer) {
  std::map<std::string, std::string> headers;
  for (const auto& option : answer.response_headers().response().header_mutation().set_headers()) {
    headers[option.header().key()] = option.header().raw_value();
  }
  return headers;
}

TEST(ExtProcEndpointsTest, TheAnswerSaysWhatThePromptWasChargedAs) {
  Gateway gateway;
  Stream ids(gateway);
  ASSERT_TRUE(
      ids.Chat(R"({"model": "m", "prompt": [1, 2, 3], "max_tokens": 2})", To("/v1/completions")).has_request_body());
  const std::map<std::string, std::string> counted = SetHeaders(ids.Ask(ResponseHeaders()));
  EXPECT_EQ(counted.at("x-vramgate-prompt-tokens"), "3");
  EXPECT_EQ(counted.at("x-vramgate-prompt-tokens-source"), "given");
  Stream text(gateway);
  ASSERT_TRUE(
      text.Chat(R"({"model": "m", "prompt": "abc", "max_tokens": 2})", To("/v1/completions")).has_request_body());
  EXPECT_EQ(SetHeaders(text.Ask(ResponseHeaders())).at("x-vramgate-prompt-tokens-source"), "bound");
  Stream other(gateway);
  Headers models = To("/v1/models");
  models[":method"] = "GET";
  ASSERT_TRUE(other.Ask(RequestHeaders(models, true)).has_request_headers());
  EXPECT_EQ(SetHeaders(other.Ask(ResponseHeaders())).size(), 0);
}

// The body's usage, where the gateway sends it, teaches what later prompts are charged.
TEST(ExtProcEndpointsTest, PromptsAreLearnedFromResponses) {
  const std::string model =
      ModelYaml("m", 1000, "      - {name: a, devices: [\"0\"], kv_pool: 1000MiB}\n    prompt_tokens: calibrated");
  Gateway gateway(absl::StrCat(DevicesYaml(1), "models:\n", model, "ext_proc: {response_usage: true}\n"));
  const std::string body =
      absl::StrCat(R"({"model": "m", "max_tokens": 5, "prompt": ")", std::string(400, 'x'), R"("})");
  const auto charged = [&] {
    Stream stream(gateway);
    EXPECT_TRUE(stream.Chat(body, To("/v1/completions")).has_request_body());
    std::map<std::string, std::string> headers = SetHeaders(stream.Ask(ResponseHeaders()));
    const std::string usage = R"({"choices": [], "usage": {"prompt_tokens": 100, "completion_tokens": 5}})";
    EXPECT_TRUE(stream.Ask(ResponseBody(usage, /*end_of_stream=*/true)).has_response_body());
    stream.HalfClose();
    EXPECT_TRUE(stream.End().ok());
    return headers;
  };
  EXPECT_EQ(charged().at("x-vramgate-prompt-tokens-source"), "bound");
  for (int i = 1; i < TokenRatios::kLeastSamples; ++i) charged();
  std::map<std::string, std::string> headers;
  do {  // the last streams may still be on their way to their ends
    headers = charged();
  } while (headers.at("x-vramgate-prompt-tokens-source") == "bound");
  EXPECT_EQ(headers.at("x-vramgate-prompt-tokens-source"), "calibrated");
  EXPECT_GE(std::stoi(headers.at("x-vramgate-prompt-tokens")), 100);
  EXPECT_LE(std::stoi(headers.at("x-vramgate-prompt-tokens")), 130);
}

}  // namespace
}  // namespace vramgate
