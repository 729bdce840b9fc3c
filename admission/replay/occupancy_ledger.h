// The ledger of policies that reserve nothing: what the engine model occupies, in rows as the gate writes them, one
// account for the pool. Such a ledger has no overrun by construction; it shows what was held when, and by whom.
//
// Used by the replay. Confined to one thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "admission/gate/controller.h"
#include "admission/ledger_row.h"

namespace vramgate {

class OccupancyLedger {
 public:
  // `recorder` may be null: then nothing is written.
  OccupancyLedger(Recorder* recorder, const std::string& pool, int64_t pool_bytes, size_t jobs)
      : recorder_(recorder), pool_bytes_(pool_bytes), held_(recorder == nullptr ? 0 : jobs) {
    if (recorder_ == nullptr) return;
    recorder_->OnAccount(AccountId{0}, pool);
    Row(LedgerEvent::kStart, -1, 0, Instant{0});
  }
  // A job that held nothing is granted, one whose last bytes go is released; in between it is extended.
  void Change(int32_t job, int64_t delta_bytes, Instant now) {
    if (recorder_ == nullptr) return;
    int64_t& held = held_[static_cast<size_t>(job)];
    const bool first = held == 0;
    held += delta_bytes;
    used_bytes_ += delta_bytes;
    const LedgerEvent change = delta_bytes > 0 ? LedgerEvent::kExtend : LedgerEvent::kShrink;
    Row(first ? LedgerEvent::kGrant : (held == 0 ? LedgerEvent::kRelease : change), job, delta_bytes, now);
  }
  void Stop(Instant now) {
    if (recorder_ != nullptr) Row(LedgerEvent::kStop, -1, 0, now);
  }

 private:
  void Row(LedgerEvent event, int32_t job, int64_t delta_bytes, Instant now) {
    recorder_->OnRow({.time = now,
                      .lease = {static_cast<uint64_t>(job + 1)},
                      .event = event,
                      .delta_bytes = delta_bytes,
                      .used_bytes = used_bytes_,
                      .capacity_bytes = pool_bytes_});
  }

  Recorder* const recorder_;
  const int64_t pool_bytes_;
  int64_t used_bytes_ = 0;
  std::vector<int64_t> held_;  // by job
};

}  // namespace vramgate
