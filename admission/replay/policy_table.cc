#include "admission/replay/policy_table.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "admission/replay/gate_policy.h"
#include "admission/replay/oracle_policy.h"
#include "admission/replay/past_future_policy.h"
#include "admission/replay/ratio_policy.h"
#include "admission/replay/watermark_policy.h"

namespace vramgate {
namespace {

template <typename T>
std::unique_ptr<Policy> Make(const Scene& scene) {
  return std::make_unique<T>(scene);
}

constexpr PolicyKind kPolicies[] = {
    {"worst_case", "vramgate's gate: prompt + max_tokens of everybody fit", VictimRule::kNewest, Assurance::kWorstCase,
     Make<GatePolicy>},
    {"lockstep", "vramgate's gate: the future peak fits, all growing to max_tokens", VictimRule::kNewest,
     Assurance::kLockstep, Make<GatePolicy>},
    {"statistical", "vramgate's gate: the future fits but for a stated risk", VictimRule::kNewest,
     Assurance::kStatistical, Make<GatePolicy>},
    {"watermark",
     "vLLM's way: the prompt fits above a watermark; preempts the newest",
     VictimRule::kNewest,
     {},
     Make<WatermarkPolicy>},
    {"ratio",
     "SGLang's way: a share of what may be generated fits; retracts",
     VictimRule::kFewestGenerated,
     {},
     Make<RatioPolicy>},
    {"past_future",
     "LightLLM's way: the peak of sampled futures fits",
     VictimRule::kNewest,
     {},
     Make<PastFuturePolicy>},
    {"oracle", "knows every output: the bound", VictimRule::kNewest, {}, Make<OraclePolicy>},
};

}  // namespace

std::string PolicyRun::Label() const {
  std::string label(kind->name);
  if (kind->has_risk()) absl::StrAppendFormat(&label, "-%g", risk);
  return label;
}

std::span<const PolicyKind> Policies() {
  return kPolicies;
}

const PolicyKind* FindPolicy(std::string_view name) {
  for (const PolicyKind& kind : kPolicies) {
    if (kind.name == name) return &kind;
  }
  return nullptr;
}

std::string PolicyNames() {
  std::string names;
  for (const PolicyKind& kind : kPolicies) {
    absl::StrAppend(&names, names.empty() ? "" : ", ", absl::string_view(kind.name.data(), kind.name.size()));
  }
  return names;
}

}  // namespace vramgate
