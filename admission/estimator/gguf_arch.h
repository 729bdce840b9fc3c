// What llama.cpp makes of each architecture's layers: which keep keys and values, which a window, which a state.
//
// Used by gguf_layers.cc. Pure data; no thread rule. `general.architecture` names the code that runs the model, as a
// config's `model_type` does; nothing is looked up by a model's own name.
//
//   const GgufArch* arch = FindGgufArch("gemma3");     // attention in all layers, five of six with a window
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace vramgate {

// Which layers do what.
enum class GgufPlan : uint8_t {
  kAttention,    // all: attention
  kLatent,       // all: attention, of one latent (MLA) where the file was converted for it
  kState,        // all: a state, no attention
  kByKvHeads,    // layers of 0 KV heads have a state, the others attention
  kByKvHeadsFf,  // the same, but those with an MLP have neither (Nemotron-H)
  kBoth,         // all: attention and a state (Falcon-H1)
  kInterval,     // every n-th layer attention, the others a state
};

enum class GgufState : uint8_t { kNone, kMamba, kDelta, kKda, kShortConv, kRwkv };

enum class GgufWindow : uint8_t {
  kNone,     // full attention, whatever the file says of a window
  kPeriod,   // of `period` layers all but one have a window, if the file has one (or `default_window`)
  kPattern,  // the file says it of each layer
  kChunked,  // as kPeriod, but local to chunks of the context
};

struct GgufArch {
  std::string_view name;
  GgufPlan plan = GgufPlan::kAttention;
  GgufState state = GgufState::kNone;
  GgufWindow window = GgufWindow::kNone;
  int64_t period = 0;
  bool full_first = false;     // the one full layer of a period is its first, not its last
  int64_t default_window = 0;  // 0: none
  int64_t own_kv_layers = 0;   // 0: all, unless the file says how many share; else the first so many
  int64_t only_of_layers = 0;  // the window is only there in models of so many layers; 0: in all
  int64_t indexer_period = 0;  // in long-context models without a list, one of so many layers has an indexer; 0: all
};

// Null where not known.
const GgufArch* FindGgufArch(std::string_view name);

// The first key that `has` of a cache that the architecture does not have: such a file is another kind of model under
// a known name. Null where there is none.
const char* FindForeignKey(const GgufArch& arch, const std::function<bool(std::string_view)>& has);

}  // namespace vramgate
