#include "admission/gate/wait_queue.h"

#include <algorithm>

#include "admission/check.h"

namespace vramgate {

WaitQueue::WaitQueue(const Fleet& fleet, TenantTable& tenants, const GateConfig::Queue& limits)
    : fleet_(fleet),
      tenants_(tenants),
      ageing_ns_(NonNegativeNanos(limits.ageing)),
      fair_(limits.fair),
      lanes_(static_cast<size_t>(fleet.islands())),
      lines_(fleet.lines().size()),
      bytes_(static_cast<size_t>(fleet.islands())) {}

WaitQueue::~WaitQueue() {
  for (Lanes& lanes : lanes_) {
    for (Lane& lane : lanes) lane.waiters.clear();
    lanes.clear();
  }
}

void WaitQueue::Lift(const Lease& lease, FairTime floor) {
  const int island = fleet_.models()[Index(lease.model)].island;
  FairShare& share = tenants_.tenant(lease.tenant).shares[static_cast<size_t>(island)];
  if (share.waiting > 0) return;
  FairTime least = floor;
  if (!empty(island)) {
    const auto had_less = [](const Lane& a, const Lane& b) { return a.had() < b.had(); };
    least = std::min(floor, std::min_element(lanes(island).begin(), lanes(island).end(), had_less)->had());
  }
  share.had = std::max(share.had, least);
}

// The lane that `lease` belongs to, made where there is none.
Lane& WaitQueue::LaneOf(const Lease& lease, int island) {
  Lane key;
  key.tenant = fair_ ? lease.tenant : -1;
  key.priority = std::clamp(lease.priority, -kMaxPriority, kMaxPriority);
  Lanes& lanes = lanes_[static_cast<size_t>(island)];
  Lanes::insert_commit_data place;
  const auto [found, absent] = lanes.insert_check(key, HigherFirst(), place);
  if (!absent) return *found;
  if (free_.empty()) free_.push_back(&slab_.emplace_back());
  Lane& lane = *free_.back();
  free_.pop_back();
  lane.tenant = key.tenant;
  lane.priority = key.priority;
  lane.island = island;
  const Tenant& tenant = tenants_.tenant(lease.tenant);
  lane.weight = fair_ ? tenant.weight : 1;
  lane.share = fair_ ? &tenant.shares[static_cast<size_t>(island)] : nullptr;
  lanes.insert_commit(lane, place);
  return lane;
}

void WaitQueue::Enter(Lease& lease) {
  lease.line = fleet_.line(lease.model, lease.pin);
  LineState& line = this->line(lease.line);
  for (size_t c = 0; c < line.least.size(); ++c) {
    RankCost& least = line.least[c];
    const bool first = line.waiting == 0;
    least.kv_bytes = first ? lease.costs[c].kv_bytes : std::min(least.kv_bytes, lease.costs[c].kv_bytes);
    least.activation_bytes =
        first ? lease.costs[c].activation_bytes : std::min(least.activation_bytes, lease.costs[c].activation_bytes);
  }
  ++line.waiting;
  const int island = fleet_.lines()[static_cast<size_t>(lease.line)].island;
  Lane& lane = LaneOf(lease, island);
  lease.wait.lane = &lane;
  lane.waiters.insert(lane.waiters.end(), lease);  // nearly always the last
  ++tenants_.tenant(lease.tenant).shares[static_cast<size_t>(island)].waiting;
  ++requests_;
  tokens_ += lease.tokens;
  const int64_t bytes = BytesOf(lease);
  bytes_[static_cast<size_t>(island)] += bytes;
  lane.bytes += bytes;
}

void WaitQueue::Leave(Lease& lease) {
  CHECK(lease.order_hook.is_linked(), "WaitQueue: left without having entered");
  Lane& lane = *lease.wait.lane;
  const auto island = static_cast<size_t>(lane.island);
  const int64_t bytes = BytesOf(lease);
  lease.wait.lane = nullptr;
  lane.waiters.erase(lane.waiters.iterator_to(lease));
  lane.bytes -= bytes;
  if (lane.waiters.empty()) {
    lanes_[island].erase(lanes_[island].iterator_to(lane));
    free_.push_back(&lane);
  }
  --tenants_.tenant(lease.tenant).shares[island].waiting;
  --line(lease.line).waiting;
  --requests_;
  tokens_ -= lease.tokens;
  bytes_[island] -= bytes;
  CHECK(requests_ >= 0 && tokens_ >= 0, "WaitQueue: more left than entered");
}

int64_t WaitQueue::BytesOf(const Lease& lease) const {
  const Instance& instance = fleet_.instance(fleet_.lines()[static_cast<size_t>(lease.line)].alternatives.front());
  constexpr int64_t kMostBytes = int64_t{1} << 44;  // so that a queue of a million sums without overflow
  return std::min(kMostBytes, instance.total_bytes(lease.costs[static_cast<size_t>(instance.price_class)]));
}

}  // namespace vramgate
