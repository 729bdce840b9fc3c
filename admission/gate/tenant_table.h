// Tenants that have a lease or stand in the config, with their weight, what they have had, and the account of their
// hard share. A tenant that is not listed is remembered after its last lease, until kMostRemembered others have left
// after it: who has had more than its share does not shed that by leaving for a moment.
//
// Used by the Gate, the wait queue and the fair shares. Thread rule: the Gate's thread. Lifetime rule: a Tenant stays
// where it is, its name while it is known. Slots are reused with their memory, so a steady set of tenants allocates
// nothing.
#pragma once

#include <boost/intrusive/list.hpp>
#include <cstdint>
#include <deque>
#include <string>
#include <string_view>

#include "absl/container/flat_hash_map.h"
#include "absl/container/inlined_vector.h"
#include "absl/strings/string_view.h"
#include "admission/gate/budget.h"
#include "admission/gate/gate_config.h"
#include "admission/gate/memory_use.h"

namespace vramgate {

// "tenant/" and the name, percent-encoded so that it can stand in a CSV, a label or a log line.
std::string TenantAccountName(std::string_view tenant);

__extension__ using FairTime = __int128;  // memory x time / weight: fair_shares.h

// A tenant in one island.
struct FairShare {
  FairTime had = 0;
  int32_t waiting = 0;
};

struct Tenant {
  std::string name;
  AccountId account = kNoAccount;  // kNoAccount: no hard share and not listed
  int64_t leases = 0;
  bool listed = false;
  double weight = 1;
  int64_t price = 0;                         // 2^30 / weight: what a unit of memory x time costs it
  absl::InlinedVector<FairShare, 1> shares;  // by island
  MemoryUse use;                             // of all its leases
  boost::intrusive::list_member_hook<> without_lease_hook;
};

class TenantTable {
 public:
  static constexpr size_t kMostRemembered = 256;

  // Adds the accounts of the listed tenants to `budget`, which must outlive this.
  TenantTable(const GateConfig& config, int islands, Budget& budget);
  ~TenantTable() { without_lease_.clear(); }

  // The tenant's index, made known where it was not, with one more lease.
  // *new_account: an account was added or renamed, and the ledger must hear of it.
  int32_t Acquire(std::string_view name, bool* new_account);
  // One lease less. The account of a tenant without leases is empty: release its reservations first.
  void Release(int32_t index);

  // The account of a tenant that is known; kNoAccount for one that is not, or has none.
  AccountId AccountOf(std::string_view name) const;

  Tenant& tenant(int32_t index) { return tenants_[static_cast<size_t>(index)]; }
  const Tenant& tenant(int32_t index) const { return tenants_[static_cast<size_t>(index)]; }
  // Known now, in slots 0 to size() - 1.
  int32_t size() const { return static_cast<int32_t>(tenants_.size()); }
  // What those had who are no longer known.
  ByteTime forgotten_use() const { return forgotten_use_; }

 private:
  int32_t FreeSlot();

  Budget& budget_;
  const int64_t default_limit_bytes_;
  const double default_weight_;
  const size_t islands_;
  std::deque<Tenant> tenants_;
  // Not listed, and remembered only; who left first is first.
  boost::intrusive::list<
      Tenant, boost::intrusive::member_hook<Tenant, boost::intrusive::list_member_hook<>, &Tenant::without_lease_hook>>
      without_lease_;
  absl::flat_hash_map<absl::string_view, int32_t> by_name_;  // views of Tenant::name
  ByteTime forgotten_use_ = 0;
};

}  // namespace vramgate
