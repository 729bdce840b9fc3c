#include "admission/gate/tenant_table.h"

#include <utility>

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

TenantTable::TenantTable(const GateConfig& config, Budget& budget)
    : budget_(budget), default_limit_bytes_(config.default_tenant_limit_bytes) {
  by_name_.reserve(1024);
  for (const TenantSpec& spec : config.tenants) {
    tenants_.push_back(
        {.name = spec.name, .account = budget.AddAccount(ShareOf(spec.name, spec.limit_bytes)), .listed = true});
    by_name_.emplace(Absl(tenants_.back().name), static_cast<int32_t>(tenants_.size() - 1));
  }
}

int32_t TenantTable::Acquire(std::string_view name, bool* new_account) {
  *new_account = false;
  if (const auto it = by_name_.find(Absl(name)); it != by_name_.end()) {
    ++tenant(it->second).leases;
    return it->second;
  }
  int32_t index = static_cast<int32_t>(tenants_.size());
  if (free_.empty()) {
    tenants_.emplace_back();
  } else {
    index = free_.back();
    free_.pop_back();
  }
  Tenant& added = tenant(index);
  added.name.assign(name);
  added.leases = 1;
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
  CHECK(released.waiting == 0, "TenantTable: forgotten while waiting");
  by_name_.erase(Absl(released.name));
  free_.push_back(index);
}

}  // namespace vramgate
