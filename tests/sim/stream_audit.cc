#include "tests/sim/stream_audit.h"

#include "absl/strings/str_cat.h"

namespace vramgate::sim {

void StreamAudit::See(const Op& op, const OpResult& result, const Effects& effects) {
  const bool calls = op.kind == Op::Kind::kAdmit || (op.kind == Op::Kind::kReattach && result.code != 0);
  const Ref ref{result.lease.id.value, result.lease.attachment};
  int without_lease = calls && ref.first == 0 ? 1 : 0;  // answers still owed to calls that got no lease
  if (calls && ref.first != 0 && !calls_.emplace(ref, Call::kOpen).second) Find("I3: an attachment was given twice");

  SeeRows(effects);
  for (const Decision& d : effects.decisions) {
    const Ref of{d.lease.id.value, d.lease.attachment};
    switch (d.kind) {
      case Decision::Kind::kAnswer:
        SeeAnswer(d, &without_lease);
        break;
      case Decision::Kind::kStop:
        if (const auto it = calls_.find(of); it == calls_.end() || it->second != Call::kGranted) {
          Find(absl::StrCat("a stop to no holder: ", ToString(d)));
        }
        break;
      case Decision::Kind::kLate:
      case Decision::Kind::kExtended:
        break;  // of no concern to a caller
      case Decision::Kind::kEnd: {
        const auto it = calls_.find(of);
        if (it == calls_.end() || it->second != Call::kGranted) Find(absl::StrCat("an end of no lease: ", ToString(d)));
        auto from = calls_.lower_bound({of.first, 0});
        for (auto to = from; to != calls_.end() && to->first.first == of.first; from = to = calls_.erase(to)) {
          if (to->second == Call::kOpen) Find(absl::StrCat("I3: no answer before the end: ", ToString(d)));
        }
        if (const auto sum = lease_sums_.find(of.first); sum != lease_sums_.end()) {
          for (const auto& [account, bytes] : sum->second) {
            if (bytes != 0)
              Find(absl::StrCat("I1: lease ", of.first, " ended and left ", bytes, " B in account ", account));
          }
          lease_sums_.erase(sum);
        }
        break;
      }
    }
  }
  if (without_lease != 0) Find(absl::StrCat("I3: ", without_lease, " answers missing to a call without a lease"));
  if (calls && ref.first != 0 && !result.waiting) {
    if (const auto it = calls_.find(ref); it != calls_.end() && it->second == Call::kOpen) {
      Find(absl::StrCat("I3: not waiting and not answered: lease ", ref.first, "#", ref.second));
    }
  }
}

void StreamAudit::SeeAnswer(const Decision& d, int* without_lease) {
  if (d.lease.id.value == 0) {
    --*without_lease;
    return;
  }
  const auto it = calls_.find({d.lease.id.value, d.lease.attachment});
  if (it == calls_.end() || it->second != Call::kOpen) {
    Find(absl::StrCat("I3: an answer to no open call: ", ToString(d)));
    return;
  }
  it->second = d.outcome == Outcome::kGranted ? Call::kGranted : Call::kRefused;
}

void StreamAudit::SeeRows(const Effects& effects) {
  for (AccountId id : effects.named) {
    if (sums_.size() <= Index(id)) sums_.resize(Index(id) + 1);
    if (sums_[Index(id)].used != 0) Find(absl::StrCat("an account was renamed with bytes in it: ", Index(id)));
    sums_[Index(id)] = {.known = true};
  }
  for (const LedgerRow& row : effects.rows) {
    const size_t a = Index(row.account);
    if (a >= sums_.size() || !sums_[a].known) {
      Find(absl::StrCat("a row of an account without a name: ", a));
      continue;
    }
    sums_[a].used += row.delta_bytes;
    if (row.event == LedgerEvent::kFixed) sums_[a].fixed += row.delta_bytes;
    if (row.used_bytes != sums_[a].used) {
      Find(absl::StrCat("I1: account ", a, " says used ", row.used_bytes, " where its rows sum to ", sums_[a].used));
    }
    if (row.delta_bytes > 0 && row.used_bytes > row.capacity_bytes) {
      Find(absl::StrCat("I2: overrun of account ", a, ": used ", row.used_bytes, " of ", row.capacity_bytes));
    }
    if (row.lease.value != 0) lease_sums_[row.lease.value][a] += row.delta_bytes;
  }
}

void StreamAudit::Settled() {
  for (const auto& [ref, call] : calls_) {
    if (call == Call::kOpen) Find(absl::StrCat("I3: never answered: lease ", ref.first, "#", ref.second));
    if (call == Call::kGranted) Find(absl::StrCat("I8: granted and never ended: lease ", ref.first));
  }
  for (size_t a = 0; a < sums_.size(); ++a) {
    if (sums_[a].used != sums_[a].fixed) {
      Find(absl::StrCat("I8: ", sums_[a].used - sums_[a].fixed, " B left in account ", a, " when all are gone"));
    }
  }
}

}  // namespace vramgate::sim
