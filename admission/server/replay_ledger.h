// A replay's ledger: the rows of a run in a file as `vramgate serve --ledger` writes it, then read by the auditor.
//
//   absl::StatusOr<std::unique_ptr<ReplayLedger>> ledger = ReplayLedger::Open("");   // "": a file nobody sees
//   Replay(kind, input, {.recorder = ledger->get()});
//   absl::StatusOr<AuditReport> report = (*ledger)->Close();
//
// Used by `vramgate replay`. Thread rule: one thread. Unlike serve's, it waits for the disk: a replay loses no row.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "admission/gate/controller.h"
#include "admission/server/audit.h"
#include "admission/server/ledger.h"

namespace vramgate {

class ReplayLedger final : public Recorder {
 public:
  // A file of an earlier replay (its time begins at 0) is replaced. FAILED_PRECONDITION: another file of that name that
  // is not empty, such as the ledger of a sidecar.
  static absl::StatusOr<std::unique_ptr<ReplayLedger>> Open(const std::string& path);
  ~ReplayLedger() override;

  void OnAccount(AccountId id, const std::string& name) override { ledger_->NameAccount(id, name); }
  void OnRow(const LedgerRow& row) override;
  void OnDecision(const Decision& decision, Instant now) override {
    (void)decision;
    (void)now;
  }

  // Writes what is left, and audits the file. REQUIRES: no row after it.
  absl::StatusOr<AuditReport> Close();

 private:
  ReplayLedger(std::string path, bool temporary, std::unique_ptr<Ledger> ledger)
      : path_(std::move(path)), temporary_(temporary), ledger_(std::move(ledger)) {}

  const std::string path_;
  const bool temporary_;
  const std::unique_ptr<Ledger> ledger_;
  size_t unwritten_ = 0;
};

}  // namespace vramgate
