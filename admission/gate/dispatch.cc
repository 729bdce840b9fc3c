#include "admission/gate/dispatch.h"

#include <algorithm>

namespace vramgate {
namespace {
// So many are looked at behind the head of an instance, at most: what a pass takes does not grow with the queue.
constexpr int32_t kMostTries = 32;
}  // namespace

Dispatch::Dispatch(const Fleet& fleet, const InstanceLoads& loads, const Budget& budget, const Outlooks& outlooks,
                   WaitQueue& queue, const GateConfig::Queue& limits)
    : fleet_(fleet),
      loads_(loads),
      budget_(budget),
      outlooks_(outlooks),
      queue_(queue),
      max_bypass_(limits.max_bypass),
      bypass_window_ns_(NonNegativeNanos(limits.bypass_window)),
      island_lines_(static_cast<size_t>(fleet.islands())),
      lines_(fleet.lines().size()),
      closings_(budget.size()),
      heads_(fleet.instances().size()),
      rooms_(static_cast<size_t>(fleet.islands()), 1) {
  for (size_t l = 0; l < fleet.lines().size(); ++l) {
    island_lines_[static_cast<size_t>(fleet.lines()[l].island)].push_back(static_cast<int>(l));
  }
}

// Whether `bytes` may go to `id` now; lowers *free_bytes to what is free there. Accounts that are not charged are not
// asked.
bool Dispatch::Takes(AccountId id, int64_t bytes, int64_t* free_bytes) const {
  if (bytes == 0) return true;
  const Account& account = budget_.account(id);
  *free_bytes = std::min(*free_bytes, account.free_bytes());
  return bytes <= account.free_bytes() && account.overusers == 0 && !HardClosed(id);
}

// Whether the KV pool of `id` takes it; an instance without one has its devices.
bool Dispatch::PoolTakes(InstanceId id, const RankCost& cost, const Lease* lease, int64_t* free_bytes) const {
  const AccountId pool = fleet_.instance(id).pool;
  if (pool == kNoAccount) return true;
  const Outlook* outlook = outlooks_[Index(id)].get();
  if (outlook == nullptr) return Takes(pool, cost.kv_bytes, free_bytes);
  // At least a byte: what more it takes at once is not known of the least of a line.
  if (!Takes(pool, 1, free_bytes)) return false;
  if (lease == nullptr) return true;
  return outlook->Fits(*lease, budget_.account(pool)) &&
         (!HasHead(id) || outlook->KeepsPromise(*lease, *heads_[Index(id)].waiter));
}

bool Dispatch::DevicesTake(const Instance& instance, const RankCost& cost, int64_t* free_bytes) const {
  const int64_t device_bytes = instance.device_bytes(cost);
  bool takes = true;
  for (AccountId device : instance.devices) {
    takes = takes && !budget_.account(device).stale && Takes(device, device_bytes, free_bytes);
  }
  return takes;
}

bool Dispatch::CanTake(InstanceId id, const RankCost& cost, const Lease* lease, int64_t* free_bytes) const {
  return loads_.takes(id) && DevicesTake(fleet_.instance(id), cost, free_bytes) &&
         PoolTakes(id, cost, lease, free_bytes);
}

Dispatch::Verdict Dispatch::Judge(const Lease& lease, AccountId tenant) const {
  Verdict verdict{.devices_short = true, .tenant_short = tenant != kNoAccount, .stale = true};
  int64_t most_free = -1;
  for (InstanceId id : fleet_.lines()[static_cast<size_t>(fleet_.line(lease.model, lease.pin))].alternatives) {
    const Instance& instance = fleet_.instance(id);
    const RankCost& cost = lease.costs[static_cast<size_t>(instance.price_class)];
    int64_t free_bytes = kUnlimitedBytes;
    int64_t tenant_free = kUnlimitedBytes;
    const bool devices = CanTake(id, cost, &lease, &free_bytes);
    const bool share = tenant == kNoAccount || Takes(tenant, instance.total_bytes(cost), &tenant_free);
    if (devices) verdict.devices_short = false;
    if (share) verdict.tenant_short = false;
    bool stale = !loads_.takes(id);
    for (AccountId device : instance.devices) stale = stale || budget_.account(device).stale;
    verdict.stale = verdict.stale && stale;
    if (devices && share && free_bytes > most_free) {
      most_free = free_bytes;
      verdict.pick = id;
    }
  }
  // One alternative lacks devices, another the share: it needs both.
  if (verdict.pick == kAnyInstance && !verdict.devices_short && !verdict.tenant_short) {
    verdict.devices_short = verdict.tenant_short = verdict.torn = true;
  }
  return verdict;
}

// Calls `visit(account)` for each device and pool account that some alternative of `lease` would be charged to.
template <typename Visit>
void Dispatch::ForEachNeeded(const Line& line, const Lease& lease, Visit visit) const {
  for (InstanceId id : line.alternatives) {
    if (!loads_.takes(id)) continue;
    const Instance& instance = fleet_.instance(id);
    const RankCost& cost = lease.costs[static_cast<size_t>(instance.price_class)];
    if (instance.pool_bytes(cost) > 0) visit(instance.pool);
    if (instance.device_bytes(cost) == 0) continue;
    for (AccountId device : instance.devices) visit(device);
  }
}

// Whether nobody may go past `lease` any more.
bool Dispatch::Exhausted(const Lease& lease, bool tenant_short, Instant now) const {
  if (lease.bypassed >= max_bypass_) return true;
  if (now.ns - lease.arrived.ns < bypass_window_ns_) return false;
  if (tenant_short) return true;
  const std::vector<InstanceId>& alternatives = fleet_.lines()[static_cast<size_t>(lease.line)].alternatives;
  return !std::all_of(alternatives.begin(), alternatives.end(),
                      [this](InstanceId id) { return !loads_.takes(id) || HasHead(id); });
}

// Makes `waiter` the head of an instance that has none in this pass: the one that promises it the earliest start, or
// has promised it one before.
void Dispatch::Lead(const Lease& waiter) {
  InstanceId first = kAnyInstance;
  int64_t first_step = 0;
  for (InstanceId id : fleet_.lines()[static_cast<size_t>(waiter.line)].alternatives) {
    const Instance& instance = fleet_.instance(id);
    Outlook* outlook = outlooks_[Index(id)].get();
    int64_t free_bytes = 0;
    if (outlook == nullptr || HasHead(id) || !loads_.takes(id) ||
        !DevicesTake(instance, waiter.costs[static_cast<size_t>(instance.price_class)], &free_bytes)) {
      continue;
    }
    const bool promised = outlook->promise().lease == waiter.id && outlook->foresees();
    const std::optional<int64_t> step = promised ? outlook->promise().start_step : outlook->SureStart(waiter);
    if (!step || (first != kAnyInstance && !promised && *step >= first_step)) continue;
    first = id;
    first_step = *step;
    if (promised) break;
  }
  if (first == kAnyInstance) return;
  if (outlooks_[Index(first)]->promise().lease != waiter.id) {
    outlooks_[Index(first)]->MakePromise(waiter, first_step);
    ++rooms_[static_cast<size_t>(fleet_.lines()[static_cast<size_t>(waiter.line)].island)];  // behind another head
  }
  heads_[Index(first)] = {.waiter = &waiter, .pass = pass_};
}

// It did not fit when it was looked at last, and there is no more room since. At worst_case it is cheap to look again.
bool Dispatch::SeenAlready(const Lease& waiter) const {
  const Line& line = fleet_.lines()[static_cast<size_t>(waiter.line)];
  if (waiter.wait.seen != rooms_[static_cast<size_t>(line.island)]) return false;
  return std::all_of(line.alternatives.begin(), line.alternatives.end(),
                     [this](InstanceId id) { return outlooks_[Index(id)] != nullptr; });
}

// `waiter` does not go past the heads of its instances. True: nobody else is tried behind one of these.
bool Dispatch::CountTry(const Lease& waiter) {
  bool closed = false;
  for (InstanceId id : fleet_.lines()[static_cast<size_t>(waiter.line)].alternatives) {
    if (!HasHead(id) || ++heads_[Index(id)].tries != kMostTries) continue;
    closing(fleet_.instance(id).pool).hard = pass_;
    closed = true;
  }
  return closed;
}

// Closes what `lease` needs to those behind it. True: an account became closed without a bypass.
bool Dispatch::Close(Lease& lease, AccountId tenant, const Verdict& verdict, Instant now) {
  const bool exhausted = Exhausted(lease, verdict.tenant_short, now);
  bool newly_hard = false;
  hard_ = hard_ || exhausted;
  const auto close = [&](AccountId id) {
    Closing& closing = this->closing(id);
    closing.soft = pass_;
    if (exhausted && closing.hard != pass_) {
      closing.hard = pass_;
      newly_hard = true;
    }
  };
  lease.closes_devices = verdict.devices_short;
  lease.closes_tenant = verdict.tenant_short;
  if (lease.closes_devices) ForEachNeeded(fleet_.lines()[static_cast<size_t>(lease.line)], lease, close);
  if (lease.closes_tenant && tenant != kNoAccount) close(tenant);
  return newly_hard;
}

// No waiter of `line`, not even the least, can be granted in what is left of this pass.
bool Dispatch::Hopeless(int line) const {
  const WaitQueue::LineState& state = queue_.line(line);
  if (state.waiting == 0) return true;
  for (InstanceId id : fleet_.lines()[static_cast<size_t>(line)].alternatives) {
    const Instance& instance = fleet_.instance(id);
    int64_t free_bytes = kUnlimitedBytes;
    if (CanTake(id, state.least[static_cast<size_t>(instance.price_class)], nullptr, &free_bytes)) return false;
  }
  return true;
}

// Returns how many lines of `island` are still open.
int Dispatch::CloseHopelessLines(int island) {
  int open = 0;
  for (int l : island_lines_[static_cast<size_t>(island)]) {
    LinePass& line = lines_[static_cast<size_t>(l)];
    if (line.closed == pass_) continue;
    if (Hopeless(l)) {
      line.closed = pass_;
    } else {
      ++open;
    }
  }
  return open;
}

// Every waiter that closed an account of `charges` in this pass has now been passed once more.
void Dispatch::CountBypassed(const Charges& charges, Instant now,
                             absl::FunctionRef<AccountId(const Lease&)> tenant_of) {
  for (Lease* ahead : left_) {
    const AccountId tenant = tenant_of(*ahead);
    bool passed = ahead->closes_tenant && tenant != kNoAccount && charges.bytes(tenant) > 0;
    if (ahead->closes_devices && !passed) {
      ForEachNeeded(fleet_.lines()[static_cast<size_t>(ahead->line)], *ahead,
                    [&](AccountId id) { passed = passed || charges.bytes(id) > 0; });
    }
    if (!passed) continue;
    ++ahead->bypassed;
    if (Exhausted(*ahead, ahead->closes_tenant, now))
      Close(*ahead, tenant, {.devices_short = ahead->closes_devices, .tenant_short = ahead->closes_tenant}, now);
  }
}

// Remembers what a whole look at the line has shown, so that the next pass can see from afar that it is hopeless.
void Dispatch::See(LinePass& line, const Lease& lease) {
  if (line.seen != pass_) {
    line.seen = pass_;
    line.visited = 0;
    line.least = lease.costs;
  }
  ++line.visited;
  for (size_t c = 0; c < line.least.size(); ++c) {
    line.least[c].kv_bytes = std::min(line.least[c].kv_bytes, lease.costs[c].kv_bytes);
    line.least[c].activation_bytes = std::min(line.least[c].activation_bytes, lease.costs[c].activation_bytes);
  }
}

void Dispatch::Run(int island, bool more_room, Instant now, absl::FunctionRef<AccountId(const Lease&)> tenant_of,
                   Grant grant) {
  if (queue_.empty(island)) return;
  if (more_room) ++rooms_[static_cast<size_t>(island)];
  if (closings_.size() < budget_.size()) closings_.resize(budget_.size());
  while (Pass(island, now, tenant_of, grant)) {
  }
  ++pass_;  // what was closed in a pass is so no longer
}

bool Dispatch::Pass(int island, Instant now, absl::FunctionRef<AccountId(const Lease&)> tenant_of, Grant grant) {
  bool granted = false;
  bool torn = false;
  ++pass_;
  int open = CloseHopelessLines(island);
  if (open == 0) return false;
  hard_ = false;
  left_.clear();
  walk_.Begin(queue_, island, now);
  const bool several = queue_.lanes(island).size() > 1;
  for (Lease* next = walk_.Next(); next != nullptr; next = open > 0 ? walk_.Next() : nullptr) {
    Lease& waiter = *next;
    const int l = waiter.line;
    LinePass& line = lines_[static_cast<size_t>(l)];
    const AccountId tenant = tenant_of(waiter);
    const Verdict verdict = SeenAlready(waiter)
                                ? Verdict{.devices_short = waiter.closes_devices, .tenant_short = waiter.closes_tenant}
                                : Judge(waiter, tenant);
    waiter.wait.seen = rooms_[static_cast<size_t>(island)];
    if (verdict.pick != kAnyInstance) {
      const Instance& instance = fleet_.instance(verdict.pick);
      const RankCost& cost = waiter.costs[static_cast<size_t>(instance.price_class)];
      const Charges charges = fleet_.ChargesOf(instance, cost, tenant);
      const auto soft = [&](const Charge& charge) { return closing(charge.account).soft == pass_; };
      const auto list = charges.list();
      if (std::any_of(list.begin(), list.end(), soft)) CountBypassed(charges, now, tenant_of);
      grant(waiter, verdict.pick);
      granted = true;
      if (Hopeless(l)) open = CloseHopelessLines(island);
      continue;
    }
    left_.push_back(&waiter);
    See(line, waiter);
    torn = torn || verdict.torn;
    if (verdict.devices_short && !verdict.tenant_short) Lead(waiter);
    // A closed line has nobody left to grant, but what its waiters need stays closed to those behind.
    const bool hard = Close(waiter, tenant, verdict, now);
    if (CountTry(waiter) || hard) open = CloseHopelessLines(island);
    if (line.visited == queue_.line(l).waiting) {  // all of the line was looked at
      queue_.line(l).least = line.least;
      line.closed = pass_;
      open = CloseHopelessLines(island);
    }
  }
  return granted && (torn || (hard_ && several));
}

}  // namespace vramgate
