#include "admission/estimator/weights.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "admission/check.h"

namespace vramgate {
namespace {

// A factor as a whole number of millionths, so that products of it are exact.
Wide Millionths(double factor) {
  return static_cast<Wide>(std::llround(factor * 1e6));
}

struct Sides {
  Wide copies, in, out;
};

Sides OnDevice(const Matrix& m, const Slice& slice) {
  const int64_t devices = slice.tensor_parallel;
  if (m.part == Part::kExperts && slice.expert_parallel) {
    return {CeilDivide(m.copies, devices), m.in.elements(), m.out.elements()};
  }
  return {m.copies, m.in.OnDevice(devices), m.out.OnDevice(devices)};
}

// Bytes of a matrix's elements at its format, or at `element` bytes where the format is the model's own.
Wide ElementBytes(const Sides& s, const WeightFormat& format, int64_t element) {
  if (format.bits == 0) return s.copies * s.in * s.out * element;
  return s.copies * CeilDivide(s.in * s.out * format.bits, 8);
}

Wide ScaleBytes(const Sides& s, const WeightFormat& format) {
  if (format.bits == 0 || format.scale_bytes == 0) return 0;
  const Wide groups = CeilDivide(s.in, format.block_in > 0 ? Wide{format.block_in} : std::max<Wide>(s.in, 1)) *
                      CeilDivide(s.out, format.block_out > 0 ? Wide{format.block_out} : std::max<Wide>(s.out, 1));
  return s.copies * (groups * format.scale_bytes + CeilDivide(groups * format.zero_bits, 8));
}

// Quantising a whole model by its dtype (an 8-bit `--dtype`) leaves these as they are.
bool StaysWide(Part part) {
  switch (part) {
    case Part::kEmbedding:
    case Part::kHead:
    case Part::kRouter:
    case Part::kNorm:
    case Part::kVision:
      return true;
    case Part::kAttention:
    case Part::kState:
    case Part::kMlp:
    case Part::kExperts:
    case Part::kSharedExpert:
      return false;
  }
  CHECK(false, "Part: a value outside of the enum");
}

const WeightFormat& FormatOf(const ModelShape& shape, const Matrix& m, DType dtype) {
  static const WeightFormat kOwn;
  static const WeightFormat kEightBits{.bits = 8, .scale_bytes = 4};  // a scale for each output
  if (m.copy) return kOwn;
  const WeightFormat& format = shape.formats[m.format];
  if (format.bits == 0 && DTypeBytes(dtype) == 1 && !StaysWide(m.part)) return kEightBits;
  return format;
}

// Engines keep the projections that read the same input as one tensor, and all experts of a layer as two.
std::string TensorName(const Matrix& m) {
  const size_t dot = m.name.rfind('.');
  const std::string last = dot == std::string::npos ? m.name : m.name.substr(dot + 1);
  const std::string module = dot == std::string::npos ? "" : m.name.substr(0, dot + 1);
  if (last == "q_proj" || last == "k_proj" || last == "v_proj") return module + "qkv";
  if (last == "gate_proj" || last == "up_proj") return module + "gate_up";
  if (last == "q_a_proj" || last == "kv_a_proj_with_mqa") return module + "qkv_a";
  return m.name;
}

Wide SumBytes(const ModelShape& shape, const std::vector<Matrix>& matrices, DType dtype, const Slice& slice) {
  const int64_t wide = ActivationElementBytes(dtype);
  Wide sum = 0;
  std::map<std::string, Wide> tensors;
  for (const Matrix& m : matrices) {
    if (m.copy && !slice.copies) continue;
    Sides sides = OnDevice(m, slice);
    const WeightFormat& format = FormatOf(shape, m, dtype);
    if (slice.mxfp4_pad_in > 0 && format.name == "mxfp4") {
      sides.in = CeilDivide(sides.in, slice.mxfp4_pad_in) * slice.mxfp4_pad_in;
    }
    if (m.bias) sum += sides.copies * sides.out * wide;
    sum += ScaleBytes(sides, format);
    const Wide bytes = ElementBytes(sides, format, wide);
    // A tower stacks its layers in `copies`, but they are tensors of their own.
    if (slice.torch_allocator && m.part != Part::kVision) {
      tensors[TensorName(m)] += bytes;
    } else {
      sum += bytes;
    }
  }
  for (const auto& [name, bytes] : tensors) sum += TorchAllocatedBytes(bytes);
  return sum;
}

Wide SumParameters(const std::vector<Matrix>& matrices) {
  Wide sum = 0;
  for (const Matrix& m : matrices) {
    if (m.copy) continue;
    sum += m.copies * m.out.elements() * (m.in.elements() + (m.bias ? 1 : 0));
  }
  return sum;
}

// How many of the slice's layers are of each kind.
std::vector<int64_t> KindCounts(const ModelShape& shape, const Slice& slice) {
  std::vector<int64_t> counts(shape.kinds.size(), 0);
  for (int64_t i = slice.begin_layer; i < slice.end_layer; ++i) ++counts[shape.stack[static_cast<size_t>(i)]];
  return counts;
}

}  // namespace

Slice PipelineSlice(int64_t layers, int stage, int stages) {
  CHECK(stage >= 0 && stage < stages && stages <= layers, "PipelineSlice: a stage without a layer");
  const int64_t each = layers / stages;
  const int64_t rest = layers % stages;
  // Stage s has one layer more when s is among the `rest` stages that end just before the last.
  const auto more = [&](int64_t s) { return s < stages - 1 && s >= stages - 1 - rest ? 1 : 0; };
  int64_t begin = 0;
  for (int64_t s = 0; s < stage; ++s) begin += each + more(s);
  return {
      .begin_layer = begin, .end_layer = begin + each + more(stage), .first = stage == 0, .last = stage == stages - 1};
}

Wide CountParameters(const ModelShape& shape) {
  CHECK(shape.counted, "CountParameters: the shape does not list every matrix");
  Wide sum = SumParameters(shape.first) + SumParameters(shape.every);
  for (const Matrix& m : shape.last) {
    if (m.part == Part::kHead && shape.tied_embeddings) {
      sum += m.bias ? m.out.elements() : 0;
    } else {
      sum += SumParameters({m});
    }
  }
  const std::vector<int64_t> counts = KindCounts(shape, {.end_layer = shape.layers()});
  for (size_t k = 0; k < counts.size(); ++k) sum += counts[k] * SumParameters(shape.kinds[k].matrices);
  return sum;
}

Wide SliceWeightsBytes(const ModelShape& shape, DType dtype, const Slice& slice) {
  CHECK(shape.counted, "SliceWeightsBytes: the shape does not list every matrix");
  Wide sum = SumBytes(shape, shape.every, dtype, slice);
  if (slice.first) sum += SumBytes(shape, shape.first, dtype, slice);
  if (slice.last) {
    for (const Matrix& m : shape.last) {
      const bool shared = m.part == Part::kHead && shape.tied_embeddings && slice.first;
      sum += shared ? (m.bias ? m.out.OnDevice(slice.tensor_parallel) * ActivationElementBytes(dtype) : 0)
                    : SumBytes(shape, {m}, dtype, slice);
    }
    if (slice.drafts) {
      for (const Layer& draft : shape.drafts) sum += SumBytes(shape, draft.matrices, dtype, slice);
    }
  }
  const std::vector<int64_t> counts = KindCounts(shape, slice);
  for (size_t k = 0; k < counts.size(); ++k) {
    if (counts[k] > 0) sum += counts[k] * SumBytes(shape, shape.kinds[k].matrices, dtype, slice);
  }
  return sum;
}

Wide TorchAllocatedBytes(Wide bytes) {
  constexpr Wide kMiB = 1 << 20;
  if (bytes < 10 * kMiB) return bytes;
  const Wide whole = CeilDivide(bytes, 2 * kMiB) * 2 * kMiB;
  return whole - bytes <= kMiB ? whole : bytes;
}

Wide RotaryBytes(const ModelShape& shape, DType dtype) {
  Wide sum = 0;
  for (const RotaryTable& table : shape.rotary) {
    const int64_t element = table.element_bytes > 0 ? table.element_bytes : ActivationElementBytes(dtype);
    sum += Wide{table.positions} * table.dim * element;
  }
  return sum;
}

Wide LoraBytes(const ModelShape& shape, const Slice& slice, int64_t rank, int64_t adapters) {
  CHECK(shape.counted, "LoraBytes: the shape does not list every matrix");
  const std::vector<int64_t> counts = KindCounts(shape, slice);
  Wide elements = 0;
  for (size_t k = 0; k < counts.size(); ++k) {
    for (const Matrix& m : shape.kinds[k].matrices) {
      const bool adapted = m.part == Part::kAttention || m.part == Part::kMlp || m.part == Part::kSharedExpert;
      if (!adapted || m.copy) continue;
      const Sides sides = OnDevice(m, slice);
      elements += counts[k] * sides.copies * (sides.in + sides.out);
    }
  }
  return elements * rank * adapters * 2;
}

Wide ClassicalWeightsBytes(const ModelShape& shape, DType dtype, int64_t devices) {
  const double original_bytes = shape.parameter_bytes.value_or(static_cast<double>(DTypeBytes(dtype)));
  const Wide factor = Millionths(shape.quantization_factor.value_or(1));
  return CeilDivide(*shape.parameters * Millionths(original_bytes), factor * devices);
}

int64_t ActivationElementBytes(DType dtype) {
  return std::max<int64_t>(2, DTypeBytes(dtype));
}

}  // namespace vramgate
