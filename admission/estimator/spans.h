// Which tokens each layer of a model keeps: all, or a window of them, by the several ways in which configs say so.
//
//   std::vector<Span> spans = ReadSpans(fields, layers, {.window_on = true});    // one for each layer
//
// Used by the readers of families. Confined to one thread.
#pragma once

#include <cstdint>
#include <vector>

#include "admission/estimator/decoder.h"
#include "admission/estimator/json_fields.h"

namespace vramgate {

struct SpanHabit {
  bool window_on = true;              // the family uses `sliding_window` where the config has one
  bool qwen = false;                  // without layer_types, layers from max_window_layers on have the window
  const char* pattern_key = nullptr;  // every so many layers, the last of them attends to all
  int64_t pattern = 0;                // the key's default; 0: every layer has the window
  int64_t offset = 0;                 // 0: layers pattern - 1, 2 x pattern - 1, ... attend to all
  int64_t window = 0;                 // where the config does not say
};

// One span for each layer. Configs may list every layer in `layer_types` (sliding_attention, full_attention,
// chunked_attention); else the habit of the family decides. A kind that is not known is an error that names the
// overrides.
std::vector<Span> ReadSpans(JsonFields& f, int64_t layers, const SpanHabit& habit);

}  // namespace vramgate
