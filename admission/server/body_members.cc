#include "admission/server/body_members.h"

#include <array>

#include "admission/check.h"

namespace vramgate {
namespace {

using enum BodyMember;
using Fields = BodyField[];

constexpr Fields kChatFields = {{"model", kModel},
                                {"messages", kText},
                                {"documents", kText},
                                {"tools", kOther},
                                {"chat_template", kUnbounded},
                                {"max_tokens", kOutputTokens},
                                {"max_completion_tokens", kOutputTokens},
                                {"n", kSequences},
                                {"best_of", kBestOf}};
constexpr Fields kChatBatchFields = {{"model", kModel},
                                     {"messages", kPrompts},
                                     {"chat_template", kUnbounded},
                                     {"max_tokens", kOutputTokens},
                                     {"max_completion_tokens", kOutputTokens},
                                     {"n", kSequences}};
constexpr Fields kCompletionsFields = {
    {"model", kModel}, {"prompt", kPrompts}, {"prompt_embeds", kPrompts},  {"suffix", kText},
    {"n", kSequences}, {"best_of", kBestOf}, {"max_tokens", kOutputTokens}};
constexpr Fields kResponsesFields = {{"model", kModel},
                                     {"input", kText},
                                     {"instructions", kText},
                                     {"tools", kTools},
                                     {"previous_response_id", kUnbounded},
                                     {"previous_input_messages", kText},
                                     {"conversation", kUnbounded},
                                     {"prompt", kUnbounded},
                                     {"background", kBackground},
                                     {"max_output_tokens", kOutputTokens}};
constexpr Fields kMessagesFields = {{"model", kModel},
                                    {"messages", kText},
                                    {"system", kText},
                                    {"tools", kTools},
                                    {"mcp_servers", kUnbounded},
                                    {"chat_template", kUnbounded},
                                    {"max_tokens", kOutputTokens}};
constexpr Fields kEmbeddingsFields = {{"model", kModel},      {"input", kPrompts},       {"inputs", kPrompts},
                                      {"texts", kPrompts},    {"prompt", kPrompts},      {"documents", kPrompts},
                                      {"text_2", kPrompts},   {"data_2", kPrompts},      {"items", kPrompts},
                                      {"data", kPrompts},     {"text", kPrompts},        {"input_ids", kPrompts},
                                      {"messages", kText},    {"query", kText},          {"text_1", kText},
                                      {"data_1", kText},      {"queries", kText},        {"chat_template", kUnbounded},
                                      {"images", kUnbounded}, {"image_data", kUnbounded}};
constexpr Fields kGenerateFields = {
    {"model", kModel},          {"text", kPrompts},         {"inputs", kPrompts},
    {"input_ids", kPrompts},    {"input_embeds", kText},    {"image_data", kUnbounded},
    {"audio_data", kUnbounded}, {"video_data", kUnbounded}, {"sampling_params", kParams},
    {"parameters", kParams}};
constexpr Fields kGenerateParams = {{"max_new_tokens", kOutputTokens}, {"n", kSequences}, {"best_of", kBestOf}};
constexpr Fields kTokensFields = {
    {"model", kModel}, {"token_ids", kPrompts}, {"features", kUnbounded}, {"sampling_params", kParams}};
constexpr Fields kOllamaFields = {{"model", kModel},  {"messages", kText},  {"prompt", kText},
                                  {"system", kText},  {"suffix", kText},    {"images", kUnbounded},
                                  {"context", kText}, {"options", kParams}, {"template", kUnbounded}};
constexpr Fields kLlamaCppFields = {
    {"model", kModel},      {"prompt", kPrompts},       {"input_prefix", kText},        {"input_suffix", kText},
    {"input_extra", kText}, {"n_predict", kEndless},    {"max_tokens", kEndless},       {"n", kSequences},
    {"n_cmpl", kSequences}, {"image_data", kUnbounded}, {"multimodal_data", kUnbounded}};
constexpr Fields kGenerateModelFields = {{"model_name", kOther},
                                         {"text_input", kPrompts},
                                         {"prompt", kPrompts},
                                         {"input_ids", kPrompts},
                                         {"image", kUnbounded},
                                         {"image_input", kUnbounded},
                                         {"image_bytes_input", kUnbounded},
                                         {"image_url_input", kUnbounded},
                                         {"video_bytes_input", kUnbounded},
                                         {"multi_modal_data", kUnbounded},
                                         {"max_tokens", kOutputTokens},
                                         {"max_new_tokens", kOutputTokens},
                                         {"request_output_len", kOutputTokens},
                                         {"beam_width", kBestOf},
                                         {"num_return_sequences", kSequences},
                                         {"n", kSequences},
                                         {"parameters", kParams},
                                         {"sampling_parameters", kParams}};
constexpr Fields kInferFields = {{"inputs", kTensors}, {"parameters", kParams}};

// vLLM's, in Triton too.
constexpr Fields kSamplingParams = {
    {"max_tokens", kOutputTokens}, {"n", kSequences}, {"best_of", kBestOf}, {"beam_width", kBestOf}};
constexpr Fields kOllamaOptions = {{"num_predict", kEndless}};

}  // namespace

BodyFields FieldsOf(Endpoint endpoint) {
  switch (endpoint) {
    case Endpoint::kChat:
      return {kChatFields, {}};
    case Endpoint::kChatBatch:
      return {kChatBatchFields, {}};
    case Endpoint::kCompletions:
      return {kCompletionsFields, {}};
    case Endpoint::kResponses:
      return {kResponsesFields, {}};
    case Endpoint::kMessages:
      return {kMessagesFields, {}};
    case Endpoint::kEmbeddings:
      return {kEmbeddingsFields, {}};
    case Endpoint::kGenerate:
      return {kGenerateFields, kGenerateParams};
    case Endpoint::kTokens:
      return {kTokensFields, kSamplingParams};
    case Endpoint::kOllama:
      return {kOllamaFields, kOllamaOptions};
    case Endpoint::kLlamaCpp:
      return {kLlamaCppFields, {}};
    case Endpoint::kGenerateModel:
      return {kGenerateModelFields, kSamplingParams};
    case Endpoint::kInfer:
    case Endpoint::kInferGrpc:
      return {kInferFields, kSamplingParams};
    case Endpoint::kNone:
    case Endpoint::kUnpriced:
      return {};
  }
  CHECK(false, "FieldsOf: no such endpoint");
}

}  // namespace vramgate
