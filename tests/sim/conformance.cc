#include "tests/sim/conformance.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace vramgate::sim {
namespace {

GateConfig GatesConfig(GateConfig config, const Sabotage& sabotage) {
  if (sabotage.config) sabotage.config(config);
  return config;
}

bool SameState(LeaseState a, ReferenceGate::State b) {
  switch (a) {
    case LeaseState::kFree:
      return false;
    case LeaseState::kWaiting:
      return b == ReferenceGate::State::kWaiting;
    case LeaseState::kPlaceKept:
      return b == ReferenceGate::State::kPlaceKept;
    case LeaseState::kHeld:
      return b == ReferenceGate::State::kHeld;
    case LeaseState::kLingering:
      return b == ReferenceGate::State::kLingering;
  }
  return false;
}

}  // namespace

Conformance::Conformance(const GateConfig& config, Sabotage sabotage)
    : sabotage_(std::move(sabotage)),
      gate_(GatesConfig(config, sabotage_)),
      reference_(config, sabotage_.flaws),
      audit_(&findings_) {
  gate_.Start({0}, effects_);
  audit_.SeeRows(effects_);
}

LeaseRef Conformance::ToReference(LeaseRef ref) const {
  const auto it = twins_.find(ref.id.value);
  if (it == twins_.end()) return {};
  return {it->second.id, ref.attachment - it->second.attachment};
}

const Effects& Conformance::ApplyQuietly(const Op& op, OpResult* result) {
  effects_.Clear();
  expected_.clear();
  *result = {};
  if (!sabotage_.deaf || !sabotage_.deaf(op)) *result = ApplyToGate(op, gate_, effects_);
  if (sabotage_.tamper) sabotage_.tamper(op, effects_);
  Op translated = op;
  translated.lease = ToReference(op.lease);
  expected_result_ = reference_.Apply(translated, &expected_);
  if (result->lease.id.value != 0) {
    const LeaseRef& twin = expected_result_.lease;
    twins_.emplace(result->lease.id.value, Twin{twin.id, result->lease.attachment - twin.attachment});
  }
  audit_.See(op, *result, effects_);
  return effects_;
}

const Effects& Conformance::Apply(const Op& op, OpResult* result) {
  ApplyQuietly(op, result);
  gate_.CheckInvariants();
  CompareResults(op, *result, expected_result_);
  CompareDecisions(op);
  CompareLeases();
  CompareAccounts();
  if (!sabotage_.shares_unseen) CompareShares();
  return effects_;
}

void Conformance::CompareResults(const Op& op, const OpResult& gates, const OpResult& references) {
  const LeaseRef ref = ToReference(gates.lease);
  if (ref.id != references.lease.id || ref.attachment != references.lease.attachment) {
    Find(absl::StrCat("another lease than the reference's ", references.lease.id.value, "#",
                      references.lease.attachment, " after ", ToString(op)));
  }
  if (gates.waiting != references.waiting || gates.code != references.code) {
    Find(absl::StrCat("returned waiting ", gates.waiting, " code ", gates.code, ", not ", references.waiting, " and ",
                      references.code, " after ", ToString(op)));
  }
}

void Conformance::CompareDecisions(const Op& op) {
  std::vector<Decision> gates = effects_.decisions;
  for (Decision& d : gates) d.lease = ToReference(d.lease);
  if (op.kind == Op::Kind::kDrain) {  // island by island, or all at once: both are right
    const auto earlier = [](const Decision& a, const Decision& b) { return a.lease.id < b.lease.id; };
    std::sort(gates.begin(), gates.end(), earlier);
    std::sort(expected_.begin(), expected_.end(), earlier);
  }
  const auto same = [](const Decision& a, const Decision& b) {
    return a.kind == b.kind && a.outcome == b.outcome && a.lease.id == b.lease.id &&
           a.lease.attachment == b.lease.attachment && a.model == b.model && a.instance == b.instance &&
           a.cost == b.cost && a.priority == b.priority && a.waited == b.waited;
  };
  if (std::equal(gates.begin(), gates.end(), expected_.begin(), expected_.end(), same)) return;
  std::string text = absl::StrCat("decisions differ after ", ToString(op), "\n  gate:");
  for (const Decision& d : gates) absl::StrAppend(&text, "\n    ", ToString(d));
  absl::StrAppend(&text, "\n  reference:");
  for (const Decision& d : expected_) absl::StrAppend(&text, "\n    ", ToString(d));
  Find(std::move(text));
}

