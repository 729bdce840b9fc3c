// What is told of every change: rows to the ledger file, decisions to the log. Called under the Controller's lock; both
// only put into a queue. Lifetime rule: ledger and log outlive it; either may be null.
#pragma once

#include <string>

#include "admission/gate/controller.h"
#include "admission/server/decision_log.h"
#include "admission/server/ledger.h"

namespace vramgate {

class ServerRecorder final : public Recorder {
 public:
  ServerRecorder(Ledger* ledger, DecisionLog* log) : ledger_(ledger), log_(log) {}

  void OnAccount(AccountId id, const std::string& name) override {
    if (ledger_ != nullptr) ledger_->NameAccount(id, name);
  }
  void OnRow(const LedgerRow& row) override {
    if (ledger_ != nullptr) ledger_->Append(row);
  }
  void OnDecision(const Decision& decision, Instant now) override {
    if (decision.kind == Decision::Kind::kExtended) return;  // stands in the ledger, and would flood the log
    if (log_ != nullptr) log_->Append(decision, now);
  }

 private:
  Ledger* const ledger_;
  DecisionLog* const log_;
};

}  // namespace vramgate
