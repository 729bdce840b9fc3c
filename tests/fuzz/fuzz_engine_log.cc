// Start-up logs of engines. Figures are not negative, lists are bounded, and a log's end is where its last line ends.
#include <cstddef>
#include <cstdint>
#include <sstream>
#include <string>

#include "admission/check.h"
#include "admission/estimator/engine_log.h"

namespace {

void NotNegative(const std::optional<vramgate::PrintedBytes>& size) {
  CHECK(!size.has_value() || (size->bytes >= 0 && size->tolerance_bytes >= 0), "a negative size");
}

void Check(const vramgate::EnginePool& pool) {
  CHECK(pool.buffers.size() <= vramgate::EngineLogReader::kMaxBuffers, "too many buffers");
  CHECK(pool.caches.size() <= vramgate::EngineLogReader::kMaxCaches, "too many caches");
  NotNegative(pool.pool_bytes);
  NotNegative(pool.state_bytes);
  NotNegative(pool.weights_bytes);
  NotNegative(pool.activation_bytes);
  NotNegative(pool.non_torch_bytes);
  NotNegative(pool.cuda_graph_bytes);
  CHECK(pool.blocks.value_or(0) >= 0 && pool.tokens.value_or(0) >= 0, "a negative pool");
  CHECK(pool.max_concurrency.value_or(0) >= 0, "a negative or unreal concurrency");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::istringstream log(std::string(reinterpret_cast<const char*>(data), size));
  const absl::StatusOr<vramgate::EnginePool> pool = vramgate::ReadEngineLog(log);
  if (pool.ok()) {
    CHECK(pool->KnowsCapacity(), "a log without a pool that was not refused");
    Check(*pool);
  }
  vramgate::EngineLogReader reader;  // all as one line
  reader.Line({reinterpret_cast<const char*>(data), size});
  Check(reader.pool());
  return 0;
}