void Conformance::CompareLeases() {
  std::map<uint64_t, const ReferenceGate::Lease*> by_id;
  for (const ReferenceGate::Lease& lease : reference_.leases()) by_id[lease.id.value] = &lease;
  for (const Lease* lease = gate_.FirstInUse(0); lease != nullptr;
       lease = gate_.FirstInUse(LeaseTable::Slot(lease->id) + 1)) {
    const auto it = by_id.find(ToReference(lease->ref()).id.value);
    if (it == by_id.end()) {
      Find(absl::StrCat("the reference has no lease ", LeaseName(lease->id)));
      continue;
    }
    const ReferenceGate::Lease& other = *it->second;
    const bool waits = lease->state == LeaseState::kWaiting;
    const bool same = SameState(lease->state, other.state) &&
                      ToReference(lease->ref()).attachment == other.attachment &&
                      static_cast<int>(lease->instance) == other.instance && lease->timer == other.timer &&
                      lease->stream == other.stream && lease->revoking == other.revoking &&
                      (!waits || lease->bypassed == other.bypassed);
    if (!same) {
      Find(absl::StrCat("lease ", other.id.value, " differs: state ", static_cast<int>(lease->state), " and ",
                        static_cast<int>(other.state), ", instance ", static_cast<int>(lease->instance), " and ",
                        other.instance, ", timer ", lease->timer.ns, " and ", other.timer.ns, ", bypassed ",
                        lease->bypassed, " and ", other.bypassed));
    }
    by_id.erase(it);
  }
  for (const auto& [id, lease] : by_id) Find(absl::StrCat("the gate lacks the reference's lease ", id));
}

void Conformance::CompareAccounts() {
  const ReferenceGate::Sums expected = reference_.SumsNow();
  ReferenceGate::Sums sums;
  sums.reserved.resize(expected.reserved.size());
  sums.lingering.resize(expected.reserved.size());
  sums.overusers.resize(expected.reserved.size());
  std::vector<bool> compared(expected.reserved.size());
  for (size_t a = 0; a < gate_.budget().size(); ++a) {
    const Account& account = gate_.budget().account(AccountId{static_cast<int32_t>(a)});
    const int index = reference_.AccountNamed(account.name);
    if (index < 0) {
      Find(absl::StrCat("the reference has no account ", account.name));
      continue;
    }
    const auto i = static_cast<size_t>(index);
    compared[i] = true;
    sums.reserved[i] += account.reserved_bytes;  // a tenant that was forgotten and came back may have two
    sums.lingering[i] += account.lingering_bytes;
    sums.overusers[i] += account.overusers;
  }
  for (size_t i = 0; i < compared.size(); ++i) {
    if (!compared[i]) continue;
    const bool same = sums.reserved[i] == expected.reserved[i] && sums.lingering[i] == expected.lingering[i] &&
                      sums.overusers[i] == expected.overusers[i];
    if (same) continue;
    Find(absl::StrCat("account ", i, " differs: reserved ", sums.reserved[i], " and ", expected.reserved[i],
                      ", lingering ", sums.lingering[i], " and ", expected.lingering[i], ", overusers ",
                      sums.overusers[i], " and ", expected.overusers[i]));
  }
}

// Of tenants that have a lease, in its island.
void Conformance::CompareShares() {
  for (const Lease* lease = gate_.FirstInUse(0); lease != nullptr;
       lease = gate_.FirstInUse(LeaseTable::Slot(lease->id) + 1)) {
    const Tenant& tenant = gate_.tenants().tenant(lease->tenant);
    const auto island = static_cast<size_t>(gate_.fleet().models()[Index(lease->model)].island);
    const __int128 expected = reference_.Had(tenant.name, static_cast<int>(lease->model));
    if (tenant.shares[island].had == expected) continue;
    Find(absl::StrCat("tenant ", tenant.name, " has had ", static_cast<double>(tenant.shares[island].had), ", not ",
                      static_cast<double>(expected)));
    return;
  }
}

void Conformance::CheckSettled() {
  audit_.Settled();
  if (gate_.leases() != 0) Find(absl::StrCat("I8: ", gate_.leases(), " leases are left"));
  if (gate_.queue().size() != 0 || gate_.queue().tokens() != 0) Find("I8: the queue is not empty");
  for (size_t a = 0; a < gate_.budget().size(); ++a) {
    const Account& account = gate_.budget().account(AccountId{static_cast<int32_t>(a)});
    if (account.reserved_bytes != 0 || account.held != 0 || account.overusers != 0 || account.lingering_bytes != 0) {
      Find(absl::StrCat("I8: ", account.reserved_bytes, " B are left in ", account.name));
    }
  }
}

}  // namespace vramgate::sim
