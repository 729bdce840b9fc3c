#include "admission/types.h"

#include <charconv>

#include "absl/strings/str_format.h"

namespace vramgate {
namespace {
constexpr std::string_view kLeasePrefix = "leases/";
}  // namespace

std::string_view PromptSourceName(PromptSource source) {
  switch (source) {
    case PromptSource::kNone:
      return "";
    case PromptSource::kGiven:
      return "given";
    case PromptSource::kBound:
      return "bound";
    case PromptSource::kCalibrated:
      return "calibrated";
  }
  return "";
}

std::string LeaseName(LeaseId id) {
  return absl::StrFormat("leases/%016x", id.value);
}

std::optional<LeaseId> ParseLeaseName(std::string_view name) {
  if (!name.starts_with(kLeasePrefix)) return std::nullopt;
  name.remove_prefix(kLeasePrefix.size());
  LeaseId id;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), id.value, 16);
  if (error != std::errc() || end != name.data() + name.size() || name.size() != 16 || id.value == 0)
    return std::nullopt;
  return id;
}

}  // namespace vramgate
