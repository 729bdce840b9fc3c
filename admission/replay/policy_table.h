// The policies that a replay can run, by name.
//
//   const PolicyKind* kind = FindPolicy("worst_case");   // null: PolicyNames() says which there are
//
// Used by the replay and the command line. A new policy is a new row.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "admission/replay/policy.h"

namespace vramgate {

struct PolicyKind {
  std::string_view name;
  std::string_view what;
  VictimRule victim = VictimRule::kNewest;
  std::optional<Assurance> level;  // of the real gate, whose ledger says what is reserved; of others, what is occupied
  std::unique_ptr<Policy> (*make)(const Scene& scene) = nullptr;

  bool has_risk() const { return level == Assurance::kStatistical; }
};

// A policy, with the risk it is run at where it has one.
struct PolicyRun {
  const PolicyKind* kind = nullptr;
  double risk = 1e-3;
  // "worst_case", "statistical-0.001".
  std::string Label() const;
};

// In the order in which `--compare` runs them.
std::span<const PolicyKind> Policies();
const PolicyKind* FindPolicy(std::string_view name);
// "worst_case, watermark, ...".
std::string PolicyNames();

}  // namespace vramgate
