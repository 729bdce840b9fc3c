// Pages of metrics as engines show them. What is read is in range.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "admission/check.h"
#include "admission/estimator/metrics_page.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const absl::StatusOr<vramgate::MetricsPage> page = vramgate::ReadMetricsPage(text);
  if (!page.ok()) {
    CHECK(!page.status().message().empty(), "an error without words");
    return 0;
  }
  const double used = page->used_ratio.value_or(0);
  CHECK(used >= 0 && used <= 1, "a use that is no part of the pool");
  CHECK(page->pool.blocks.value_or(0) >= 0 && page->pool.tokens.value_or(0) >= 0, "a negative pool");
  CHECK(page->running.value_or(0) >= 0 && page->waiting.value_or(0) >= 0, "a negative or unreal count");
  CHECK(page->device_used_bytes.value_or(0) >= 0 && page->device_total_bytes.value_or(0) >= 0, "a negative card");
  return 0;
}
