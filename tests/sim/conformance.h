// A gate beside the reference: every operation goes to both, and everything that can be seen of them is compared after
// it.
//
//   Conformance both(config);
//   const Effects& said = both.Apply(op, &result);
//   if (!both.findings().empty()) ...   // sentences; the first is the one to look at
//
// It reports instead of aborting, so that a test can show that it would. A Sabotage makes one of them a broken one:
// that is the canary. Thread rule: one thread.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <unordered_map>
#include <vector>

#include "admission/gate/gate.h"
#include "tests/sim/op.h"
#include "tests/sim/reference_gate.h"
#include "tests/sim/stream_audit.h"

namespace vramgate::sim {

// Ways for a gate to be wrong. Absent: the gate as it is.
struct Sabotage {
  std::function<void(GateConfig&)> config;          // the gate alone gets this config
  std::function<bool(const Op&)> deaf;              // true: the gate does not hear of the operation
  std::function<void(const Op&, Effects&)> tamper;  // what the gate says is changed on its way
  ReferenceGate::Flaws flaws;                       // the reference leaves something out instead
  bool shares_unseen = false;                       // what tenants have had is not compared, only who goes
};

class Conformance {
 public:
  explicit Conformance(const GateConfig& config, Sabotage sabotage = {});

  // Gives `op` to both and compares. The effects are the gate's, valid until the next call.
  const Effects& Apply(const Op& op, OpResult* result);
  // The same without comparing: for prefixes that were compared before.
  const Effects& ApplyQuietly(const Op& op, OpResult* result);
  // Every lease is gone: nothing is held, owed or left (I8).
  void CheckSettled();

  const Gate& gate() const { return gate_; }
  const std::vector<std::string>& findings() const { return findings_; }

 private:
  void CompareResults(const Op& op, const OpResult& gates, const OpResult& references);
  void CompareDecisions(const Op& op);
  void CompareLeases();
  void CompareAccounts();
  void CompareShares();
  // The reference's name for the gate's; 0 and 0 where it has none. A gate's attachments go on where a slot's former
  // lease stopped.
  LeaseRef ToReference(LeaseRef ref) const;
  void Find(std::string text) { findings_.push_back(std::move(text)); }

  const Sabotage sabotage_;
  Gate gate_;
  ReferenceGate reference_;
  std::vector<std::string> findings_;
  StreamAudit audit_;
  Effects effects_;
  std::vector<Decision> expected_;
  OpResult expected_result_;
  struct Twin {
    LeaseId id;
    uint32_t attachment = 0;  // the gate's, of the reference's 0th
  };
  std::unordered_map<uint64_t, Twin> twins_;  // by the gate's id
};

}  // namespace vramgate::sim
