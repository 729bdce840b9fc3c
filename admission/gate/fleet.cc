#include "admission/gate/fleet.h"

#include <algorithm>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "admission/check.h"

namespace vramgate {
namespace {

// Root of `x` in a union-find forest, with path halving.
int Root(std::vector<int>& parent, int x) {
  while (parent[static_cast<size_t>(x)] != x) {
    int& p = parent[static_cast<size_t>(x)];
    p = parent[static_cast<size_t>(p)];
    x = p;
  }
  return x;
}

bool LimitsTenants(const GateConfig& config) {
  return config.default_tenant_limit_bytes != kUnlimitedBytes ||
         std::any_of(config.tenants.begin(), config.tenants.end(),
                     [](const TenantSpec& tenant) { return tenant.limit_bytes != kUnlimitedBytes; });
}

}  // namespace

int64_t Instance::device_bytes(const RankCost& cost) const {
  if (pool != kNoAccount) return cost.activation_bytes;
  int64_t sum = 0;
  return __builtin_add_overflow(cost.kv_bytes, cost.activation_bytes, &sum) ? kUnlimitedBytes : sum;
}

int64_t Instance::total_bytes(const RankCost& cost) const {
  int64_t sum = 0;
  int64_t total = 0;
  if (__builtin_add_overflow(cost.kv_bytes, cost.activation_bytes, &sum) ||
      __builtin_mul_overflow(sum, static_cast<int64_t>(devices.size()), &total)) {
    return kUnlimitedBytes;
  }
  return total;
}

Fleet::Fleet(const GateConfig& config, Budget& budget) {
  std::vector<AccountId> devices;
  for (const DeviceSpec& device : config.devices) {
    Account account{.name = absl::StrCat("device/", device.id)};
    account.capacity_bytes = device.capacity_bytes;
    account.ceiling_bytes = device.ceiling_bytes;
    devices.push_back(budget.AddAccount(std::move(account)));
  }
  for (const ModelSpec& model : config.models) {
    const ModelId id{static_cast<int32_t>(models_.size())};
    models_.push_back({model.name, InstanceId{static_cast<int32_t>(instances_.size())},
                       static_cast<int>(model.instances.size()), static_cast<int>(lines_.size())});
    std::vector<InstanceId> all;
    for (const InstanceSpec& spec : model.instances) {
      Instance instance{.name = spec.name, .model = id, .price_class = spec.price_class};
      instance.fixed_bytes = spec.fixed_bytes + spec.pool_bytes.value_or(0);
      for (int index : spec.devices) {
        const AccountId device = devices[static_cast<size_t>(index)];
        instance.devices.push_back(device);
        if (spec.loaded) budget.mutable_account(device).fixed_bytes += instance.fixed_bytes;
      }
      if (spec.pool_bytes) {
        Account pool{.name = absl::StrCat("pool/", model.name, "/", spec.name)};
        pool.capacity_bytes = pool.ceiling_bytes = *spec.pool_bytes;
        instance.pool = budget.AddAccount(std::move(pool));
      }
      all.push_back(InstanceId{static_cast<int32_t>(instances_.size())});
      instances_.push_back(std::move(instance));
    }
    lines_.push_back({.model = id, .alternatives = all});
    for (InstanceId instance : all) lines_.push_back({.model = id, .alternatives = {instance}});
  }
  MakeIslands(config, budget.size());
}

void Fleet::MakeIslands(const GateConfig& config, size_t accounts) {
  std::vector<int> parent(accounts);
  std::iota(parent.begin(), parent.end(), 0);
  const auto join = [&](AccountId a, AccountId b) {
    parent[static_cast<size_t>(Root(parent, static_cast<int>(a)))] = Root(parent, static_cast<int>(b));
  };
  const bool one = LimitsTenants(config);
  for (const FleetModel& model : models_) {
    const AccountId first = instances_[Index(model.first_instance)].devices.front();
    for (int i = 0; i < model.instances; ++i) {
      const Instance& instance = instances_[Index(model.first_instance) + static_cast<size_t>(i)];
      for (AccountId device : instance.devices) join(device, first);
      if (instance.pool != kNoAccount) join(instance.pool, first);
    }
    if (one) join(first, instances_.front().devices.front());
  }
  account_island_.assign(accounts, -1);
  islands_ = 0;
  for (size_t a = 0; a < accounts; ++a) {
    const auto root = static_cast<size_t>(Root(parent, static_cast<int>(a)));
    if (account_island_[root] < 0) account_island_[root] = islands_++;
    account_island_[a] = account_island_[root];
  }
  for (FleetModel& model : models_) {
    model.island = island(instances_[Index(model.first_instance)].devices.front());
  }
  for (Line& line : lines_) line.island = models_[Index(line.model)].island;
}

int Fleet::island(AccountId account) const {
  if (Index(account) >= account_island_.size()) return models_.empty() ? 0 : models_.front().island;
  return account_island_[Index(account)];
}

int Fleet::line(ModelId model, InstanceId pin) const {
  const FleetModel& m = models_[Index(model)];
  if (pin == kAnyInstance) return m.first_line;
  return m.first_line + 1 + static_cast<int>(Index(pin) - Index(m.first_instance));
}

Charges Fleet::ChargesOf(const Instance& instance, const RankCost& cost, AccountId tenant) const {
  Charges charges;
  const int64_t device_bytes = instance.device_bytes(cost);
  for (AccountId device : instance.devices) charges.Add(device, device_bytes);
  if (instance.pool != kNoAccount) charges.Add(instance.pool, cost.kv_bytes);
  if (tenant != kNoAccount) charges.Add(tenant, instance.total_bytes(cost));
  return charges;
}

}  // namespace vramgate
