// Bodies of requests, of every endpoint. The first byte chooses it, the second how much of an inference request is
// JSON. What is read is in range, a refusal says why, and exact counts are within the bound by bytes.
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "admission/check.h"
#include "admission/server/request_body.h"

namespace {

using vramgate::Endpoint;

constexpr std::array kEndpoints = {
    Endpoint::kChat,       Endpoint::kChatBatch,     Endpoint::kCompletions, Endpoint::kResponses, Endpoint::kMessages,
    Endpoint::kEmbeddings, Endpoint::kGenerate,      Endpoint::kTokens,      Endpoint::kOllama,    Endpoint::kLlamaCpp,
    Endpoint::kInfer,      Endpoint::kGenerateModel, Endpoint::kInferGrpc};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  const Endpoint endpoint = kEndpoints[data[0] % kEndpoints.size()];
  vramgate::BodyText text = {.bytes = {reinterpret_cast<const char*>(data) + 2, size - 2}};
  if (endpoint == Endpoint::kInfer && data[1] != ' ') text.json_bytes = static_cast<int64_t>(size) - 2 - data[1] % 64;
  std::string framed;
  if (endpoint == Endpoint::kInferGrpc && data[1] == ' ') {
    const size_t bytes = text.bytes.size();
    framed.push_back('\0');
    for (int shift = 24; shift >= 0; shift -= 8) framed.push_back(static_cast<char>(bytes >> shift & 0xff));
    framed += text.bytes;
    text.bytes = framed;
  }
  vramgate::RequestBody body;
  if (const auto refusal = vramgate::ReadRequestBody(endpoint, text, &body)) {
    CHECK(!refusal->message.empty(), "a refusal without words");
    return 0;
  }
  CHECK(body.model.size() <= vramgate::kMostModelBytes, "a long name");
  CHECK(body.prompt_bytes >= 1 && body.prompt_bytes <= 2 * vramgate::kMostCount, "a negative or unreal prompt");
  CHECK(body.sequences >= 1 && body.prompts >= 1 && body.prompts <= body.sequences, "no sequence at all");
  CHECK(body.prompt_tokens.value_or(1) >= 1, "a prompt without tokens");
  CHECK(body.prompt_tokens.value_or(1) <= body.prompt_bytes, "more tokens than bytes");
  const int64_t output = body.max_output_tokens.value_or(1);
  CHECK(output >= 1 && output <= vramgate::kMostCount, "a negative or unreal limit");
  return 0;
}
