#include "admission/gate/snapshot.h"

#include <algorithm>

#include "absl/container/flat_hash_map.h"

namespace vramgate {
namespace {

// Counts `lease` at every account that lacks the bytes it needs there.
void CountWaiter(const Gate& gate, const Lease& lease, Snapshot& snapshot) {
  const auto lacks = [&](AccountId id, int64_t bytes) {
    const Account& account = gate.budget().account(id);
    if (bytes > account.free_bytes() || account.stale || account.overusers > 0) ++snapshot.accounts[Index(id)].waiting;
  };
  const Fleet& fleet = gate.fleet();
  const AccountId tenant = gate.TenantAccount(lease);
  int64_t least_total = kUnlimitedBytes;
  for (InstanceId id : fleet.lines()[static_cast<size_t>(lease.line)].alternatives) {
    const Instance& instance = fleet.instance(id);
    const RankCost& cost = lease.costs[static_cast<size_t>(instance.price_class)];
    if (instance.pool != kNoAccount) lacks(instance.pool, cost.kv_bytes);
    for (AccountId device : instance.devices) lacks(device, instance.device_bytes(cost));
    least_total = std::min(least_total, instance.total_bytes(cost));
  }
  if (tenant != kNoAccount) lacks(tenant, least_total);
}

void AddTenants(const TenantTable& tenants, Instant now, Snapshot& snapshot) {
  const auto byte_seconds = [](ByteTime use) { return static_cast<double>(use) * 1e-9; };
  snapshot.others_byte_seconds = byte_seconds(tenants.forgotten_use());
  for (int32_t t = 0; t < tenants.size(); ++t) {
    const Tenant& tenant = tenants.tenant(t);
    if (t < Snapshot::kMostTenants) {
      snapshot.tenants.push_back({tenant.name, byte_seconds(tenant.use.At(now))});
    } else {
      snapshot.others_byte_seconds += byte_seconds(tenant.use.At(now));
    }
  }
}

void ViewAssurances(const Gate& gate, Snapshot& snapshot) {
  const std::vector<Instance>& instances = gate.fleet().instances();
  for (size_t i = 0; i < instances.size(); ++i) {
    const Outlook* outlook = gate.outlook(InstanceId{static_cast<int32_t>(i)});
    if (outlook == nullptr) continue;
    Snapshot::AssuranceView view{.model = instances[i].model, .instance = instances[i].name};
    view.level = outlook->spec().level;
    view.in_force = outlook->effective_level();
    view.late = outlook->late();
    view.silent = outlook->silent();
    if (view.level == Assurance::kStatistical) {
      const RiskControl& control = outlook->control();
      view.risk = control.options().risk;
      view.rate = control.rate();
      view.bound = control.bound();
      view.deviations = control.z();
      view.windows = control.windows();
    }
    snapshot.assurances.push_back(std::move(view));
  }
}

}  // namespace

Snapshot TakeSnapshot(const Gate& gate, Instant now) {
  Snapshot snapshot{.at = now, .draining = gate.draining()};
  for (size_t a = 0; a < gate.budget().size(); ++a) {
    snapshot.accounts.push_back({gate.budget().account(AccountId{static_cast<int32_t>(a)})});
  }
  for (size_t m = 0; m < gate.fleet().models().size(); ++m) {
    const Gate::ModelCounts& counts = gate.counts(ModelId{static_cast<int32_t>(m)});
    snapshot.models.push_back(
        {gate.fleet().models()[m].name, counts.held - counts.lingering, counts.lingering, 0, counts.overuses});
  }
  ViewAssurances(gate, snapshot);
  absl::flat_hash_map<std::pair<int32_t, int32_t>, size_t> rows;
  gate.ForEachWaiter(now, [&](const Lease& lease, const QueuePosition&) {
    CountWaiter(gate, lease, snapshot);
    ++snapshot.models[Index(lease.model)].waiting;
    const auto [row, added] =
        rows.try_emplace({static_cast<int32_t>(lease.model), lease.priority}, snapshot.queue.size());
    if (added) snapshot.queue.push_back({lease.model, lease.priority});
    ++snapshot.queue[row->second].requests;
    snapshot.queue[row->second].tokens += lease.tokens;
  });
  const auto scarcest = std::max_element(snapshot.accounts.begin(), snapshot.accounts.end(),
                                         [](const auto& a, const auto& b) { return a.waiting < b.waiting; });
  if (scarcest != snapshot.accounts.end() && scarcest->waiting > 0) snapshot.bottleneck = scarcest->account.name;
  AddTenants(gate.tenants(), now, snapshot);
  snapshot.held = gate.held() - gate.lingering();
  snapshot.lingering = gate.lingering();
  snapshot.waiting = gate.queue().size();
  return snapshot;
}

LeaseView ViewOf(const Gate& gate, const Lease& lease) {
  LeaseView view{.id = lease.id, .state = lease.state, .model = lease.model, .instance = lease.instance};
  const Fleet& fleet = gate.fleet();
  const InstanceId priced =
      lease.instance != kAnyInstance
          ? lease.instance
          : fleet.lines()[static_cast<size_t>(fleet.line(lease.model, lease.pin))].alternatives.front();
  view.cost = lease.costs[static_cast<size_t>(fleet.instance(priced).price_class)];
  if (lease.instance != kAnyInstance && gate.outlook(lease.instance) != nullptr) {
    view.cost.kv_bytes = lease.reservation.charges().bytes(fleet.instance(lease.instance).pool);
    view.granted_tokens = gate.GrantedTokens(lease);
    view.revocable = lease.revocable;
  }
  view.revoking = lease.revoking;
  view.tenant = std::string(lease.tenant_name);
  view.request_id = lease.request_id;
  view.log_id = lease.log_id.view();
  view.priority = lease.priority;
  view.sequences = lease.sequences;
  view.arrived = lease.arrived;
  const bool holds = lease.state == LeaseState::kHeld || lease.state == LeaseState::kLingering;
  view.granted = holds ? lease.granted : Instant{};
  view.expires = lease.timer;
  return view;
}

std::vector<LeaseView> ListLeases(const Gate& gate, size_t from, size_t limit, LeaseState wanted, size_t* next) {
  constexpr int kMostLooks = 4096;
  std::vector<LeaseView> page;
  const Lease* lease = gate.FirstInUse(from);
  for (int looks = 0; lease != nullptr && page.size() < limit && looks < kMostLooks; ++looks) {
    if (wanted == LeaseState::kFree || wanted == lease->state) page.push_back(ViewOf(gate, *lease));
    lease = gate.FirstInUse(LeaseTable::Slot(lease->id) + 1);
  }
  *next = lease == nullptr ? 0 : LeaseTable::Slot(lease->id);
  return page;
}

}  // namespace vramgate
