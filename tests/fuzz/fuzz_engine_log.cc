// Start-up logs: any lines give figures in range or none.
#include <cstddef>
#include <cstdint>
#include <sstream>
#include <string>

#include "admission/check.h"
#include "admission/estimator/engine_log.h"
#include "admission/estimator/text_scanner.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::istringstream log(std::string(reinterpret_cast<const char*>(data), size));
  const absl::StatusOr<vramgate::EnginePool> pool = vramgate::ReadEngineLog(log);
  if (!pool.ok()) return 0;
  CHECK(pool->KnowsCapacity(), "fuzz_engine_log: a pool of nothing");
  CHECK(pool->blocks.value_or(0) >= 0 && pool->blocks.value_or(0) <= vramgate::TextScanner::kMaxCount,
        "fuzz_engine_log: blocks out of range");
  CHECK(pool->tokens.value_or(0) >= 0 && pool->block_tokens.value_or(1) > 0, "fuzz_engine_log: tokens out of range");
  CHECK(pool->pool_bytes.value_or(vramgate::PrintedBytes{}).bytes >= 0, "fuzz_engine_log: negative bytes");
  return 0;
}
