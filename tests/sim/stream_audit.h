// What can be found out about a gate from its stream of effects alone, without asking it and without a reference: one
// answer per Admit (I3), sums that are the running sums of their rows (I1), no row that takes beyond the capacity (I2),
// nothing left over when all are gone (I8).
//
//   StreamAudit audit(&findings);
//   audit.See(op, result, effects);   // after each operation
//   audit.Settled();                  // when every lease is gone
//
// Findings are sentences, appended; the audit goes on after one. Thread rule: one thread.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "admission/gate/gate.h"
#include "tests/sim/op.h"

namespace vramgate::sim {

class StreamAudit {
 public:
  explicit StreamAudit(std::vector<std::string>* findings) : findings_(findings) {}

  void See(const Op& op, const OpResult& result, const Effects& effects);
  // Start's rows, which no Op makes.
  void SeeRows(const Effects& effects);
  void Settled();

 private:
  enum class Call : uint8_t { kOpen, kGranted, kRefused };
  using Ref = std::pair<uint64_t, uint32_t>;

  void SeeAnswer(const Decision& decision, int* without_lease);
  void Find(std::string text) { findings_->push_back(std::move(text)); }

  struct Sum {
    bool known = false;
    int64_t used = 0;
    int64_t fixed = 0;
  };
  std::vector<std::string>* findings_;
  std::map<Ref, Call> calls_;  // of leases that are not gone
  std::unordered_map<uint64_t, std::map<size_t, int64_t>> lease_sums_;
  std::vector<Sum> sums_;  // by account
};

}  // namespace vramgate::sim
