// What an OpenAI request says of its own size: the body of /v1/chat/completions and /v1/completions, read as a stream
// of JSON tokens. Nothing of it is kept but the model's name and a few counts.
//
//   if (!IsGeneration(method, path)) return PassOn();
//   ChatBody body;
//   if (std::optional<Refusal> refusal = ReadChatBody(bytes, &body)) return Refuse(*refusal);   // 400
//
// Used by the ext_proc service. Hostile input: depth is bounded, the size is what the listener lets through, and a
// member given twice is refused, since the engine might read the other one. Pure; any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "admission/server/refusal.h"

namespace vramgate {

struct ChatBody {
  std::string model;  // "": absent
  // Bounds the prompt's tokens of one sequence: every string of the body counts, its keys too, and each bracket and
  // number as a byte. What a chat template sets around a message is shorter than the JSON around it. With an image,
  // sound or file in it: as long as the model allows, since no byte count bounds those.
  int64_t prompt_bytes = 0;
  std::optional<int64_t> max_output_tokens;  // max_completion_tokens, max_tokens: the larger, where both are given
  int32_t sequences = 1;                     // prompts in a list, times n or best_of
};

// nullopt: *out is filled in. Else what is wrong, with the member's name; *out is then half-filled.
[[nodiscard]] std::optional<Refusal> ReadChatBody(std::string_view json, ChatBody* out);

// Whether a request makes the engine generate, and so must be admitted. `path` as sent: a query is ignored,
// percent-encoding undone, since engines do the same before they choose a handler.
bool IsGeneration(std::string_view method, std::string_view path);

}  // namespace vramgate
