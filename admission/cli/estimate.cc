#include "admission/cli/estimate.h"

#include <array>
#include <iostream>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include <nlohmann/json.hpp>
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "admission/cli/flag_reader.h"
#include "admission/estimator/cost_table.h"
#include "admission/estimator/estimate.h"
#include "admission/estimator/model_config.h"
#include "admission/units.h"

namespace vramgate {
namespace {

constexpr int64_t kMaxTokens = std::numeric_limits<int64_t>::max() / 4;

// The flags as they were typed; "" is absent.
struct EstimateFlags {
  std::string model;
  std::string parameters, parameter_bytes, quantization_factor;
  std::string layers, heads, kv_heads, head_dim, hidden, intermediate, vocab;
  std::string kv_bytes_per_token, weights_bytes, activation_bytes;
  std::string dtype, kv_dtype, activation, overhead;
  std::string context, prompt_tokens, output_tokens, concurrency;
  std::string tensor_parallel, block_tokens, max_batched_tokens, max_sequences;
  std::string format = "text";
};

struct Question {
  ModelShape shape;
  CostOptions options;
  Load load;
};

// The model, from the flags alone or from its config.
absl::StatusOr<ModelShape> ReadShape(const EstimateFlags& f, FlagReader& read) {
  const ModelOverrides overrides = {
      .kv_bytes_per_token = read.Size("--kv-bytes-per-token", f.kv_bytes_per_token, kMaxParameters),
      .weights_bytes = read.Size("--weights-bytes", f.weights_bytes, kMaxParameters),
      .parameters = read.Count("--parameters", f.parameters, kMaxParameters),
      .activation_bytes = read.Size("--activation-bytes", f.activation_bytes, kMaxParameters),
  };
  ModelShape shape;
  if (!f.model.empty()) {
    for (const auto& [flag, text] : {std::pair{"--layers", &f.layers},
                                     {"--heads", &f.heads},
                                     {"--kv-heads", &f.kv_heads},
                                     {"--head-dim", &f.head_dim},
                                     {"--hidden", &f.hidden},
                                     {"--intermediate", &f.intermediate},
                                     {"--vocab", &f.vocab}}) {
      if (!text->empty())
        read.Fail(flag, absl::StrCat(*text, " cannot go with --model, whose config says it: leave one out"));
    }
    if (!read.status().ok()) return read.status();
    absl::StatusOr<ModelShape> from_config = ReadModelConfig(f.model, overrides);
    if (!from_config.ok()) return from_config.status();
    shape = *std::move(from_config);
  } else {
    shape.kv_bytes_per_token = overrides.kv_bytes_per_token;
    shape.weights_bytes = overrides.weights_bytes;
    shape.parameters = overrides.parameters;
    shape.activation_bytes = overrides.activation_bytes;
    shape.layers = read.Count("--layers", f.layers, kMaxLayers).value_or(0);
    shape.heads = read.Count("--heads", f.heads, kMaxWidth).value_or(0);
    shape.kv_heads = read.Count("--kv-heads", f.kv_heads, kMaxWidth);
    shape.head_dim = read.Count("--head-dim", f.head_dim, kMaxWidth);
    shape.hidden = read.Count("--hidden", f.hidden, kMaxWidth).value_or(0);
    shape.intermediate = read.Count("--intermediate", f.intermediate, kMaxWidth).value_or(0);
    shape.vocab = read.Count("--vocab", f.vocab, kMaxVocab).value_or(0);
  }
  shape.parameter_bytes = read.Number("--parameter-bytes", f.parameter_bytes, 0.001, 1000);
  shape.quantization_factor = read.Number("--quantization-factor", f.quantization_factor, 0.001, 1000);
  if ((shape.parameter_bytes || shape.quantization_factor) && !shape.parameters) {
    read.Fail("--parameters", "missing: --parameter-bytes and --quantization-factor multiply it");
  }
  return shape;
}

// By shape one type serves all; by model, KV stays at 16 bits beside 8-bit weights, as engines keep it unless told.
void ReadTypes(const EstimateFlags& f, FlagReader& read, Question& q) {
  const DType by_default = f.model.empty() ? DType::kFp16 : q.shape.dtype.value_or(DType::kBf16);
  q.options.weights_dtype = read.Type("--dtype", f.dtype).value_or(by_default);
  const bool wide = DTypeBytes(q.options.weights_dtype) > 1;
  q.options.kv_dtype =
      read.Type("--kv-dtype", f.kv_dtype).value_or(f.model.empty() || wide ? q.options.weights_dtype : DType::kBf16);
}

void ReadLoad(const EstimateFlags& f, FlagReader& read, Question& q) {
  const std::optional<int64_t> context = read.Count("--context", f.context, kMaxTokens);
  const std::optional<int64_t> prompt = read.Count("--prompt-tokens", f.prompt_tokens, kMaxTokens, 0);
  const std::optional<int64_t> output = read.Count("--output-tokens", f.output_tokens, kMaxTokens, 0);
  if (context && (prompt || output)) {
    read.Fail("--context",
              absl::StrCat(*context, " is prompt and output together: leave out --prompt-tokens and --output-tokens"));
  }
  q.load.prompt_tokens = context ? *context : prompt.value_or(0);
  q.load.output_tokens = output.value_or(0);
  if (!context && !prompt && !output) {
    if (q.shape.max_positions == 0)
      read.Fail("--context", "missing: how many tokens (prompt and output) does a request have?");
    q.load.prompt_tokens = q.shape.max_positions;
  }
  q.load.concurrency = read.Count("--concurrency", f.concurrency, kMaxTokens).value_or(1);
}

absl::StatusOr<Question> ReadQuestion(const EstimateFlags& f) {
  FlagReader read;
  Question q;
  if (f.model.empty() && f.parameters.empty() && f.weights_bytes.empty()) {
    return absl::InvalidArgumentError(
        "--model: missing: give a model's config.json, or its shape beginning with --parameters");
  }
  absl::StatusOr<ModelShape> shape = ReadShape(f, read);
  if (!read.status().ok()) return read.status();
  if (!shape.ok()) return shape.status();
  q.shape = *std::move(shape);
  ReadTypes(f, read, q);
  ReadLoad(f, read, q);
  q.options.overhead_ratio = read.Number("--overhead", f.overhead, 0, 10).value_or(0.15);
  if (f.activation != "resident" && f.activation != "batched" && !f.activation.empty()) {
    read.Fail("--activation", absl::StrCat("\"", f.activation, "\" must be resident or batched"));
  }
  q.options.activation = f.activation == "batched" ? ActivationMode::kBatched : ActivationMode::kResident;
  q.options.tensor_parallel = static_cast<int>(read.Count("--tensor-parallel", f.tensor_parallel, 1024).value_or(1));
  q.options.block_tokens = read.Count("--block-tokens", f.block_tokens, 1 << 20).value_or(f.model.empty() ? 1 : 16);
  q.options.max_batched_tokens = read.Count("--max-num-batched-tokens", f.max_batched_tokens, 1 << 30).value_or(8192);
  q.options.max_sequences = read.Count("--max-num-seqs", f.max_sequences, 1 << 30).value_or(1024);
  if (f.format != "text" && f.format != "json") {
    read.Fail("--format", absl::StrCat("\"", f.format, "\" must be text or json"));
  }
  if (!read.status().ok()) return read.status();
  return q;
}

void PrintJson(const CostTable& table, const Load& load, const Estimate& e) {
  nlohmann::ordered_json out = {
      {"weights_bytes", e.weights_bytes},
      {"kv_bytes", e.kv_bytes},
      {"activation_bytes", e.activation_bytes},
      {"overhead_bytes", e.overhead_bytes},
      {"total_bytes", e.total_bytes},
      {"kv_bytes_per_token", e.kv_bytes_per_token},
      {"kv_bytes_per_request", e.kv_bytes_per_request},
      {"activation_bytes_per_request", e.activation_bytes_per_request},
      {"context_tokens", load.prompt_tokens + load.output_tokens},
      {"concurrency", load.concurrency},
      {"devices", table.options().tensor_parallel},
      {"quality", QualityName(e.quality)},
      {"terms", nlohmann::ordered_json::array()},
  };
  if (table.parameters() > 0) out["parameters"] = table.parameters();
  for (const Term& t : e.terms) {
    out["terms"].push_back(
        {{"name", t.name}, {"bytes", t.bytes}, {"formula", t.formula}, {"per_request", t.per_request}});
  }
  std::cout << out.dump(2) << "\n";
}

std::string GiBText(int64_t bytes) {
  return absl::StrFormat("%.2f GiB", static_cast<double>(bytes) / static_cast<double>(kGiB));
}
std::string GBText(int64_t bytes) {
  return absl::StrFormat("%.2f GB", static_cast<double>(bytes) / 1e9);
}

std::string Row(const std::string& name, const std::string& request, int64_t total_bytes, const std::string& formula) {
  std::string row =
      absl::StrFormat("  %-13s %14s %14s %14s   %s", name, request, GiBText(total_bytes), GBText(total_bytes), formula);
  row.erase(row.find_last_not_of(' ') + 1);
  return row + "\n";
}

const char* QualityWords(Quality quality) {
  switch (quality) {
    case Quality::kExact:
      return "measured for this family, engine and element types";
    case Quality::kProfile:
      return "from sourced formulas, not measured for this engine";
    case Quality::kUpperBound:
      return "at least one term is a bound that a real engine stays below";
  }
  return "";
}

void PrintText(const CostTable& table, const Load& load, const Estimate& e) {
  const CostOptions& o = table.options();
  std::cout << table.shape().family << ": ";
  if (table.parameters() > 0) std::cout << table.parameters() << " parameters, ";
  std::cout << "weights " << DTypeName(table.shape().linear_dtype.value_or(o.weights_dtype)) << ", KV "
            << DTypeName(o.kv_dtype) << ", " << e.kv_bytes_per_token << " B of KV a token\n"
            << load.concurrency << (load.concurrency == 1 ? " request" : " requests") << " of "
            << load.prompt_tokens + load.output_tokens << " tokens, bytes on "
            << (o.tensor_parallel == 1 ? "one device" : absl::StrCat("each of ", o.tensor_parallel, " devices"))
            << "\n\n";
  std::cout << absl::StrFormat("  %-13s %14s %14s %14s   %s\n", "", "a request", "in all", "", "formula");
  for (const Term& t : e.terms) {
    std::cout << Row(t.name, t.per_request ? GiBText(t.bytes) : "-",
                     t.per_request ? t.bytes * load.concurrency : t.bytes, t.formula);
  }
  std::cout << Row("total", GiBText(e.kv_bytes_per_request + e.activation_bytes_per_request), e.total_bytes, "") << "\n"
            << "quality " << QualityName(e.quality) << ": " << QualityWords(e.quality) << "\n"
            << "GiB = 2^30 bytes, GB = 10^9 bytes; exact bytes: --format json\n";
}

absl::Status Run(const EstimateFlags& flags) {
  const absl::StatusOr<Question> question = ReadQuestion(flags);
  if (!question.ok()) return question.status();
  const absl::StatusOr<CostTable> table = CostTable::Compile(question->shape, question->options);
  if (!table.ok()) return table.status();
  const absl::StatusOr<Estimate> estimate = EstimateCard(*table, question->load);
  if (!estimate.ok()) return estimate.status();
  (flags.format == "json" ? PrintJson : PrintText)(*table, question->load, *estimate);
  return absl::OkStatus();
}

void AddFlags(CLI::App& command, EstimateFlags& f) {
  struct Flag {
    const char* names;
    std::string* target;
    const char* type;
    const char* help;
    const char* group;
  };
  constexpr char kShape[] = "By shape";
  constexpr char kLoad[] = "What is asked of it";
  constexpr char kRun[] = "How it runs";
  constexpr char kHand[] = "Known better than from the config";
  const std::array<Flag, 27> flags = {{
      {"--model", &f.model, "PATH", "a model's config.json, or the directory it is in", "By model"},
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
      {"--weights-bytes", &f.weights_bytes, "SIZE", "weights, all devices together", kHand},
      {"--activation-bytes", &f.activation_bytes, "SIZE", "batched activation peak on one device", kHand},
      {"--context", &f.context, "N", "tokens of a request, prompt and output (default: the model's longest)", kLoad},
      {"--prompt-tokens", &f.prompt_tokens, "N", "instead of --context", kLoad},
      {"--output-tokens", &f.output_tokens, "N", "instead of --context", kLoad},
      {"--concurrency", &f.concurrency, "N", "requests at once (default: 1)", kLoad},
      {"--dtype", &f.dtype, "TYPE", "fp32, bf16, fp16, fp8, int8 (default: the checkpoint's; by shape fp16)", kRun},
      {"--kv-dtype", &f.kv_dtype, "TYPE", "of the KV cache (default: --dtype; by model bf16 beside 8-bit weights)",
       kRun},
      {"--activation", &f.activation, "MODE",
       "resident: all layers, per request (default); batched: an engine's peak, once", kRun},
      {"--overhead", &f.overhead, "RATIO", "contexts, graphs, workspaces, as a share of the weights (default: 0.15)",
       kRun},
      {"--tensor-parallel,--tp", &f.tensor_parallel, "N", "devices that share the model; bytes are of one of them",
       kRun},
      {"--block-tokens", &f.block_tokens, "N", "KV comes in blocks of so many tokens (default: 16; by shape 1)", kRun},
      {"--max-num-batched-tokens", &f.max_batched_tokens, "N", "tokens of one step; batched (default: 8192)", kRun},
      {"--max-num-seqs", &f.max_sequences, "N", "sequences of one step; batched (default: 1024)", kRun},
      {"--format", &f.format, "FORMAT", "text or json (default: text)", "Output"},
  }};
  for (const Flag& flag : flags) {
    command.add_option(flag.names, *flag.target, flag.help)->type_name(flag.type)->group(flag.group);
  }
}

}  // namespace

void AddEstimateCommand(CLI::App& program, ExitCode& exit) {
  CLI::App* command =
      program.add_subcommand("estimate", "What a model and its requests take on a device, term by term");
  const auto flags = std::make_shared<EstimateFlags>();
  AddFlags(*command, *flags);
  command->callback([command, flags, &exit] {
    const absl::Status status = Run(*flags);
    if (status.ok()) return;
    const absl::string_view message = status.message();
    std::cerr << "estimate: " << WithFlagNames(*command, {message.data(), message.size()}) << "\n";
    exit = ExitCode::kUsage;
  });
}

}  // namespace vramgate
