// Tenants that have a lease or stand in the config, with the account of their hard share. A tenant that is not listed
// is known while it has leases, and forgotten with its last one.
//
// Used by the Gate. Thread rule: the Gate's thread. A name's storage stays where it is while the tenant is known. Slots
// are reused with their memory, so a steady set of tenants allocates nothing.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "admission/gate/budget.h"
#include "admission/gate/gate_config.h"

namespace vramgate {

// "tenant/" and the name, percent-encoded so that it can stand in a CSV, a label or a log line.
std::string TenantAccountName(std::string_view tenant);

class TenantTable {
 public:
  struct Tenant {
    std::string name;
    AccountId account = kNoAccount;  // kNoAccount: no hard share and not listed
    int64_t leases = 0;
    int32_t waiting = 0;
    bool listed = false;
  };

  // Adds the accounts of the listed tenants to `budget`, which must outlive this.
  TenantTable(const GateConfig& config, Budget& budget);

  // The tenant's index, made known where it was not, with one more lease.
  // *new_account: an account was added or renamed, and the ledger must hear of it.
  int32_t Acquire(std::string_view name, bool* new_account);
  // One lease less. A forgotten tenant's account is empty by then: release its reservations first.
  void Release(int32_t index);

  // The account of a tenant that is known; kNoAccount for one that is not, or has none.
  AccountId AccountOf(std::string_view name) const;

  Tenant& tenant(int32_t index) { return tenants_[static_cast<size_t>(index)]; }
  const Tenant& tenant(int32_t index) const { return tenants_[static_cast<size_t>(index)]; }

 private:
  Budget& budget_;
  const int64_t default_limit_bytes_;
  std::deque<Tenant> tenants_;
  std::vector<int32_t> free_;
  absl::flat_hash_map<absl::string_view, int32_t> by_name_;  // views of Tenant::name
};

}  // namespace vramgate
