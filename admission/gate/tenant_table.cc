#include "admission/gate/tenant_table.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "admission/check.h"

namespace vramgate {
namespace {

absl::string_view Absl(std::string_view s) {
  return {s.data(), s.size()};
}

Account ShareOf(std::string_view name, int64_t limit_bytes) {
  Account account{.name = TenantAccountName(name)};
  account.capacity_bytes = account.ceiling_bytes = limit_bytes;
  return account;
}

void SetWeight(Tenant& tenant, double weight) {
  constexpr double kLeast = 0.001;  // as config.proto has it
  constexpr double kMost = 1e6;
  tenant.weight = std::clamp(weight, kLeast, kMost);
  tenant.price = static_cast<int64_t>(std::llround(static_cast<double>(int64_t{1} << 30) / tenant.weight));
}

}  // namespace

std::string TenantAccountName(std::string_view tenant) {
  constexpr std::string_view kHex = "0123456789ABCDEF";
  std::string name = "tenant/";
  for (const char c : tenant) {
    const auto byte = static_cast<unsigned char>(c);
    if (std::isalnum(byte) || c == '-' || c == '_' || c == '.' || c == '~') {
      name += c;
    } else {
      name += {'%', kHex[byte >> 4], kHex[byte & 15]};
    }
  }
  return name;
}

TenantTable::TenantTable(const GateConfig& config, int islands, Budget& budget)
    : budget_(budget),
      default_limit_bytes_(config.default_tenant_limit_bytes),
      default_weight_(config.default_tenant_weight),
      islands_(static_cast<size_t>(islands)) {
  by_name_.reserve(1024);
  for (const TenantSpec& spec : config.tenants) {
    Tenant& tenant = tenants_.emplace_back();
    tenant.name = spec.name;
    tenant.account = budget.AddAccount(ShareOf(spec.name, spec.limit_bytes));
    tenant.listed = true;
    SetWeight(tenant, spec.weight);
    tenant.shares.resize(islands_);
    by_name_.emplace(Absl(tenant.name), size() - 1);
  }
}

// A slot that nobody is known by.
int32_t TenantTable::FreeSlot() {
  if (without_lease_.size() < kMostRemembered) {
    tenants_.emplace_back();
    return size() - 1;
  }
  Tenant& forgotten = without_lease_.front();
  without_lease_.pop_front();
  const auto it = by_name_.find(Absl(forgotten.name));
  const int32_t index = it->second;
  by_name_.erase(it);
  forgotten_use_ += forgotten.use.before;  // it holds nothing
  forgotten.use = {};
  return index;
}

int32_t TenantTable::Acquire(std::string_view name, bool* new_account) {
  *new_account = false;
  if (const auto it = by_name_.find(Absl(name)); it != by_name_.end()) {
    Tenant& known = tenant(it->second);
    if (++known.leases == 1 && !known.listed) without_lease_.erase(without_lease_.iterator_to(known));
    return it->second;
  }
  const int32_t index = FreeSlot();
  Tenant& added = tenant(index);
  added.name.assign(name);
  added.leases = 1;
  SetWeight(added, default_weight_);
  added.shares.assign(islands_, {});
  by_name_.emplace(Absl(added.name), index);
  if (default_limit_bytes_ != kUnlimitedBytes) {
    if (added.account == kNoAccount) {
      added.account = budget_.AddAccount(ShareOf(name, default_limit_bytes_));
    } else {
      budget_.mutable_account(added.account) = ShareOf(name, default_limit_bytes_);
    }
    *new_account = true;
  }
  return index;
}

AccountId TenantTable::AccountOf(std::string_view name) const {
  const auto it = by_name_.find(Absl(name));
  return it == by_name_.end() ? kNoAccount : tenant(it->second).account;
}

void TenantTable::Release(int32_t index) {
  Tenant& released = tenant(index);
  CHECK(released.leases > 0, "TenantTable: more leases ended than began");
  if (--released.leases > 0 || released.listed) return;
  CHECK(released.use.bytes == 0, "TenantTable: without a lease, and holds bytes");
  without_lease_.push_back(released);
}

}  // namespace vramgate
