// What a layer keeps of a sequence while it runs: keys and values of its tokens, of a window of them, or a state.
//
//   Kept full{.kind = KeptKind::kTokens, .heads = 8, .key_dim = 128, .value_dim = 128};
//   Kept window{.kind = KeptKind::kWindow, .heads = 8, .key_dim = 128, .value_dim = 128, .span = 4096};
//
// Plain values: no thread rule, no lifetime rule.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "admission/estimator/axis.h"
#include "admission/estimator/dtype.h"

namespace vramgate {

enum class KeptKind : uint8_t {
  kTokens,      // keys and values of every token: MHA, GQA, MQA
  kWindow,      // of the last `span` tokens
  kChunk,       // of the tokens since the last multiple of `span`
  kLatent,      // one compressed vector a token, whole on every device: MLA
  kIndex,       // an indexer's key a token, fp8 with one fp32 scale for each 128: DSA
  kCompressed,  // one entry for each `ratio` tokens, whole on every device: DeepSeek-V4
  kRing,        // the last `span` tokens' entries, whole on every device: DeepSeek-V4's local part
  kEncoder,     // keys and values of an encoder's tokens, a constant: cross attention
  kState,       // a recurrent state, a constant: Mamba, DeltaNet, KDA, short convolution
};

struct Kept {
  KeptKind kind = KeptKind::kTokens;

  // kTokens, kWindow, kChunk, kEncoder: heads are shared by the devices, replicated below one per device.
  int64_t heads = 0;
  int64_t key_dim = 0;
  int64_t value_dim = 0;

  int64_t width = 0;  // kLatent, kIndex, kCompressed, kRing: elements of an entry
  int64_t rope = 0;   // kLatent, kCompressed, kRing: how many of `width` stay at 16 bits when it is stored in fp8
  int64_t span = 0;   // kWindow, kChunk, kRing, kEncoder [tokens]
  int64_t ratio = 1;  // kCompressed: tokens of an entry

  // kState: the last inputs of a convolution and what the recurrence carries.
  int64_t taps = 0;                  // kernel - 1
  std::array<Axis, 3> conv{};        // the convolution's channels, summed; unused ones have 0 units
  Axis state;                        // elements of the recurrence
  std::optional<DType> state_dtype;  // absent: the engine's habit for this kind
  bool wide_state = false;           // the model computes its recurrence in fp32 (KDA, lightning attention)

  friend bool operator==(const Kept&, const Kept&) = default;
};

}  // namespace vramgate
