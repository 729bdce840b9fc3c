#include "admission/estimator/gguf_arch.h"

#include <algorithm>
#include <array>

namespace vramgate {
namespace {

// llama.cpp's src/llama-arch.cpp for the names; load_hparams of src/llama-model.cpp, since 2026 load_arch_hparams in
// src/models/, for the rest. Architectures that keep no cache (encoders, diffusion), have cross attention or caches of
// their own (DeepSeek-V4) are left out, and so are those whose code was not at hand.
constexpr auto kPlain = std::to_array<std::string_view>({
    "apertus",    "arcee",      "arctic",         "baichuan",    "bailingmoe",   "bailingmoe2", "bitnet",
    "bloom",      "chameleon",  "chatglm",        "codeshell",   "cogvlm",       "command-r",   "dbrx",
    "deci",       "deepseek",   "dots1",          "ernie4_5",    "ernie4_5-moe", "exaone",      "falcon",
    "gemma",      "glm4",       "glm4moe",        "gpt2",        "gptneox",      "granite",     "granitemoe",
    "grok",       "grovemoe",   "hunyuan-dense",  "hunyuan-moe", "internlm2",    "jais",        "llama",
    "minicpm",    "minimax-m2", "mistral3",       "mpt",         "nemotron",     "olmo",        "olmoe",
    "openelm",    "orion",      "pangu-embedded", "phi2",        "phi3",         "phimoe",      "plamo",
    "qwen",       "qwen2",      "qwen2moe",       "qwen2vl",     "qwen3",        "qwen3moe",    "qwen3vl",
    "qwen3vlmoe", "refact",     "seed_oss",       "smollm3",     "stablelm",     "starcoder",   "starcoder2",
    "xverse",
});

constexpr auto kSpecial = std::to_array<GgufArch>({
    // MLA; minicpm3 and plm compress for the projections only, and cache what comes out of them.
    {.name = "deepseek2", .plan = GgufPlan::kLatent},
    {.name = "deepseek32", .plan = GgufPlan::kLatent},
    {.name = "glm-dsa", .plan = GgufPlan::kLatent, .indexer_period = 4},
    {.name = "minicpm3", .plan = GgufPlan::kLatent},
    {.name = "mistral4", .plan = GgufPlan::kLatent},
    {.name = "plm", .plan = GgufPlan::kLatent},
    // Windows.
    {.name = "afmoe", .window = GgufWindow::kPeriod, .period = 4},
    {.name = "cohere2", .window = GgufWindow::kPeriod, .period = 4},
    {.name = "exaone4", .window = GgufWindow::kPeriod, .period = 4, .default_window = 4096, .only_of_layers = 64},
    {.name = "gemma2", .window = GgufWindow::kPeriod, .period = 2, .default_window = 4096},
    {.name = "gemma3", .window = GgufWindow::kPeriod, .period = 6},
    {.name = "gemma3n", .window = GgufWindow::kPeriod, .period = 5, .own_kv_layers = 20},
    {.name = "gemma4", .window = GgufWindow::kPattern},
    {.name = "gpt-oss", .window = GgufWindow::kPeriod, .period = 2},
    {.name = "laguna", .window = GgufWindow::kPeriod, .period = 4, .full_first = true},
    {.name = "llama4", .window = GgufWindow::kChunked, .period = 4, .default_window = 8192},
    {.name = "mimo2", .window = GgufWindow::kPattern},
    {.name = "olmo2", .window = GgufWindow::kPeriod, .period = 4},
    {.name = "smallthinker", .window = GgufWindow::kPeriod, .period = 4, .full_first = true},
    {.name = "step35", .window = GgufWindow::kPattern},
    // States.
    {.name = "arwkv7", .plan = GgufPlan::kState, .state = GgufState::kRwkv},
    {.name = "falcon-h1", .plan = GgufPlan::kBoth, .state = GgufState::kMamba},
    {.name = "granitehybrid", .plan = GgufPlan::kByKvHeads, .state = GgufState::kMamba},
    {.name = "jamba", .plan = GgufPlan::kByKvHeads, .state = GgufState::kMamba},
    {.name = "kimi-linear", .plan = GgufPlan::kByKvHeads, .state = GgufState::kKda},
    {.name = "lfm2", .plan = GgufPlan::kByKvHeads, .state = GgufState::kShortConv},
    {.name = "lfm2moe", .plan = GgufPlan::kByKvHeads, .state = GgufState::kShortConv},
    {.name = "mamba", .plan = GgufPlan::kState, .state = GgufState::kMamba},
    {.name = "mamba2", .plan = GgufPlan::kState, .state = GgufState::kMamba},
    {.name = "nemotron_h", .plan = GgufPlan::kByKvHeadsFf, .state = GgufState::kMamba},
    {.name = "nemotron_h_moe", .plan = GgufPlan::kByKvHeadsFf, .state = GgufState::kMamba},
    {.name = "plamo2", .plan = GgufPlan::kByKvHeads, .state = GgufState::kMamba},
    {.name = "qwen35", .plan = GgufPlan::kInterval, .state = GgufState::kDelta, .period = 4},
    {.name = "qwen35moe", .plan = GgufPlan::kInterval, .state = GgufState::kDelta, .period = 4},
    {.name = "qwen3next", .plan = GgufPlan::kInterval, .state = GgufState::kDelta, .period = 4},
    {.name = "rwkv6", .plan = GgufPlan::kState, .state = GgufState::kRwkv},
    {.name = "rwkv6qwen2", .plan = GgufPlan::kState, .state = GgufState::kRwkv},
    {.name = "rwkv7", .plan = GgufPlan::kState, .state = GgufState::kRwkv},
});

constexpr auto kPlainArchs = [] {
  std::array<GgufArch, kPlain.size()> archs{};
  for (size_t i = 0; i < kPlain.size(); ++i) archs[i].name = kPlain[i];
  return archs;
}();

// Keys of caches that not every architecture has.
enum class Foreign : uint8_t { kState, kDelta, kLatent, kKda, kShortConv, kRwkv, kSharing };
struct ForeignKey {
  const char* key;
  Foreign kind;
};
constexpr auto kForeignKeys = std::to_array<ForeignKey>({
    {"ssm.state_size", Foreign::kState},
    {"ssm.inner_size", Foreign::kState},
    {"full_attention_interval", Foreign::kDelta},
    {"attention.kv_lora_rank", Foreign::kLatent},
    {"attention.key_length_mla", Foreign::kLatent},
    {"attention.indexer.key_length", Foreign::kLatent},
    {"kda.head_dim", Foreign::kKda},
    {"shortconv.l_cache", Foreign::kShortConv},
    {"wkv.head_size", Foreign::kRwkv},
    {"attention.shared_kv_layers", Foreign::kSharing},
});

bool Belongs(Foreign kind, const GgufArch& arch) {
  switch (kind) {
    case Foreign::kState:
      return arch.state == GgufState::kMamba || arch.state == GgufState::kDelta;
    case Foreign::kDelta:
      return arch.plan == GgufPlan::kInterval;
    case Foreign::kLatent:
      return arch.plan == GgufPlan::kLatent || arch.state == GgufState::kKda;
    case Foreign::kKda:
      return arch.state == GgufState::kKda;
    case Foreign::kShortConv:
      return arch.state == GgufState::kShortConv;
    case Foreign::kRwkv:
      return arch.state == GgufState::kRwkv;
    case Foreign::kSharing:
      return arch.own_kv_layers > 0 || arch.window == GgufWindow::kPattern;
  }
  return false;
}

}  // namespace

const GgufArch* FindGgufArch(std::string_view name) {
  const auto named = [name](const GgufArch& arch) { return arch.name == name; };
  if (const auto at = std::find_if(kSpecial.begin(), kSpecial.end(), named); at != kSpecial.end()) return &*at;
  const auto at = std::find_if(kPlainArchs.begin(), kPlainArchs.end(), named);
  return at == kPlainArchs.end() ? nullptr : &*at;
}

const char* FindForeignKey(const GgufArch& arch, const std::function<bool(std::string_view)>& has) {
  const auto at = std::find_if(kForeignKeys.begin(), kForeignKeys.end(), [&](const ForeignKey& foreign) {
    return !Belongs(foreign.kind, arch) && has(foreign.key);
  });
  return at == kForeignKeys.end() ? nullptr : at->key;
}

}  // namespace vramgate
