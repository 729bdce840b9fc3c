#include "admission/cli/estimate_question.h"

#include <limits>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "admission/cli/flag_reader.h"
#include "admission/estimator/engine_profile.h"
#include "admission/estimator/gpu_card.h"
#include "admission/estimator/model.h"
#include "admission/estimator/plain_shape.h"
#include "admission/units.h"

namespace vramgate {
namespace {

constexpr int64_t kMaxTokens = std::numeric_limits<int64_t>::max() / 4;
constexpr int64_t kMaxStep = int64_t{1} << 30;

std::string Message(const absl::Status& status) {
  return std::string(status.message());
}

absl::StatusOr<ModelShape> ReadPlain(const EstimateFlags& f, FlagReader& read) {
  PlainShape plain{
      .parameters = read.Count("--parameters", f.parameters, kMaxParameters),
      .parameter_bytes = read.Number("--parameter-bytes", f.parameter_bytes, 0.001, 1000),
      .quantization_factor = read.Number("--quantization-factor", f.quantization_factor, 0.001, 1000),
      .layers = read.Count("--layers", f.layers, kMaxLayers).value_or(0),
      .heads = read.Count("--heads", f.heads, kMaxWidth).value_or(0),
      .kv_heads = read.Count("--kv-heads", f.kv_heads, kMaxWidth),
      .head_dim = read.Count("--head-dim", f.head_dim, kMaxWidth),
      .hidden = read.Count("--hidden", f.hidden, kMaxWidth).value_or(0),
      .intermediate = read.Count("--intermediate", f.intermediate, kMaxWidth).value_or(0),
      .vocab = read.Count("--vocab", f.vocab, kMaxVocab).value_or(0),
      .kv_bytes_per_token = read.Size("--kv-bytes-per-token", f.kv_bytes_per_token, kMaxParameters),
      .state_bytes = read.Size("--state-bytes", f.state_bytes, kMaxParameters),
      .weights_bytes = read.Size("--weights-bytes", f.weights_bytes, kMaxParameters),
      .activation_bytes = read.Size("--activation-bytes", f.activation_bytes, kMaxParameters),
  };
  if (!read.status().ok()) return read.status();
  return ShapeOf(plain);
}

absl::StatusOr<ModelShape> ReadNamed(const std::string& path, const EstimateFlags& f, FlagReader& read) {
  for (const auto& [flag, text] : {std::pair{"--layers", &f.layers},
                                   {"--heads", &f.heads},
                                   {"--kv-heads", &f.kv_heads},
                                   {"--head-dim", &f.head_dim},
                                   {"--hidden", &f.hidden},
                                   {"--intermediate", &f.intermediate},
                                   {"--vocab", &f.vocab}}) {
    if (!text->empty()) {
      read.Fail(flag, absl::StrCat(*text, " cannot go with --model, whose config says it: leave one out"));
    }
  }
  ModelOverrides overrides = {
      .kv_bytes_per_token = read.Size("--kv-bytes-per-token", f.kv_bytes_per_token, kMaxParameters),
      .state_bytes = read.Size("--state-bytes", f.state_bytes, kMaxParameters),
      .weights_bytes = read.Size("--weights-bytes", f.weights_bytes, kMaxParameters),
      .parameters = read.Count("--parameters", f.parameters, kMaxParameters),
      .activation_bytes = read.Size("--activation-bytes", f.activation_bytes, kMaxParameters),
  };
  if (!f.quantization.empty() && f.quantization != "none" && f.quantization != "None" && f.quantization != "auto") {
    overrides.quantization = f.quantization;
  }
  if (!read.status().ok()) return read.status();
  absl::StatusOr<ModelShape> shape = ReadModel(path, overrides);
  if (!shape.ok()) return shape.status();
  shape->parameter_bytes = read.Number("--parameter-bytes", f.parameter_bytes, 0.001, 1000);
  shape->quantization_factor = read.Number("--quantization-factor", f.quantization_factor, 0.001, 1000);
  if ((shape->parameter_bytes || shape->quantization_factor) && !shape->parameters) {
    read.Fail("--parameters", "missing: --parameter-bytes and --quantization-factor multiply it");
  }
  return shape;
}

// A draft model of its own (EAGLE, a small sibling): its layers keep KV beside the model's, its ends are weights.
absl::Status AddDraft(const std::string& path, ModelShape& shape) {
  const absl::StatusOr<ModelShape> draft = ReadModel(path);
  if (!draft.ok()) return draft.status();
  if (!draft->counted)
    return absl::InvalidArgumentError(absl::StrCat("--draft-model: ", path, ": its weights are not counted"));
  shape.drafts.clear();
  for (const uint16_t kind : draft->stack) shape.drafts.push_back(draft->kinds[kind]);
  Layer ends;
  for (const std::vector<Matrix>* matrices : {&draft->first, &draft->last, &draft->every}) {
    ends.matrices.insert(ends.matrices.end(), matrices->begin(), matrices->end());
  }
  shape.drafts.push_back(std::move(ends));
  for (Layer& layer : shape.drafts) {
    for (Matrix& m : layer.matrices) m.format = 0;  // formats are counted by each model for itself
  }
  return absl::OkStatus();
}

// By shape one type serves all; by model, KV stays at 16 bits beside 8-bit weights, as engines keep it unless told.
void ReadTypes(const EstimateFlags& f, FlagReader& read, bool by_shape, Question& q) {
  CostOptions& cost = q.options.cost;
  const DType by_default = by_shape ? DType::kFp16 : q.shape.dtype.value_or(DType::kBf16);
  cost.weights_dtype = by_default;
  if (!f.dtype.empty() && f.dtype != "auto") {
    cost.weights_dtype = read.Type("--dtype", f.dtype).value_or(by_default);
    if (!IsPlain(cost.weights_dtype)) read.Fail("--dtype", absl::StrCat(f.dtype, " is a type of KV caches only"));
  }
  const bool wide = !IsPlain(cost.weights_dtype) || DTypeBytes(cost.weights_dtype) > 1;
  cost.kv_dtype = by_shape || wide ? cost.weights_dtype : DType::kBf16;
  if (!f.kv_dtype.empty() && f.kv_dtype != "auto") {
    cost.kv_dtype = read.Type("--kv-dtype", f.kv_dtype).value_or(cost.kv_dtype);
  }
}

void ReadDevice(const EstimateFlags& f, FlagReader& read, DeploymentOptions& o) {
  if (!f.gpu.empty() && !f.gpu_memory.empty()) {
    read.Fail("--gpu", "names the card, and --gpu-memory its size: leave one out");
  }
  if (!f.gpu.empty()) {
    const absl::StatusOr<GpuCard> card = FindGpuCard(f.gpu);
    if (card.ok()) {
      o.device_bytes = card->bytes;
    } else {
      read.Fail("--gpu", Message(card.status()));
    }
  }
  if (!f.gpu_memory.empty()) o.device_bytes = read.Size("--gpu-memory", f.gpu_memory, kMaxParameters);
  o.utilization = read.Number("--gpu-memory-utilization", f.gpu_memory_utilization, 0.01, 1);
  o.kv_pool_bytes = read.Size("--kv-pool", f.kv_pool, kMaxParameters);
}

void ReadRun(const EstimateFlags& f, FlagReader& read, bool by_shape, DeploymentOptions& o) {
  CostOptions& cost = o.cost;
  const bool known_engine = !f.engine.empty() && f.engine != "generic";
  if (!f.engine.empty()) {
    absl::StatusOr<EngineProfile> profile = FindEngineProfile(f.engine);
    if (profile.ok()) {
      cost.profile = *std::move(profile);
    } else {
      read.Fail("--engine", Message(profile.status()));
    }
  }
  cost.overhead_ratio = read.Number("--overhead", f.overhead, 0, 10);
  if (f.activation != "resident" && f.activation != "batched" && !f.activation.empty()) {
    read.Fail("--activation", absl::StrCat("\"", f.activation, "\" must be resident or batched"));
  }
  const bool batched = f.activation.empty() ? known_engine : f.activation == "batched";
  cost.activation = batched ? ActivationMode::kBatched : ActivationMode::kResident;
  cost.tensor_parallel = static_cast<int>(read.Count("--tp", f.tensor_parallel, 1024).value_or(1));
  cost.pipeline_parallel = static_cast<int>(read.Count("--pp", f.pipeline_parallel, 1024).value_or(1));
  cost.expert_parallel = f.expert_parallel;
  cost.block_tokens = read.Count("--block-tokens", f.block_tokens, 1 << 20).value_or(by_shape && !known_engine ? 1 : 0);
  const EngineProfile::Step& step = cost.profile.StepFor(o.device_bytes.value_or(kMaxParameters));
  cost.max_batched_tokens =
      read.Count("--max-num-batched-tokens", f.max_batched_tokens, kMaxStep).value_or(step.max_batched_tokens);
  cost.max_sequences = read.Count("--max-num-seqs", f.max_sequences, kMaxStep).value_or(step.max_sequences);
  cost.speculative_tokens = read.Count("--speculative-tokens", f.speculative_tokens, 1024, 0).value_or(0);
  cost.lora_rank = read.Count("--lora-rank", f.lora_rank, 65536, 0).value_or(0);
  cost.max_loras = read.Count("--max-loras", f.max_loras, 65536).value_or(1);
  o.unified = f.kv_unified;
}

void ReadLoad(const EstimateFlags& f, FlagReader& read, Question& q) {
  const std::optional<int64_t> context = read.Count("--context", f.context, kMaxTokens);
  const std::optional<int64_t> prompt = read.Count("--prompt-tokens", f.prompt_tokens, kMaxTokens, 0);
  const std::optional<int64_t> output = read.Count("--output-tokens", f.output_tokens, kMaxTokens, 0);
  const int64_t images = read.Count("--image-tokens", f.image_tokens, kMaxTokens, 0).value_or(0);
  const std::optional<int64_t> longest = read.Count("--max-model-len", f.max_model_len, kMaxStep);
  DeploymentOptions& o = q.options;
  o.max_model_len = longest.value_or(q.shape.max_positions);
  if (context && (prompt || output)) {
    read.Fail("--context",
              absl::StrCat(*context, " is prompt and output together: leave out --prompt-tokens and --output-tokens"));
  }
  o.load.prompt_tokens = context ? *context : prompt.value_or(0);
  o.load.output_tokens = output.value_or(0);
  if (!context && !prompt && !output) {
    if (o.max_model_len == 0) {
      read.Fail("--context", "missing: how many tokens (prompt and output) does a request have?");
    }
    o.load.prompt_tokens = o.max_model_len;
  }
  o.load.prompt_tokens += images;
  if (o.max_model_len == 0) o.max_model_len = std::min(o.load.prompt_tokens + o.load.output_tokens, kMaxStep);
  o.load.concurrency = read.Count("--concurrency", f.concurrency, kMaxTokens).value_or(1);
}

absl::StatusOr<Question> ReadQuestion(const EstimateFlags& f, const std::string& model) {
  FlagReader read;
  Question q{.name = model.empty() ? "shape" : model};
  const bool by_shape = model.empty();
  absl::StatusOr<ModelShape> shape = by_shape ? ReadPlain(f, read) : ReadNamed(model, f, read);
  if (!read.status().ok()) return read.status();
  if (!shape.ok()) return shape.status();
  q.shape = *std::move(shape);
  if (!f.draft_model.empty()) {
    if (f.speculative_tokens.empty())
      read.Fail("--speculative-tokens", "missing: how many tokens does the draft run ahead?");
    if (absl::Status s = AddDraft(f.draft_model, q.shape); !s.ok()) return s;
  }
  ReadTypes(f, read, by_shape, q);
  ReadDevice(f, read, q.options);
  ReadRun(f, read, by_shape, q.options);
  ReadLoad(f, read, q);
  if (f.format != "text" && f.format != "json") {
    read.Fail("--format", absl::StrCat("\"", f.format, "\" must be text or json"));
  }
  if (!read.status().ok()) return read.status();
  return q;
}

}  // namespace

absl::StatusOr<std::vector<Question>> ReadQuestions(const EstimateFlags& f) {
  std::vector<Question> questions;
  if (f.models.empty() && f.parameters.empty() && f.weights_bytes.empty()) {
    return absl::InvalidArgumentError(
        "--model: missing: give a model's directory, its config.json or a .gguf file, or its shape beginning with "
        "--parameters");
  }
  const std::vector<std::string> by_shape = {""};
  for (const std::string& model : f.models.empty() ? by_shape : f.models) {
    absl::StatusOr<Question> question = ReadQuestion(f, model);
    if (!question.ok()) return question.status();
    questions.push_back(*std::move(question));
  }
  return questions;
}

std::vector<Flag> FlagsOf(EstimateFlags& f) {
  constexpr char kShape[] = "By shape";
  constexpr char kLoad[] = "What is asked of it";
  constexpr char kCard[] = "On which card";
  constexpr char kRun[] = "How it runs";
  constexpr char kHand[] = "Known better than from the config";
  return {
      {"--model", &f.models, "PATH", "a model's directory, its config.json, or a .gguf; again for several on one card",
       "By model"},
      {"--parameters", &f.parameters, "N", "parameters, such as 72e9", kShape},
      {"--parameter-bytes", &f.parameter_bytes, "N", "bytes of an original parameter (default: those of --dtype)",
       kShape},
      {"--quantization-factor", &f.quantization_factor, "N",
       "originals are stored this many times smaller (default: 1)", kShape},
      {"--layers", &f.layers, "N", "layers", kShape},
      {"--heads", &f.heads, "N", "query heads", kShape},
      {"--kv-heads", &f.kv_heads, "N", "key and value heads (default: --heads)", kShape},
      {"--head-dim", &f.head_dim, "N", "elements of a head (default: hidden / heads)", kShape},
      {"--hidden", &f.hidden, "N", "elements of the hidden state", kShape},
      {"--intermediate", &f.intermediate, "N", "elements inside of the MLP; for batched activation", kShape},
      {"--vocab", &f.vocab, "N", "words of the vocabulary; for batched activation", kShape},
      {"--kv-bytes-per-token", &f.kv_bytes_per_token, "SIZE", "KV of one token on one device", kHand},
      {"--state-bytes", &f.state_bytes, "SIZE", "state of one sequence on one device", kHand},
      {"--weights-bytes", &f.weights_bytes, "SIZE", "weights, all devices together", kHand},
      {"--activation-bytes", &f.activation_bytes, "SIZE", "batched activation peak on one device", kHand},
      {"--kv-pool", &f.kv_pool, "SIZE", "the engine's KV pool on one device, when it is known", kHand},
      {"--gpu", &f.gpu, "NAME", "a card, such as H100-80GB: its usable bytes are known", kCard},
      {"--gpu-memory", &f.gpu_memory, "SIZE", "the card's usable bytes, such as 79.19GiB", kCard},
      {"--gpu-memory-utilization", &f.gpu_memory_utilization, "RATIO",
       "the engine's share of the card (default: the engine's own)", kCard},
      {"--context", &f.context, "N", "tokens of a request, prompt and output (default: the longest)", kLoad},
      {"--prompt-tokens", &f.prompt_tokens, "N", "instead of --context", kLoad},
      {"--output-tokens", &f.output_tokens, "N", "instead of --context", kLoad},
      {"--image-tokens", &f.image_tokens, "N", "tokens of images and sound beside the prompt's", kLoad},
      {"--concurrency", &f.concurrency, "N", "requests at once (default: 1)", kLoad},
      {"--engine", &f.engine, "PROFILE", "an engine profile, such as vllm-0.19, or the path of one (default: generic)",
       kRun},
      {"--dtype", &f.dtype, "TYPE", "fp32, bf16, fp16, fp8, int8 (default: the checkpoint's; by shape fp16)", kRun},
      {"--quantization", &f.quantization, "METHOD",
       "what the engine makes of 16-bit weights: fp8, int8, gptq, awq, mxfp4, nvfp4 (default: as the checkpoint is)",
       kRun},
      {"--kv-dtype", &f.kv_dtype, "TYPE", "of the KV cache (default: --dtype; by model bf16 beside 8-bit weights)",
       kRun},
      {"--activation", &f.activation, "MODE",
       "batched: an engine's peak, once (default with --engine); resident: all layers, per request (default)", kRun},
      {"--overhead", &f.overhead, "RATIO",
       "contexts, graphs, workspaces, as a share of the weights (default: what the engine's profile measured, or 0.15)",
       kRun},
      {"--tp,--tensor-parallel", &f.tensor_parallel, "N", "devices that share each layer; bytes are of one of them",
       kRun},
      {"--pp,--pipeline-parallel", &f.pipeline_parallel, "N", "stages of layers", kRun},
      {"--max-model-len", &f.max_model_len, "N", "the engine's longest request (default: the model's)", kRun},
      {"--block-tokens", &f.block_tokens, "N",
       "KV comes in blocks of so many tokens (default: the engine's; by shape 1)", kRun},
      {"--max-num-batched-tokens", &f.max_batched_tokens, "N", "tokens of one step (default: the engine's)", kRun},
      {"--max-num-seqs", &f.max_sequences, "N", "sequences of one step, or slots (default: the engine's)", kRun},
      {"--speculative-tokens", &f.speculative_tokens, "N", "drafts in flight: loads the model's draft layers", kRun},
      {"--draft-model", &f.draft_model, "PATH", "a draft model of its own, such as an EAGLE head", kRun},
      {"--lora-rank", &f.lora_rank, "N", "room for adapters of this rank", kRun},
      {"--max-loras", &f.max_loras, "N", "how many adapters (default: 1)", kRun},
      {"--format", &f.format, "FORMAT", "text or json (default: text)", "Output"},
      {"--enable-expert-parallel", &f.expert_parallel, "", "whole experts are dealt out to the devices", kRun},
      {"--kv-unified", &f.kv_unified, "", "one cache for all slots (llama.cpp)", kRun},
  };
}

}  // namespace vramgate
