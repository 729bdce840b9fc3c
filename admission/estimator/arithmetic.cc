#include "admission/estimator/arithmetic.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "admission/check.h"

namespace vramgate {

absl::StatusOr<int64_t> Narrow(Wide value, const char* what) {
  CHECK(value >= 0, "Narrow: a negative size");
  if (value > kMaxBytes) return absl::OutOfRangeError(absl::StrCat(what, ": more than 8 EiB, no device holds that"));
  return static_cast<int64_t>(value);
}

}  // namespace vramgate
