#include "admission/server/endpoint.h"

#include <string>

#include "gtest/gtest.h"

namespace vramgate {
namespace {

Endpoint Of(std::string_view path) {
  return Endpoints().Find("POST", path).endpoint;
}

TEST(EndpointTest, KnowsThePathsThatGenerate) {
  EXPECT_EQ(Of("/v1/chat/completions"), Endpoint::kChat);
  EXPECT_EQ(Of("/v1/chat/completions/batch"), Endpoint::kChatBatch);
  EXPECT_EQ(Of("/v1/completions"), Endpoint::kCompletions);
  EXPECT_EQ(Of("/v1/responses"), Endpoint::kResponses);
  EXPECT_EQ(Of("/v1/messages"), Endpoint::kMessages);
  EXPECT_EQ(Of("/v1/embeddings"), Endpoint::kEmbeddings);
  EXPECT_EQ(Of("/rerank"), Endpoint::kEmbeddings);
  EXPECT_EQ(Of("/generate_stream"), Endpoint::kGenerate);
  EXPECT_EQ(Of("/inference/v1/generate"), Endpoint::kTokens);
  EXPECT_EQ(Of("/api/chat"), Endpoint::kOllama);
  EXPECT_EQ(Of("/completion"), Endpoint::kLlamaCpp);
  EXPECT_EQ(Of("/inference.GRPCInferenceService/ModelInfer"), Endpoint::kInferGrpc);
  EXPECT_EQ(Of("/inference.GRPCInferenceService/ModelStreamInfer"), Endpoint::kUnpriced);
  EXPECT_EQ(Of("/v1/audio/transcriptions"), Endpoint::kUnpriced);
}

// The engine, or a proxy before it, undoes these, so the gate does.
TEST(EndpointTest, APathIsReadAsGenerouslyAsAnyEngineWould) {
  for (const char* path : {"/v1/chat/completions?x=/y", "/v1/chat/completion%73", "/v1/chat%2Fcompletions",
                           "//v1///chat/completions", "/v1/chat/completions/", "/v1/./chat/x/../completions",
                           "/openai/v1/chat/completions", "/team-a/chat/completions", "/v1/chat/completions#x"}) {
    EXPECT_EQ(Of(path), Endpoint::kChat) << path;
  }
  EXPECT_EQ(Of("/openai/v1/completions"), Endpoint::kCompletions);
  EXPECT_EQ(Of(std::string(50'000, '/') + "v1/completions"), Endpoint::kCompletions);
}

TEST(EndpointTest, LeavesTheRestAlone) {
  EXPECT_EQ(Endpoints().Find("GET", "/v1/chat/completions").endpoint, Endpoint::kNone);
  for (const char* path : {"",
                           "/",
                           "/v1/models",
                           "/v1/completionss",
                           "/v1/completion%7",
                           "%",
                           "%zz",
                           "?",
                           "/tokenize",
                           "/detokenize",
                           "/v1/messages/count_tokens",
                           "/v1/responses/resp_1/cancel",
                           "/health",
                           "/metrics",
                           "/v2/models/m/load",
                           "/v2/models/m",
                           "/v2/repository/models/m/load",
                           "/..",
                           "/../..",
                           "/inference.GRPCInferenceService/ModelReady",
                           "/x/messages",
                           "/x/generate",
                           "/x/completion"}) {
    EXPECT_EQ(Of(path), Endpoint::kNone) << path;
  }
  EXPECT_EQ(Of(std::string(1'000'000, '/')), Endpoint::kNone);
}

TEST(EndpointTest, TheModelMayBeInThePath) {
  const auto expect = [](std::string_view path, Endpoint endpoint, std::string_view model) {
    const Endpoints::Target target = Endpoints().Find("POST", path);
    EXPECT_EQ(target.endpoint, endpoint) << path;
    EXPECT_EQ(target.model, model) << path;
  };
  expect("/v2/models/llama/infer", Endpoint::kInfer, "llama");
  expect("/v2/models/llama/versions/3/infer", Endpoint::kInfer, "llama");
  expect("/kserve/v2/models/org%2Fllama/infer", Endpoint::kInfer, "org/llama");
  expect("/v2/models/llama/generate", Endpoint::kGenerateModel, "llama");
  expect("/v2/models/llama/versions/1/generate_stream", Endpoint::kGenerateModel, "llama");
  expect("/v2/models//infer", Endpoint::kNone, "");
  expect("/openai/deployments/gpt/chat/completions?api-version=1", Endpoint::kChat, "gpt");
  expect("/openai/deployments/gpt/completions", Endpoint::kCompletions, "gpt");
  expect("/openai/deployments/e5/embeddings", Endpoint::kEmbeddings, "e5");
  expect("/openai/deployments/e5/images", Endpoint::kNone, "");
}

TEST(EndpointTest, AnOperatorsPathsComeFirst) {
  const Endpoints endpoints({{"/my/chat", Endpoint::kChat},
                             {"/v1/audio/transcriptions", Endpoint::kNone},
                             {"*/say", Endpoint::kCompletions},
                             {"/v1/embeddings", Endpoint::kUnpriced}});
  EXPECT_EQ(endpoints.Find("POST", "/my//chat/").endpoint, Endpoint::kChat);
  EXPECT_EQ(endpoints.Find("GET", "/my/chat").endpoint, Endpoint::kNone);
  EXPECT_EQ(endpoints.Find("POST", "/v1/audio/transcriptions").endpoint, Endpoint::kNone);
  EXPECT_EQ(endpoints.Find("POST", "/a/b/say").endpoint, Endpoint::kCompletions);
  EXPECT_EQ(endpoints.Find("POST", "/v1/embeddings").endpoint, Endpoint::kUnpriced);
  EXPECT_EQ(endpoints.Find("POST", "/v1/completions").endpoint, Endpoint::kCompletions);
}

TEST(EndpointTest, ASocketThatGeneratesIsOpenedByGet) {
  EXPECT_EQ(Endpoints().Find("GET", "/v1/realtime?model=m").endpoint, Endpoint::kUnpriced);
}

}  // namespace
}  // namespace vramgate
