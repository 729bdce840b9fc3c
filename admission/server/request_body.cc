#include "admission/server/request_body.h"

#include <limits>

#include "absl/strings/str_cat.h"
#include "admission/check.h"
#include "admission/server/infer_body.h"
#include "admission/server/json_body.h"

namespace vramgate {
namespace {

std::optional<Refusal> ReadInfer(const BodyText& text, RequestBody* out) {
  if (!text.json_bytes) return ReadInferJson(text.bytes, "", out);
  if (*text.json_bytes < 0 || *text.json_bytes > std::ssize(text.bytes)) {
    return Refusal{Outcome::kRejectedInvalidRequest, "inference-header-content-length",
                   absl::StrCat(*text.json_bytes, ": the body has ", text.bytes.size(), " bytes")};
  }
  const auto size = static_cast<size_t>(*text.json_bytes);
  return ReadInferJson(text.bytes.substr(0, size), text.bytes.substr(size), out);
}

}  // namespace

int32_t Sequences(int64_t prompts, int64_t each) {
  constexpr int64_t kMost = std::numeric_limits<int32_t>::max();
  return static_cast<int32_t>(prompts > kMost || each > kMost / prompts ? kMost : each * prompts);
}

std::optional<Refusal> ReadRequestBody(Endpoint endpoint, const BodyText& text, RequestBody* out) {
  *out = RequestBody();
  switch (endpoint) {
    case Endpoint::kChat:
    case Endpoint::kChatBatch:
    case Endpoint::kCompletions:
    case Endpoint::kResponses:
    case Endpoint::kMessages:
    case Endpoint::kEmbeddings:
    case Endpoint::kGenerate:
    case Endpoint::kTokens:
    case Endpoint::kOllama:
    case Endpoint::kLlamaCpp:
    case Endpoint::kGenerateModel:
      return ReadJsonBody(endpoint, text.bytes, out);
    case Endpoint::kInfer:
      return ReadInfer(text, out);
    case Endpoint::kInferGrpc:
      return ReadInferMessage(text.bytes, out);
    case Endpoint::kNone:
    case Endpoint::kUnpriced:
      break;
  }
  CHECK(false, "ReadRequestBody: an endpoint whose bodies are not read");
}

}  // namespace vramgate
