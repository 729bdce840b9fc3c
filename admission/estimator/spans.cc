#include "admission/estimator/spans.h"

#include <string>

namespace vramgate {

std::vector<Span> ReadSpans(JsonFields& f, int64_t layers, const SpanHabit& habit) {
  if (!f.status().ok()) return {};
  std::vector<Span> spans(static_cast<size_t>(layers));
  const int64_t window = f.Optional({"sliding_window", "sliding_window_size"}, 0).value_or(habit.window);
  const Span windowed = {KeptKind::kWindow, window};
  const std::vector<std::string> names = LayerNames(f, "layer_types", layers);
  if (!names.empty()) {
    for (size_t i = 0; i < names.size(); ++i) {
      if (names[i] == "sliding_attention") {
        if (window == 0) {
          f.Fail("sliding_window", "missing, but layer_types has sliding_attention");
          return {};
        }
        spans[i] = windowed;
      } else if (names[i] == "chunked_attention") {
        spans[i] = {KeptKind::kChunk, f.Required({"attention_chunk_size"})};
      } else if (names[i] != "full_attention") {
        FailKind(f, "layer_types", names[i]);
        return {};
      }
    }
    return spans;
  }
  if (!habit.window_on || window == 0) return spans;
  int64_t pattern = habit.pattern;
  if (habit.pattern_key != nullptr) pattern = f.Optional({habit.pattern_key}).value_or(pattern);
  const int64_t first = habit.qwen ? f.Optional({"max_window_layers"}, 0).value_or(0) : 0;
  for (int64_t i = first; i < layers; ++i) {
    const bool all = pattern > 0 && (i + 1 + habit.offset) % pattern == 0;
    if (!all) spans[static_cast<size_t>(i)] = windowed;
  }
  return spans;
}

}  // namespace vramgate
