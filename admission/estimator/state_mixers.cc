#include "admission/estimator/state_mixers.h"

namespace vramgate {
namespace {

Matrix State(const char* name, Axis in, Axis out, bool bias = false) {
  return Linear(name, Part::kState, in, out, bias);
}

// A depthwise convolution is small and never quantised.
Matrix Conv(const char* name, int64_t kernel, Axis channels, bool bias) {
  return Linear(name, Part::kNorm, WholeAxis(kernel), channels, bias);
}

}  // namespace

void AddMamba1(Layer& layer, int64_t hidden, const Mamba1Sizes& m) {
  const Axis inner = SplitAxis(m.inner);
  layer.matrices.push_back(State("mamba.in_proj", WholeAxis(hidden), SplitAxis(m.inner, 2), m.bias));
  layer.matrices.push_back(Conv("mamba.conv1d", m.kernel, inner, m.conv_bias));
  layer.matrices.push_back(State("mamba.x_proj", inner, WholeAxis(m.rank + 2 * m.state)));
  layer.matrices.push_back(State("mamba.dt_proj", WholeAxis(m.rank), inner, true));
  layer.matrices.push_back(Conv("mamba.A_log", m.state, inner, true));  // and D
  layer.matrices.push_back(State("mamba.out_proj", inner, WholeAxis(hidden), m.bias));
  layer.kept.push_back({.kind = KeptKind::kState,
                        .taps = m.kernel - 1,
                        .conv = {inner, Axis{0, 1, false}, Axis{0, 1, false}},
                        .state = SplitAxis(m.inner, m.state)});
}

void AddMamba2(Layer& layer, int64_t hidden, const Mamba2Sizes& m) {
  const Axis inner = SplitAxis(m.heads, m.head_dim);
  const Axis groups = SplitAxis(m.groups, 2 * m.state);  // B and C; replicated below one group a device
  layer.matrices.push_back(State("mixer.in_proj", WholeAxis(hidden), SplitAxis(m.heads, 2 * m.head_dim + 1), m.bias));
  layer.matrices.push_back(State("mixer.in_proj", WholeAxis(hidden), groups, m.bias));
  layer.matrices.push_back(Conv("mixer.conv1d", m.kernel, inner, m.conv_bias));
  layer.matrices.push_back(Conv("mixer.conv1d", m.kernel, groups, m.conv_bias));
  layer.matrices.push_back(Conv("mixer.norm", 1, inner, false));
  layer.matrices.push_back(Conv("mixer.A_log", 3, SplitAxis(m.heads), false));  // A, D and the time step's bias
  layer.matrices.push_back(State("mixer.out_proj", inner, WholeAxis(hidden), m.bias));
  layer.kept.push_back({.kind = KeptKind::kState,
                        .taps = m.kernel - 1,
                        .conv = {inner, groups, Axis{0, 1, false}},
                        .state = SplitAxis(m.heads, m.head_dim * m.state),
                        .state_dtype = m.state_dtype});
}

void AddDeltaNet(Layer& layer, int64_t hidden, const DeltaNetSizes& m) {
  const Axis keys = SplitAxis(m.key_heads, 2 * m.key_dim);  // queries and keys
  const Axis values = SplitAxis(m.value_heads, m.value_dim);
  layer.matrices.push_back(State("linear_attn.in_proj_qkv", WholeAxis(hidden), keys));
  layer.matrices.push_back(State("linear_attn.in_proj_qkv", WholeAxis(hidden), values));
  layer.matrices.push_back(State("linear_attn.in_proj_z", WholeAxis(hidden), values));
  // Not among what checkpoints quantise.
  layer.matrices.push_back(
      Linear("linear_attn.in_proj_ba", Part::kRouter, WholeAxis(hidden), SplitAxis(m.value_heads, 2)));
  layer.matrices.push_back(Conv("linear_attn.conv1d", m.kernel, keys, false));
  layer.matrices.push_back(Conv("linear_attn.conv1d", m.kernel, values, false));
  layer.matrices.push_back(Conv("linear_attn.A_log", 2, SplitAxis(m.value_heads), false));
  layer.matrices.push_back(Norm("linear_attn.norm", m.value_dim));
  layer.matrices.push_back(State("linear_attn.out_proj", values, WholeAxis(hidden)));
  layer.kept.push_back({.kind = KeptKind::kState,
                        .taps = m.kernel - 1,
                        .conv = {keys, values, Axis{0, 1, false}},
                        .state = SplitAxis(m.value_heads, m.value_dim * m.key_dim),
                        .state_dtype = m.state_dtype});
}

void AddKda(Layer& layer, int64_t hidden, int64_t heads, int64_t head_dim, int64_t kernel) {
  const Axis inner = SplitAxis(heads, head_dim);
  for (const char* name : {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"}) {
    layer.matrices.push_back(State(name, WholeAxis(hidden), inner));
    layer.matrices.push_back(Conv("self_attn.conv1d", kernel, inner, false));
  }
  for (const char* name : {"self_attn.f_proj", "self_attn.g_proj"}) {  // low rank: through one head's width
    layer.matrices.push_back(State(name, WholeAxis(hidden), WholeAxis(head_dim)));
    layer.matrices.push_back(State(name, WholeAxis(head_dim), inner));
  }
  layer.matrices.push_back(Linear("self_attn.b_proj", Part::kRouter, WholeAxis(hidden), SplitAxis(heads)));
  layer.matrices.push_back(Conv("self_attn.A_log", 1, SplitAxis(heads, head_dim + 1), false));  // and the step's bias
  layer.matrices.push_back(Norm("self_attn.o_norm", head_dim));
  layer.matrices.push_back(State("self_attn.o_proj", inner, WholeAxis(hidden)));
  layer.kept.push_back({.kind = KeptKind::kState,
                        .taps = kernel - 1,
                        .conv = {inner, inner, inner},
                        .state = SplitAxis(heads, head_dim * head_dim),
                        .wide_state = true});
}

void AddLightning(Layer& layer, int64_t hidden, int64_t heads, int64_t head_dim) {
  const Axis inner = SplitAxis(heads, head_dim);
  layer.matrices.push_back(State("self_attn.qkv_proj", WholeAxis(hidden), SplitAxis(heads, 3 * head_dim)));
  layer.matrices.push_back(State("self_attn.output_gate", WholeAxis(hidden), inner));
  layer.matrices.push_back(State("self_attn.out_proj", inner, WholeAxis(hidden)));
  layer.matrices.push_back(Conv("self_attn.norm", 1, inner, false));
  layer.kept.push_back({.kind = KeptKind::kState, .state = SplitAxis(heads, head_dim * head_dim), .wide_state = true});
}

void AddShortConv(Layer& layer, int64_t hidden, int64_t channels, int64_t kernel, bool bias) {
  const Axis inner = SplitAxis(channels);
  layer.matrices.push_back(State("conv.in_proj", WholeAxis(hidden), SplitAxis(channels, 3), bias));
  layer.matrices.push_back(Conv("conv.conv", kernel, inner, bias));
  layer.matrices.push_back(State("conv.out_proj", inner, WholeAxis(hidden), bias));
  layer.kept.push_back({.kind = KeptKind::kState,
                        .taps = kernel - 1,
                        .conv = {inner, Axis{0, 1, false}, Axis{0, 1, false}},
                        .state = Axis{0, 1, false}});
}

std::optional<DType> ReadStateDType(JsonFields& f) {
  for (const char* key : {"mamba_ssm_cache_dtype", "mamba_ssm_dtype"}) {
    const std::string text = f.String(key, "");
    if (text.empty() || text == "auto") continue;
    const absl::StatusOr<DType> dtype = ParseWeightsDType(text);
    if (dtype.ok()) return *dtype;
    f.Fail(key, std::string(dtype.status().message()));
  }
  return std::nullopt;
}

}  // namespace vramgate
