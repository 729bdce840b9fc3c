// The fleet: which accounts each instance of each model is charged to, and what a lease there costs. Built once from
// the config; read by the queue, the dispatch and the gate.
//
// An island is a set of models that share a device, directly or through others (a tenant's hard share joins all it may
// touch): what happens in one island never lets a waiter of another go.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "admission/gate/budget.h"
#include "admission/gate/gate_config.h"
#include "admission/types.h"

namespace vramgate {

struct Instance {
  std::string name;
  ModelId model{0};
  std::vector<AccountId> devices;
  AccountId pool = kNoAccount;  // kNoAccount: dynamic, KV is charged to the devices
  int price_class = 0;
  int64_t fixed_bytes = 0;  // on each device, while it is loaded: its pool's included

  int64_t pool_bytes(const RankCost& cost) const { return pool == kNoAccount ? 0 : cost.kv_bytes; }
  // On each device. This and the next saturate at kUnlimitedBytes.
  int64_t device_bytes(const RankCost& cost) const;
  // Summed over the devices: what a tenant's share is charged.
  int64_t total_bytes(const RankCost& cost) const;
};

// Waiters that need the same: one model, and one instance or any. Dense index: see Fleet::line.
struct Line {
  ModelId model{0};
  std::vector<InstanceId> alternatives;
  int island = 0;
};

struct FleetModel {
  std::string name;
  InstanceId first_instance{0};
  int instances = 0;
  int first_line = 0;  // the "any instance" line; then one for each pin
  int island = 0;
};

class Fleet {
 public:
  // Adds the config's device and pool accounts to `budget`, fixed bytes included.
  // REQUIRES: a valid config: indices in range, sums that do not overflow.
  Fleet(const GateConfig& config, Budget& budget);

  const std::vector<FleetModel>& models() const { return models_; }
  const std::vector<Instance>& instances() const { return instances_; }
  const std::vector<Line>& lines() const { return lines_; }
  const Instance& instance(InstanceId id) const { return instances_[Index(id)]; }
  int islands() const { return islands_; }
  // The island that `account` belongs to; 0 for tenants (a limited tenant joins all islands into one).
  int island(AccountId account) const;
  int line(ModelId model, InstanceId pin) const;

  // All accounts that a lease of `cost` on `instance` is charged to. `tenant` may be kNoAccount.
  Charges ChargesOf(const Instance& instance, const RankCost& cost, AccountId tenant) const;

 private:
  void MakeIslands(const GateConfig& config, size_t accounts);

  std::vector<FleetModel> models_;
  std::vector<Instance> instances_;
  std::vector<Line> lines_;
  std::vector<int> account_island_;
  int islands_ = 1;
};

}  // namespace vramgate
