#include "admission/server/endpoint.h"

#include <array>

#include "admission/check.h"

namespace vramgate {
namespace {

constexpr std::string_view kModels = "/v2/models/";
constexpr std::string_view kVersions = "/versions/";
constexpr std::string_view kDeployments = "/deployments/";

struct Known {
  std::string_view path;
  Endpoint endpoint;
  bool prefixed;  // whatever comes before it
};
constexpr std::array<Known, 43> kKnown = {{
    {"/chat/completions", Endpoint::kChat, true},
    {"/chat/completions/batch", Endpoint::kChatBatch, true},
    {"/cohere/v2/chat", Endpoint::kChat, true},
    {"/v1/completions", Endpoint::kCompletions, true},
    {"/completions", Endpoint::kCompletions, false},
    {"/v1/responses", Endpoint::kResponses, true},
    {"/responses", Endpoint::kResponses, false},
    {"/v1/messages", Endpoint::kMessages, true},
    {"/v1/embeddings", Endpoint::kEmbeddings, true},
    {"/embeddings", Endpoint::kEmbeddings, false},
    {"/v2/embed", Endpoint::kEmbeddings, true},
    {"/embed", Endpoint::kEmbeddings, false},
    {"/embedding", Endpoint::kEmbeddings, false},
    {"/pooling", Endpoint::kEmbeddings, false},
    {"/encode", Endpoint::kEmbeddings, false},
    {"/v1/classify", Endpoint::kEmbeddings, true},
    {"/classify", Endpoint::kEmbeddings, false},
    {"/v1/score", Endpoint::kEmbeddings, true},
    {"/score", Endpoint::kEmbeddings, false},
    {"/v1/rerank", Endpoint::kEmbeddings, true},
    {"/v2/rerank", Endpoint::kEmbeddings, true},
    {"/rerank", Endpoint::kEmbeddings, false},
    {"/inference/v1/generate", Endpoint::kTokens, true},
    {"/generate", Endpoint::kGenerate, false},
    {"/generate_stream", Endpoint::kGenerate, false},
    {"/api/chat", Endpoint::kOllama, false},
    {"/api/generate", Endpoint::kOllama, false},
    {"/api/embed", Endpoint::kEmbeddings, false},
    {"/api/embeddings", Endpoint::kEmbeddings, false},
    {"/completion", Endpoint::kLlamaCpp, false},
    {"/infill", Endpoint::kLlamaCpp, false},
    {"/inference.GRPCInferenceService/ModelInfer", Endpoint::kInferGrpc, true},
    // One HTTP request carries many of the engine's, and may never end.
    {"/inference.GRPCInferenceService/ModelStreamInfer", Endpoint::kUnpriced, true},
    {"/v1/realtime", Endpoint::kUnpriced, true},
    // The length of a sound says little of its tokens.
    {"/v1/audio/transcriptions", Endpoint::kUnpriced, true},
    {"/v1/audio/translations", Endpoint::kUnpriced, true},
    // What they are stands in the body, in an engine's own way.
    {"/invocations", Endpoint::kUnpriced, false},
    {"/vertex_generate", Endpoint::kUnpriced, false},
    {"/generative_scoring", Endpoint::kUnpriced, false},
    {"/v1/systemone", Endpoint::kUnpriced, false},
    {"/v1/decisions", Endpoint::kUnpriced, false},
    {"/vllm.grpc.engine.VllmEngine/Generate", Endpoint::kUnpriced, true},
    {"/sglang.grpc.scheduler.SglangScheduler/Generate", Endpoint::kUnpriced, true},
}};

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

std::string Decoded(std::string_view path) {
  std::string plain;
  plain.reserve(path.size());
  for (size_t i = 0; i < path.size(); ++i) {
    const int high = path[i] == '%' && i + 2 < path.size() ? HexDigit(path[i + 1]) : -1;
    const int low = high >= 0 ? HexDigit(path[i + 2]) : -1;
    plain += low >= 0 ? static_cast<char>(high * 16 + low) : path[i];
    i += low >= 0 ? 2 : 0;
  }
  return plain;
}

// "/v1//chat/./completions/" -> "/v1/chat/completions"; "" for the root.
std::string Resolved(std::string_view path) {
  std::string out;
  while (!path.empty()) {
    const size_t slash = path.find('/');
    const std::string_view segment = path.substr(0, slash);
    if (segment == "..") {
      out.resize(out.empty() ? 0 : out.rfind('/'));
    } else if (!segment.empty() && segment != ".") {
      out += '/';
      out += segment;
    }
    path.remove_prefix(slash == std::string_view::npos ? path.size() : slash + 1);
  }
  return out;
}

bool TakeSuffix(std::string_view suffix, std::string_view* path) {
  if (!path->ends_with(suffix)) return false;
  path->remove_suffix(suffix.size());
  return true;
}

// .../v2/models/{model}[/versions/{version}]/{verb}
Endpoints::Target OfModel(std::string_view path) {
  const size_t at = path.find(kModels);
  if (at == std::string_view::npos) return {};
  path.remove_prefix(at + kModels.size());
  Endpoint endpoint = Endpoint::kNone;
  if (TakeSuffix("/infer", &path)) endpoint = Endpoint::kInfer;
  if (TakeSuffix("/generate", &path) || TakeSuffix("/generate_stream", &path)) endpoint = Endpoint::kGenerateModel;
  if (endpoint == Endpoint::kNone) return {};
  const size_t versions = path.rfind(kVersions);
  if (versions != std::string_view::npos && path.find('/', versions + kVersions.size()) == std::string_view::npos) {
    path = path.substr(0, versions);
  }
  return {endpoint, std::string(path)};
}

// .../deployments/{model}/{verb}, where the model's name has no slash.
Endpoints::Target OfDeployment(std::string_view path) {
  const size_t at = path.find(kDeployments);
  if (at == std::string_view::npos) return {};
  path.remove_prefix(at + kDeployments.size());
  const size_t slash = path.find('/');
  if (slash == std::string_view::npos) return {};
  const std::string_view verb = path.substr(slash);
  const std::string model(path.substr(0, slash));
  if (verb == "/chat/completions") return {Endpoint::kChat, model};
  if (verb == "/completions") return {Endpoint::kCompletions, model};
  if (verb == "/embeddings") return {Endpoint::kEmbeddings, model};
  return {};
}

}  // namespace

Endpoints::Target Endpoints::Find(std::string_view method, std::string_view path) const {
  const std::string plain = Resolved(Decoded(path.substr(0, path.find_first_of("?#"))));
  // A websocket is opened by GET, or by CONNECT over HTTP/2.
  const bool socket = plain.ends_with("/v1/realtime");
  if (method != "POST" && !socket) return {};
  for (const Path& own : paths_) {
    const bool matches = own.path.starts_with('*') ? plain.ends_with(own.path.substr(1)) : plain == own.path;
    if (matches) return {own.endpoint, ""};
  }
  if (Target target = OfModel(plain); target.endpoint != Endpoint::kNone) return target;
  if (Target target = OfDeployment(plain); target.endpoint != Endpoint::kNone) return target;
  for (const Known& known : kKnown) {
    if (known.prefixed ? plain.ends_with(known.path) : plain == known.path) return {known.endpoint, ""};
  }
  return {};
}

std::string_view EndpointName(Endpoint endpoint) {
  switch (endpoint) {
    case Endpoint::kNone:
      return "none";
    case Endpoint::kChat:
      return "chat";
    case Endpoint::kChatBatch:
      return "chat_batch";
    case Endpoint::kCompletions:
      return "completions";
    case Endpoint::kResponses:
      return "responses";
    case Endpoint::kMessages:
      return "messages";
    case Endpoint::kEmbeddings:
      return "embeddings";
    case Endpoint::kGenerate:
      return "generate";
    case Endpoint::kTokens:
      return "tokens";
    case Endpoint::kOllama:
      return "ollama";
    case Endpoint::kLlamaCpp:
      return "llama_cpp";
    case Endpoint::kInfer:
      return "infer";
    case Endpoint::kGenerateModel:
      return "generate_model";
    case Endpoint::kInferGrpc:
      return "infer_grpc";
    case Endpoint::kUnpriced:
      return "unpriced";
  }
  CHECK(false, "EndpointName: no such endpoint");
}

}  // namespace vramgate
