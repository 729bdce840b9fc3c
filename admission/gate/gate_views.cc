// What can be seen of a Gate without changing it.
#include <algorithm>

#include "absl/container/flat_hash_map.h"
#include "admission/check.h"
#include "admission/gate/gate.h"

namespace vramgate {

QueuePosition Gate::Position(LeaseRef ref, Instant now) const {
  const Lease* lease = table_.Find(ref.id);
  if (lease == nullptr || lease->state != LeaseState::kWaiting || lease->attachment != ref.attachment) return {};
  const int island = IslandOf(*lease);
  const WaitQueue::Order& order = queue_.order(island);
  QueuePosition place;
  // The common case: just arrived. A tenant's waiters are counted over all islands, so with several they must be looked
  // at.
  if (fleet_.islands() == 1 && &*order.rbegin() == lease) {
    place.ahead_total = static_cast<int32_t>(order.size() - 1);
    place.position = tenants_.tenant(lease->tenant).waiting;
    place.estimated_wait = forecast_.TimeToFree(island, queue_.bytes(island), now);
    return place;
  }
  int64_t bytes = queue_.BytesOf(*lease);
  place.position = 1;
  for (const Lease& ahead : order) {
    if (&ahead == lease) break;
    ++place.ahead_total;
    if (ahead.tenant == lease->tenant) ++place.position;
    bytes += queue_.BytesOf(ahead);
  }
  place.estimated_wait = forecast_.TimeToFree(island, bytes, now);
  return place;
}

void Gate::ForEachWaiter(Instant now, absl::FunctionRef<void(const Lease&, const QueuePosition&)> visit) const {
  absl::flat_hash_map<int32_t, int32_t> of_tenant;
  for (int island = 0; island < fleet_.islands(); ++island) {
    QueuePosition place{.ahead_total = -1};
    int64_t bytes = 0;
    for (const Lease& lease : queue_.order(island)) {
      ++place.ahead_total;
      place.position = ++of_tenant[lease.tenant];
      bytes += queue_.BytesOf(lease);
      place.estimated_wait = forecast_.TimeToFree(island, bytes, now);
      visit(lease, place);
    }
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
  answer.fits_now = answer.fits_ever && !draining_ && queue_.order(island).empty() &&
                    dispatch_.Judge(probe, share).pick != kAnyInstance;
  if (answer.fits_now) {
    answer.estimated_wait = absl::ZeroDuration();
  } else if (answer.fits_ever) {
    probe.line = fleet_.line(request.model, request.instance);
    answer.estimated_wait = forecast_.TimeToFree(island, queue_.bytes(island) + queue_.BytesOf(probe), now);
  }
  return answer;
}

void Gate::CheckInvariants() const {
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
