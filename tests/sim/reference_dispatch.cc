// Who goes next, the slow way: every pass starts from nothing.
#include <algorithm>
#include <limits>
#include <tuple>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/sim/reference_gate.h"

namespace vramgate::sim {
namespace {

constexpr int64_t kMost = std::numeric_limits<int64_t>::max();

int64_t Clamped(__int128 x) {
  return x > kMost ? kMost : static_cast<int64_t>(x);
}

}  // namespace

std::vector<int> ReferenceGate::Alternatives(const Op& admit) const {
  std::vector<int> result;
  for (int i = 0; i < static_cast<int>(copies_.size()); ++i) {
    if (copies_[static_cast<size_t>(i)].model != static_cast<int>(admit.request.model)) continue;
    if (admit.request.instance == kAnyInstance || static_cast<int>(admit.request.instance) == i) result.push_back(i);
  }
  return result;
}

int ReferenceGate::TenantAccount(std::string_view tenant) {
  auto it = std::find(tenants_.begin(), tenants_.end(), tenant);
  if (it == tenants_.end()) it = tenants_.insert(it, std::string(tenant));
  return static_cast<int>(config_.devices.size() + copies_.size()) + static_cast<int>(it - tenants_.begin());
}

int64_t ReferenceGate::Capacity(int account) const {
  auto a = static_cast<size_t>(account);
  if (a < readings_.size()) return readings_[a].capacity_bytes - fixed_[a];
  a -= readings_.size();
  if (a < copies_.size()) return copies_[a].spec.pool_bytes.value_or(0);
  a -= copies_.size();
  for (const TenantSpec& spec : config_.tenants) {
    if (spec.name == tenants_[a]) return spec.limit_bytes;
  }
  return config_.default_tenant_limit_bytes;
}

// A preallocated instance takes KV from its pool and activation from its devices; a dynamic one takes both from the
// devices. The tenant is charged all of it, on all devices.
ReferenceGate::Bytes ReferenceGate::ChargesOf(int instance, const RankCost& cost, std::string_view tenant) {
  const InstanceSpec& spec = copies_[static_cast<size_t>(instance)].spec;
  const auto share = static_cast<size_t>(TenantAccount(tenant));
  Bytes charges(config_.devices.size() + copies_.size() + tenants_.size());
  const __int128 both = static_cast<__int128>(cost.kv_bytes) + cost.activation_bytes;
  for (int d : spec.devices) charges[static_cast<size_t>(d)] = spec.pool_bytes ? cost.activation_bytes : Clamped(both);
  if (spec.pool_bytes) charges[config_.devices.size() + static_cast<size_t>(instance)] = cost.kv_bytes;
  charges[share] = Clamped(both * static_cast<int>(spec.devices.size()));
  return charges;
}

// Bytes that a lease uses, by its reports, beyond what it holds.
ReferenceGate::Bytes ReferenceGate::Over(const Lease& lease) {
  Bytes over = ChargesOf(lease.instance, lease.used, lease.admit.tenant);
  for (size_t a = 0; a < over.size(); ++a)
    over[a] = std::max<int64_t>(0, over[a] - (a < lease.held.size() ? lease.held[a] : 0));
  return over;
}

ReferenceGate::Room ReferenceGate::RoomNow() {
  const size_t accounts = config_.devices.size() + copies_.size() + tenants_.size();
  Room room{.free = Bytes(accounts), .shut = std::vector<bool>(accounts)};
  for (size_t a = 0; a < accounts; ++a) room.free[a] = Capacity(static_cast<int>(a));
  for (const Lease& lease : leases_) {
    if (lease.state != State::kHeld && lease.state != State::kLingering) continue;
    for (size_t a = 0; a < lease.held.size(); ++a) room.free[a] -= lease.held[a];
    if (lease.used == RankCost()) continue;
    const Bytes over = Over(lease);
    for (size_t a = 0; a < over.size(); ++a) {
      if (over[a] > 0) room.shut[a] = true;
    }
  }
  for (int64_t& bytes : room.free) bytes = std::max<int64_t>(0, bytes);
  return room;
}

// The alternative with the most free bytes of those that can take the lease; -1: none, and *lack says of what.
int ReferenceGate::Pick(const Lease& lease, const Room& room, Lack* lack) {
  *lack = {.devices = true, .tenant = true, .stale = true};
  int pick = -1;
  int64_t most_free = -1;
  const auto share = static_cast<size_t>(TenantAccount(lease.admit.tenant));
  for (int i : Alternatives(lease.admit)) {
    const InstanceSpec& spec = copies_[static_cast<size_t>(i)].spec;
    const Bytes charges =
        ChargesOf(i, lease.admit.request.costs[static_cast<size_t>(spec.price_class)], lease.admit.tenant);
    bool fresh = true;
    for (int d : spec.devices) fresh = fresh && !readings_[static_cast<size_t>(d)].stale;
    bool devices = fresh;
    int64_t free = kMost;
    for (size_t a = 0; a < share && a < config_.devices.size() + copies_.size(); ++a) {
      if (charges[a] == 0) continue;
      free = std::min(free, room.free[a]);
      devices = devices && charges[a] <= room.free[a] && !room.shut[a];
    }
    const bool tenant = charges[share] == 0 || (charges[share] <= room.free[share] && !room.shut[share]);
    if (devices) lack->devices = false;
    if (tenant) lack->tenant = false;
    if (fresh) lack->stale = false;
    if (devices && tenant && free > most_free) {
      most_free = free;
      pick = i;
    }
  }
  if (pick < 0 && !lack->devices && !lack->tenant) lack->devices = lack->tenant = true;  // each on another alternative
  return pick;
}

// The accounts that a waiter which was not granted closes to those behind it.
std::vector<int> ReferenceGate::Needs(const Lease& lease, const Lack& lack) {
  std::vector<int> needs;
  const int share = TenantAccount(lease.admit.tenant);
  for (int i : Alternatives(lease.admit)) {
    const auto price = static_cast<size_t>(copies_[static_cast<size_t>(i)].spec.price_class);
    const Bytes charges = ChargesOf(i, lease.admit.request.costs[price], lease.admit.tenant);
    for (int a = 0; a < static_cast<int>(charges.size()); ++a) {
      if (charges[static_cast<size_t>(a)] > 0 && (a == share ? lack.tenant : lack.devices)) needs.push_back(a);
    }
  }
  return needs;
}

bool ReferenceGate::Exhausted(const Lease& lease, Instant now) const {
  return lease.bypassed >= config_.queue.max_bypass || now - lease.arrived >= config_.queue.bypass_window;
}

int64_t ReferenceGate::Band(const Lease& lease, int64_t top, Instant now) const {
  const int64_t priority = lease.admit.request.priority;
  if (config_.queue.ageing <= absl::ZeroDuration()) return std::max(priority, top);
  absl::Duration rest;
  const int64_t risen = priority + absl::IDivDuration(now - lease.arrived, config_.queue.ageing, &rest);
  return flaws_.no_bound ? risen : std::min(risen, std::max(priority, top));
}

// Of one tenant's waiters with one priority, only the first is asked: the one whose wait ends first.
std::vector<ReferenceGate::Lease*> ReferenceGate::Firsts(const std::vector<Lease*>& waiters) {
  std::vector<Lease*> firsts;
  for (Lease* waiter : waiters) {
    const auto before = [&](const Lease* other) {
      return other->admit.tenant == waiter->admit.tenant &&
             other->admit.request.priority == waiter->admit.request.priority &&
             std::pair(other->wait_end, other->sequence) < std::pair(waiter->wait_end, waiter->sequence);
    };
    if (std::none_of(waiters.begin(), waiters.end(), before)) firsts.push_back(waiter);
  }
  return firsts;
}

ReferenceGate::Lease* ReferenceGate::Next(const std::vector<Lease*>& waiters, int64_t top, Instant now) {
  Lease* next = nullptr;
  const auto place = [&](const Lease& l) { return std::tuple(-Band(l, top, now), HadOf(l), l.wait_end, l.sequence); };
  for (Lease* first : Firsts(waiters)) {
    if (next == nullptr || place(*first) < place(*next)) next = first;
  }
  return next;
}

bool ReferenceGate::Pass(int island, Instant now, Out out) {
  std::vector<Lease*> waiters;
  int64_t top = std::numeric_limits<int64_t>::min();
  for (Lease& lease : leases_) {
    if (lease.state != State::kWaiting || IslandOf(lease) != island) continue;
    waiters.push_back(&lease);
    top = std::max<int64_t>(top, lease.admit.request.priority);
  }

  bool granted = false;
  Room room = RoomNow();
  std::vector<bool> hard(room.shut.size());
  std::vector<Lease*> ahead;
  while (!waiters.empty()) {
    Lease* const waiter = Next(waiters, top, now);
    waiters.erase(std::find(waiters.begin(), waiters.end(), waiter));
    Lack lack;
    const int pick = Pick(*waiter, room, &lack);
    if (pick < 0) {
      waiter->closes = Needs(*waiter, lack);
      ahead.push_back(waiter);
    } else {
      Grant(*waiter, pick, now, out);
      granted = true;
      room = RoomNow();
      for (Lease* passed : ahead) {
        const auto charged = [&](int a) { return waiter->held[static_cast<size_t>(a)] > 0; };
        passed->bypassed += std::any_of(passed->closes.begin(), passed->closes.end(), charged);
      }
    }
    for (const Lease* closer : ahead) {
      if (!Exhausted(*closer, now)) continue;
      for (int a : closer->closes) room.shut[static_cast<size_t>(a)] = true;
    }
  }
  return granted;
}

void ReferenceGate::Dispatch(int island, Instant now, Out out) {
  std::vector<Lease*> over;
  for (Lease& lease : leases_) {
    if (lease.instance >= 0 && lease.used != RankCost() && IslandOf(lease) == island) over.push_back(&lease);
  }
  std::sort(over.begin(), over.end(),
            [](const Lease* a, const Lease* b) { return a->over_sequence < b->over_sequence; });
  for (Lease* lease : over) Recharge(*lease, now);
  while (!draining_ && Pass(island, now, out)) {
  }
}

int ReferenceGate::AccountNamed(std::string_view name) const {
  int index = 0;
  for (const DeviceSpec& device : config_.devices) {
    if (name == absl::StrCat("device/", device.id)) return index;
    ++index;
  }
  for (const Copy& copy : copies_) {
    if (name == absl::StrCat("pool/", config_.models[static_cast<size_t>(copy.model)].name, "/", copy.spec.name))
      return index;
    ++index;
  }
  for (const std::string& tenant : tenants_) {
    if (name == absl::StrCat("tenant/", tenant)) return index;
    ++index;
  }
  return -1;
}

}  // namespace vramgate::sim
