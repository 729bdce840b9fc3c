// What can be seen of a Gate without changing it.
#include <algorithm>

#include "absl/container/flat_hash_map.h"
#include "admission/check.h"
#include "admission/gate/gate.h"

namespace vramgate {

namespace {

// Waiters, added up.
struct Sum {
  int64_t requests = 0;
  int64_t bytes = 0;
  double weight = 0;  // of their lanes
  void Add(const Lane& lane) {
    requests += std::ssize(lane.waiters);
    bytes += lane.bytes;
    weight += lane.weight;
  }
};

// Calls `visit(first, last, level, higher)` for the lanes of each priority, highest first: [first, last), their sum,
// and the sum of all before.
template <typename Visit>
void ForEachLevel(const WaitQueue::Lanes& lanes, Visit visit) {
  Sum higher;
  for (auto first = lanes.begin(); first != lanes.end();) {
    Sum level;
    auto last = first;
    for (; last != lanes.end() && last->priority == first->priority; ++last) level.Add(*last);
    visit(first, last, level, higher);
    for (; first != last; ++first) higher.Add(*first);
  }
}

// What goes before a waiter that is the `nth` of its lane, and up to which its lane asks for `bytes`: all of higher
// priority, and of each other tenant's at most as much, by weight, as of its own, itself included.
Sum Ahead(const Lane& lane, const Sum& level, const Sum& higher, int64_t nth, int64_t bytes) {
  const double others = std::max(0.0, level.weight - lane.weight) / lane.weight;
  const auto at_most = [&](int64_t all, int64_t own) {
    return static_cast<int64_t>(std::min(static_cast<double>(all), static_cast<double>(own) * others));
  };
  return {.requests = higher.requests + nth - 1 + at_most(level.requests - std::ssize(lane.waiters), nth),
          .bytes = higher.bytes + bytes + at_most(level.bytes - lane.bytes, bytes)};
}

}  // namespace

// REQUIRES: it waits.
Gate::Place Gate::PlaceOf(const Lease& lease) const {
  const Lane& lane = *lease.wait.lane;
  int64_t nth = std::ssize(lane.waiters);  // the common case: just arrived
  int64_t bytes = lane.bytes;
  if (&*lane.waiters.rbegin() != &lease) {
    nth = 1;
    bytes = queue_.BytesOf(lease);
    for (auto ahead = lane.waiters.begin(); &*ahead != &lease; ++ahead, ++nth) bytes += queue_.BytesOf(*ahead);
  }
  Place place{.position = static_cast<int32_t>(nth)};
  ForEachLevel(queue_.lanes(IslandOf(lease)), [&](auto first, auto last, const Sum& level, const Sum& higher) {
    if (first->priority < lane.priority) return;
    if (first->priority > lane.priority) {
      for (; first != last; ++first) {
        if (first->tenant == lane.tenant) place.position += static_cast<int32_t>(first->waiters.size());
      }
      return;
    }
    const Sum ahead = Ahead(lane, level, higher, nth, bytes);
    place.requests = static_cast<int32_t>(ahead.requests);
    place.bytes = ahead.bytes - queue_.BytesOf(lease);
  });
  return place;
}

QueuePosition Gate::Position(LeaseRef ref, Instant now) const {
  const Lease* lease = table_.Find(ref.id);
  if (lease == nullptr || lease->state != LeaseState::kWaiting || lease->attachment != ref.attachment) return {};
  const Place place = PlaceOf(*lease);
  return {.position = place.position,
          .ahead_total = place.requests,
          .estimated_wait = Corrected(TimeToStart(*lease, place.bytes, now), lease->model)};
}

void Gate::ForEachWaiter(Instant now, absl::FunctionRef<void(const Lease&, const QueuePosition&)> visit) const {
  for (int island = 0; island < fleet_.islands(); ++island) {
    absl::flat_hash_map<int32_t, int32_t> of_tenant;
    ForEachLevel(queue_.lanes(island), [&](auto first, auto last, const Sum& level, const Sum& higher) {
      for (; first != last; ++first) {
        int64_t nth = 0;
        int64_t bytes = 0;
        for (const Lease& lease : first->waiters) {
          const int64_t own_bytes = queue_.BytesOf(lease);
          bytes += own_bytes;
          const Sum ahead = Ahead(*first, level, higher, ++nth, bytes);
          visit(lease, {.position = ++of_tenant[lease.tenant],
                        .ahead_total = static_cast<int32_t>(ahead.requests),
                        .estimated_wait = Corrected(TimeToStart(lease, ahead.bytes - own_bytes, now), lease.model)});
        }
      }
    });
  }
}

Gate::WhatIf Gate::Estimate(const Request& request, Instant now) const {
  const AccountId share = tenants_.AccountOf(request.tenant);
  const int island = fleet_.models()[Index(request.model)].island;
  WhatIf answer;
  // A tenant not known yet has an empty share of the default size.
  const int64_t share_bytes =
      share == kNoAccount ? config_.default_tenant_limit_bytes : budget_.account(share).ceiling_bytes;
  answer.fits_ever = FitsEver(request, share_bytes);
  Lease probe;
  probe.model = request.model;
  probe.pin = request.instance;
  probe.costs = request.costs;
  probe.start_costs = request.start_costs;
  probe.prompt_tokens = request.prompt_tokens;
  probe.max_output_tokens = request.max_output_tokens;
  probe.sequences = request.sequences;
  probe.output_class = LengthClasses::ClassOf(request.tenant, request.route);
  answer.fits_now =
      answer.fits_ever && !draining_ && queue_.empty(island) && dispatch_.Judge(probe, share).pick != kAnyInstance;
  if (answer.fits_now) {
    answer.estimated_wait = absl::ZeroDuration();
  } else if (answer.fits_ever) {
    probe.line = fleet_.line(request.model, request.instance);
    answer.estimated_wait = Corrected(TimeToStart(probe, queue_.bytes(island), now), request.model);
  }
  return answer;
}

// What tenants hold and how many wait is what their leases hold and are.
void Gate::CheckTenants() const {
  std::vector<int64_t> held_bytes(static_cast<size_t>(tenants_.size()), 0);
  for (const Lease* lease = table_.FirstInUse(0); lease != nullptr;
       lease = table_.FirstInUse(LeaseTable::Slot(lease->id) + 1)) {
    if (!lease->reservation.holds()) continue;
    const Instance& instance = fleet_.instance(lease->instance);
    const RankCost& cost = lease->costs[static_cast<size_t>(instance.price_class)];
    int64_t bytes = 0;
    for (const Charge& charge : lease->reservation.charges().list()) {
      if (charge.account == TenantOf(*lease)) continue;
      bytes += charge.account == instance.pool ? charge.bytes * std::ssize(instance.devices) : charge.bytes;
    }
    CHECK(bytes == instance.total_bytes(cost) + lease->share.grown_bytes,
          "a lease's bytes are not its cost and growth");
    held_bytes[static_cast<size_t>(lease->tenant)] += bytes;
  }
  int64_t waiting = 0;
  for (int32_t t = 0; t < tenants_.size(); ++t) {
    const Tenant& tenant = tenants_.tenant(t);
    for (const FairShare& share : tenant.shares) waiting += share.waiting;
    CHECK(tenant.use.bytes == held_bytes[static_cast<size_t>(t)], "a tenant's bytes are not those of its leases");
  }
  CHECK(waiting == queue_.size(), "tenants' waiters are not those in the queue");
}

void Gate::CheckInvariants() const {
  CheckTenants();
  std::vector<int64_t> reserved(budget_.size(), 0);
  std::vector<int64_t> lingering_bytes(budget_.size(), 0);
  std::vector<int32_t> overusers(budget_.size(), 0);
  int64_t held = 0;
  int64_t lingering = 0;
  int64_t waiting = 0;
  int64_t tokens = 0;
  int64_t returned = 0;  // gave way, and wait again: the queue's limits are not for them
  int64_t returned_tokens = 0;
  for (const Lease* lease = table_.FirstInUse(0); lease != nullptr;
       lease = table_.FirstInUse(LeaseTable::Slot(lease->id) + 1)) {
    const bool holds = lease->state == LeaseState::kHeld || lease->state == LeaseState::kLingering;
    held += holds;
    lingering += lease->state == LeaseState::kLingering;
    CHECK(lease->reservation.holds() == holds, "a lease holds bytes in exactly the states that say so");
    CHECK(lease->order_hook.is_linked() == (lease->state == LeaseState::kWaiting), "waiting, and not in the queue");
    CHECK(lease->bypassed <= config_.queue.max_bypass, "I5: bypassed beyond the bound");
    if (lease->state == LeaseState::kWaiting) {
      ++waiting;
      tokens += lease->tokens;
      if (lease->holder.revocations > 0) {
        ++returned;
        returned_tokens += lease->tokens;
      }
    }
    for (const Charge& charge : lease->reservation.charges().list()) {
      reserved[Index(charge.account)] += charge.bytes;
      if (lease->state == LeaseState::kLingering) lingering_bytes[Index(charge.account)] += charge.bytes;
    }
    if (lease->overuse_hook.is_linked())
      ForEachOverused(*lease, [&](AccountId id, int64_t) { ++overusers[Index(id)]; });
  }
  for (size_t a = 0; a < budget_.size(); ++a) {
    const Account& account = budget_.account(AccountId{static_cast<int32_t>(a)});
    CHECK(account.reserved_bytes == reserved[a] && account.reserved_bytes >= 0, "I1: reserved is not the sum of held");
    CHECK(account.lingering_bytes == lingering_bytes[a], "lingering bytes are not the sum of lingering leases");
    CHECK(account.overusers == overusers[a], "overusers are not those in the list");
  }
  CHECK(held == held_ && lingering == lingering_, "held and lingering counts");
  CHECK(waiting == queue_.size() && tokens == queue_.tokens(), "the queue's counts are not its waiters'");
  CHECK(queue_.size() - returned <= config_.queue.max_requests &&
            queue_.tokens() - returned_tokens <= config_.queue.max_tokens,
        "I6: queue over its limit");
  CHECK(table_.size() <= config_.leases.max, "I6: leases over their limit");
}

}  // namespace vramgate
