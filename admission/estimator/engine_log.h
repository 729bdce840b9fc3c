// Reads what an engine prints while it starts: vLLM 0.6 and later, SGLang, TensorRT-LLM, llama.cpp.
//
// Used by the watch of running engines and by whoever has a log file at hand. Lines that say nothing of memory are
// passed over, and so are lines whose words stand behind a quotation mark: engines log what their users send.
// A new start of the engine begins anew. Nothing is trusted: numbers out of range are not read, lists are bounded.
//
//   EngineLogReader reader;
//   while (std::getline(file, line)) reader.Line(line);
//   if (reader.pool().KnowsCapacity()) ... reader.pool().blocks ...
//
// Printed sizes carry how exact they are. Confined to one thread; owns all it keeps.
#pragma once

#include <cstddef>
#include <istream>
#include <string_view>

#include "absl/status/statusor.h"
#include "admission/estimator/engine_pool.h"

namespace vramgate {

class EngineLogReader {
 public:
  static constexpr size_t kMaxLineBytes = 64 << 10;  // the rest of a longer line is not looked at
  static constexpr size_t kMaxBuffers = 256;
  static constexpr size_t kMaxCaches = 64;

  // One line, without its end.
  void Line(std::string_view line);

  // All that was said since the engine's last start.
  const EnginePool& pool() const { return pool_; }

 private:
  bool Vllm(std::string_view line);
  bool VllmPool(std::string_view line);
  bool VllmRest(std::string_view line);
  bool Sglang(std::string_view line);
  bool SglangPool(std::string_view line);
  bool TensorRtLlm(std::string_view line);
  bool LlamaCpp(std::string_view line);
  bool LlamaBuffer(std::string_view line);
  bool LlamaCache(std::string_view line);
  void Is(EngineKind kind);

  EnginePool pool_;
};

// A whole log. OUT_OF_RANGE: longer than kMaxLogBytes. FAILED_PRECONDITION: no line of it tells a pool.
inline constexpr size_t kMaxLogBytes = size_t{256} << 20;
absl::StatusOr<EnginePool> ReadEngineLog(std::istream& log);

}  // namespace vramgate
