// Metric pages: any bytes are refused, or give figures in range.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "admission/check.h"
#include "admission/estimator/metrics_page.h"
#include "admission/estimator/text_scanner.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::StatusOr<vramgate::MetricsPage> page =
      vramgate::ReadMetricsPage(std::string_view(reinterpret_cast<const char*>(data), size));
  if (!page.ok()) return 0;
  CHECK(page->used_ratio.value_or(0) >= 0 && page->used_ratio.value_or(0) <= 1, "fuzz_metrics_page: use out of range");
  CHECK(page->pool.blocks.value_or(1) > 0 && page->pool.blocks.value_or(1) <= vramgate::TextScanner::kMaxCount,
        "fuzz_metrics_page: blocks out of range");
  CHECK(page->pool.block_tokens.value_or(1) > 0, "fuzz_metrics_page: tokens of a block out of range");
  return 0;
}
