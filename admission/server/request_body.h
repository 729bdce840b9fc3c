// What a request says of its own size: the body of every endpoint that endpoint.h knows. JSON is read as a stream of
// tokens, a gRPC message in place; nothing of it is kept but the model's name and a few counts.
//
//   RequestBody body;
//   if (std::optional<Refusal> refusal = ReadRequestBody(Endpoint::kChat, {.bytes = bytes}, &body)) {
//     return Refuse(*refusal);   // 400: the member's name, what is wrong, the way out
//   }
//
// Used by the ext_proc service. Hostile input: depth is bounded, the size is what the listener lets through, and a
// member given twice is refused, since the engine might read the other one. What an endpoint does not read, however it
// is called, does not lower the count. Pure; any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "admission/server/endpoint.h"
#include "admission/server/refusal.h"

namespace vramgate {

// No byte count bounds the prompt: more than any model's length.
inline constexpr int64_t kUnboundedPromptBytes = int64_t{1} << 40;
// The most that a count may be.
inline constexpr int64_t kMostCount = int64_t{1} << 40;
inline constexpr size_t kMostModelBytes = 1024;  // longer than limits.request_id_bytes may be

struct RequestBody {
  std::string model;  // "": absent
  // Bounds the prompt's tokens of one sequence: every string of the body counts, its keys too, and each bracket and
  // number as a byte. What a chat template sets around a message is shorter than the JSON around it. With an image,
  // sound or file in it, a template of its own, or a conversation that the engine keeps: kUnboundedPromptBytes.
  int64_t prompt_bytes = 0;
  // Of one sequence, the longest: where all prompts are token ids.
  std::optional<int64_t> prompt_tokens;
  // The largest of all limits that the endpoint reads. Where the prompt alone is read (embeddings) 1, and prompt_tokens
  // is one less: together they are the prompt.
  std::optional<int64_t> max_output_tokens;
  int32_t prompts = 1;    // in a list
  int32_t sequences = 1;  // prompts, times n or best_of
};

struct BodyText {
  std::string_view bytes;
  // KServe's binary extension (header Inference-Header-Content-Length): so many bytes are JSON, the rest are tensors.
  std::optional<int64_t> json_bytes;
};

// nullopt: *out is filled in. Else what is wrong; *out is then half-filled. REQUIRES: not kNone, not kUnpriced.
[[nodiscard]] std::optional<Refusal> ReadRequestBody(Endpoint endpoint, const BodyText& text, RequestBody* out);

// prompts x each, as far as it can be said.
int32_t Sequences(int64_t prompts, int64_t each);

}  // namespace vramgate
