// What `vramgate estimate` was asked: its flags, read and checked.
//
// Confined to one thread; a Question owns all it needs.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "admission/cli/command.h"
#include "admission/estimator/deployment.h"
#include "admission/estimator/model_shape.h"

namespace vramgate {

// The flags as they were typed; "" is absent.
struct EstimateFlags {
  std::vector<std::string> models;
  std::string parameters, parameter_bytes, quantization_factor;
  std::string layers, heads, kv_heads, head_dim, hidden, intermediate, vocab;
  std::string kv_bytes_per_token, state_bytes, weights_bytes, activation_bytes;
  std::string engine, gpu, gpu_memory, gpu_memory_utilization, kv_pool;
  std::string dtype, kv_dtype, quantization, activation, overhead;
  std::string context, prompt_tokens, output_tokens, image_tokens, concurrency, max_model_len;
  std::string tensor_parallel, pipeline_parallel, block_tokens, max_batched_tokens, max_sequences;
  std::string speculative_tokens, draft_model, lora_rank, max_loras;
  bool expert_parallel = false;
  bool kv_unified = false;
  std::string format = "text";
};

// One model of the question.
struct Question {
  std::string name;  // the path, or "shape"
  ModelShape shape;
  DeploymentOptions options;
};

// What the command line fills `f` by, in help's order.
std::vector<Flag> FlagsOf(EstimateFlags& f);

// A question for each --model, or one by shape. INVALID_ARGUMENT begins with the flag.
absl::StatusOr<std::vector<Question>> ReadQuestions(const EstimateFlags& f);

}  // namespace vramgate
