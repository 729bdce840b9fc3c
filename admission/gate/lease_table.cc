#include "admission/gate/lease_table.h"

#include <bit>
#include <memory>

#include "absl/hash/hash.h"
#include "absl/strings/string_view.h"
#include "admission/check.h"

namespace vramgate {

// absl::Hash is seeded by the process, so that no caller can choose ids that collide.
size_t hash_value(const LeaseKey& key) {
  return absl::HashOf(key.caller, absl::string_view(key.tenant.data(), key.tenant.size()),
                      absl::string_view(key.request_id.data(), key.request_id.size()));
}

LeaseTable::LeaseTable(int64_t max_leases)
    : max_(static_cast<size_t>(max_leases)),
      slots_(std::allocator<Lease>().allocate(max_)),
      buckets_(std::bit_ceil(max_)),
      keys_(Keys::bucket_traits(buckets_.data(), buckets_.size())) {
  free_.reserve(max_);
}

LeaseTable::~LeaseTable() {
  keys_.clear();
  timers_.clear();
  std::destroy_n(slots_, made_);
  std::allocator<Lease>().deallocate(slots_, max_);
}

Lease* LeaseTable::Create(const LeaseKey& key) {
  uint32_t slot = 0;
  if (!free_.empty()) {
    slot = free_.back();
    free_.pop_back();
  } else if (made_ < max_) {
    slot = static_cast<uint32_t>(made_);
    std::construct_at(slots_ + made_++)->id = {slot + 1u};
  } else {
    return nullptr;
  }
  Lease& lease = slots_[slot];
  lease.id.value += uint64_t{1} << 32;  // a new generation: an id is never used twice
  lease.caller = key.caller;
  lease.tenant_name = key.tenant;
  lease.request_id.assign(key.request_id);
  if (!lease.request_id.empty()) CHECK(keys_.insert(lease).second, "LeaseTable: key used twice");
  ++in_use_;
  return &lease;
}

void LeaseTable::Erase(Lease& lease) {
  CHECK(!lease.order_hook.is_linked() && !lease.overuse_hook.is_linked() && !lease.holder_hook.is_linked(),
        "LeaseTable: erased while queued, overusing or in an outlook");
  SetTimer(lease, kNever);
  if (lease.key_hook.is_linked()) keys_.erase(keys_.iterator_to(lease));
  lease.reservation.Reset();
  lease.state = LeaseState::kFree;
  lease.revoking = lease.confirmed = lease.deadline_first = lease.stream = false;
  lease.instance = kAnyInstance;
  lease.bypassed = 0;
  lease.used = {};
  lease.output_tokens = -1;
  lease.holder = {};
  lease.ending = Outcome::kCompleted;
  --in_use_;
  free_.push_back(static_cast<uint32_t>(Slot(lease.id)));
}

Lease* LeaseTable::Find(LeaseId id) {
  const size_t slot = Slot(id);
  if (slot >= made_ || slots_[slot].id != id || slots_[slot].state == LeaseState::kFree) return nullptr;
  return &slots_[slot];
}

Lease* LeaseTable::FindKey(const LeaseKey& key) {
  if (key.request_id.empty()) return nullptr;
  const auto it = keys_.find(key);
  return it == keys_.end() ? nullptr : &*it;
}

void LeaseTable::SetTimer(Lease& lease, Instant at) {
  if (lease.timer_hook.is_linked()) timers_.erase(timers_.iterator_to(lease));
  lease.timer = at;
  // Timers of one kind come in order, so the end is nearly always the place: then this is O(1).
  if (at != kNever) timers_.insert(timers_.end(), lease);
}

Lease* LeaseTable::FirstDue(Instant now) {
  if (timers_.empty() || timers_.begin()->timer > now) return nullptr;
  return &*timers_.begin();
}

Lease* LeaseTable::FirstInUse(size_t from) {
  for (; from < made_; ++from) {
    if (slots_[from].state != LeaseState::kFree) return &slots_[from];
  }
  return nullptr;
}

}  // namespace vramgate
