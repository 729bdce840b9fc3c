// Which HTTP requests make an engine work on a prompt, and so must be admitted: by method and path, as OpenAI-shaped
// servers, vLLM, SGLang, Triton, KServe, Ollama and llama.cpp route them.
//
//   const Endpoints endpoints({{"/my/chat", Endpoint::kChat}});
//   const Endpoints::Target target = endpoints.Find("POST", "/v2/models/llama/infer");   // kInfer, model "llama"
//
// A path is read the most generous way that any engine or proxy behind the gate might: its query is ignored, percent-
// encoding undone, `//`, `/.`, `/..` and a trailing `/` resolved, and what stands before a known path is a prefix that
// a gateway takes away. What is held for an answer of 404 costs a moment; what slips through is never accounted.
//
// Used by the ext_proc service. Immutable: any thread. No lifetime rule.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace vramgate {

// How a request's body is read.
enum class Endpoint : uint8_t {
  kNone,           // not for the gate: passes
  kChat,           // OpenAI chat/completions, Cohere chat
  kChatBatch,      // vLLM's chat/completions/batch: a list of conversations
  kCompletions,    // OpenAI completions
  kResponses,      // OpenAI responses
  kMessages,       // Anthropic messages
  kEmbeddings,     // embeddings, pooling, classes, scores, ranks: the prompt alone
  kGenerate,       // SGLang's and TGI's generate
  kTokens,         // vLLM's inference/v1/generate
  kOllama,         // Ollama's chat and generate
  kLlamaCpp,       // llama.cpp's completion and infill
  kInfer,          // KServe v2 infer
  kGenerateModel,  // Triton's generate and generate_stream
  kInferGrpc,      // ModelInfer: a gRPC message
  kUnpriced,       // generates, but its body does not tell how much, or tells it too late: refused
};

class Endpoints {
 public:
  // A path of the operator's, and how it is read. "*/x" is every path that ends in "/x".
  struct Path {
    std::string path;
    Endpoint endpoint = Endpoint::kNone;
  };
  struct Target {
    Endpoint endpoint = Endpoint::kNone;
    std::string model;  // as the path names it; "": it does not
  };

  Endpoints() = default;
  // These come before the known ones.
  explicit Endpoints(std::vector<Path> paths) : paths_(std::move(paths)) {}

  Target Find(std::string_view method, std::string_view path) const;

 private:
  std::vector<Path> paths_;
};

inline constexpr size_t kEndpoints = 15;

// "chat", "completions", ...: of the configured name and metric label.
std::string_view EndpointName(Endpoint endpoint);

}  // namespace vramgate
