// The lease table: every lease from arrival to end, its key, its timer. It says how long; the budget says how much, the
// wait queue who is next.
//
//   Lease* lease = table.Create(key);           // null: leases.max are in use
//   table.SetTimer(*lease, now + ttl);
//   while (Lease* due = table.FirstDue(now)) ...
//   table.Erase(*lease);                        // its bytes come back, its id is never used again
//
// Used by the Gate. Thread rule: the Gate's thread. Memory: one slab, touched as it fills; a slot is reused last-in-
// first-out, so a steady load allocates nothing. SetTimer and Erase are O(log n), O(1) where timers come in order.
#pragma once

#include <boost/intrusive/list.hpp>
#include <boost/intrusive/set.hpp>
#include <boost/intrusive/unordered_set.hpp>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "admission/decision.h"
#include "admission/gate/budget.h"
#include "admission/gate/future_usage.h"
#include "admission/gate/length_classes.h"
#include "admission/gate/memory_use.h"
#include "admission/types.h"

namespace vramgate {

enum class LeaseState : uint8_t {
  kFree,       // slot not in use
  kWaiting,    // in the queue
  kPlaceKept,  // answered QUEUE_TIMEOUT; its place waits for a retry, holding and closing nothing
  kHeld,
  kLingering,  // holder gone, bytes still counted
};

// What a request is the same by: a second Admit with an equal key is the same request.
struct LeaseKey {
  uint32_t caller = 0;
  std::string_view tenant;
  std::string_view request_id;
  friend bool operator==(const LeaseKey&, const LeaseKey&) = default;
};
size_t hash_value(const LeaseKey& key);

using TimerHook = boost::intrusive::set_member_hook<boost::intrusive::optimize_size<true>>;
using OrderHook = boost::intrusive::set_member_hook<boost::intrusive::optimize_size<true>>;
using KeyHook = boost::intrusive::unordered_set_member_hook<>;
using OveruseHook = boost::intrusive::list_member_hook<>;

using HolderHook = boost::intrusive::list_member_hook<>;
using BlockHook = boost::intrusive::list_member_hook<boost::intrusive::link_mode<boost::intrusive::auto_unlink>>;

// HELD, at a level above worst_case: what the instance's Outlook keeps of it.
struct HolderState {
  FutureUsage::Growth growth;
  FutureUsage::Holder usage;  // as it was added
  LengthClasses::Table table;
  int64_t counted_tokens = 0;    // emitted, as the lengths have it
  int64_t emitted_at_since = 0;  // of each sequence, by growth.since; below 0: steps until its prompt is computed
  int64_t granted_step = 0;
  int64_t prompt_end = 0;   // step by which its prompt is computed
  int64_t look_at = 0;      // step at which it needs another block, or should be done with something
  int32_t revocations = 0;  // also while it waits again
  bool gave_way = false;    // asked to stop so that another can go on
  bool prompt_done = false;
  bool sure = false;       // was sure to fit when granted
  bool overusing = false;  // needs more than there is, and nobody can be asked to give way
  bool late = false;       // seen outside of what is declared
  bool whole = false;      // granted to an engine that was silent: holds all of its cost
  bool asked = false;      // to stop
  int64_t extend_to = -1;  // tokens of output that its caller waits to have covered; -1: none
};

// Where a waiter stands.
struct Lane;  // wait_queue.h
struct WaitPlace {
  Lane* lane;
  int64_t end_ns;    // of the wait: of one tenant's, the earliest goes first
  float estimate_s;  // how long it would be, as it seemed when it began; -1: unknown
  float told_s;      // the same, corrected (WaitErrors)
  uint64_t seen;     // dispatch: the state of its island's room in which it was looked at last
};

// What a lease's tenant was charged for it, and what it came to: fair_shares.h.
struct ShareUse {
  int64_t expected_ns;        // how long the tenant was charged for
  int64_t grown_bytes;        // held beyond the cost, over all devices; below 0: not grown to it yet
  StoredByteTime grown_late;  // each of them x the time it came after the grant
};

struct Lease {
  LeaseId id;
  uint32_t attachment = 0;
  LeaseState state = LeaseState::kFree;
  bool stream = false;
  bool revoking = false;                 // asked to stop
  bool confirmed = false;                // a unary grant that was renewed once
  uint64_t lost_connection = 0;          // LINGERING: its holder died with this connection; 0: not so
  bool deadline_first = false;           // WAITING: the caller's deadline comes before the wait's end
  Outcome ending = Outcome::kCompleted;  // LINGERING: what it will end as
  int32_t tenant = -1;                   // index into the gate's tenants
  ModelId model{0};
  InstanceId pin = kAnyInstance;
  InstanceId instance = kAnyInstance;  // where held
  int32_t priority = 0;
  int32_t bypassed = 0;         // later waiters granted past it
  int32_t line = -1;            // wait queue: which line
  bool closes_devices = false;  // dispatch: what it closed in the pass under way
  bool closes_tenant = false;
  uint32_t caller = 0;
  std::string request_id;  // keeps its capacity when the slot is reused
  ShortText<48> log_id;    // its id, or what the log calls it
  ShortText<56> trace;     // W3C traceparent, for the log
  PromptSource prompt_source = PromptSource::kNone;
  std::string_view tenant_name;  // the gate's tenant outlives the lease
  Costs costs;
  Costs start_costs;
  int64_t prompt_tokens = 0;
  int64_t max_output_tokens = 0;
  bool revocable = false;
  uint64_t output_class = 0;  // of its tenant and route: LengthClasses::ClassOf
  HolderState holder;
  int64_t output_tokens = -1;  // of each sequence, as its end said
  RankCost used;               // HELD: reported progress beyond the reservation, while overusing
  int64_t tokens = 0;
  int32_t sequences = 1;
  Reservation reservation;
  Instant arrived;  // first time; a rejoin keeps it
  Instant granted;
  Instant timer = kNever;  // what it means depends on the state
  uint64_t sequence = 0;   // ties: first come
  union {
    WaitPlace wait{};  // WAITING
    ShareUse share;    // HELD, LINGERING
  };
  absl::Duration ttl;
  absl::Duration drain;
  TimerHook timer_hook;
  OrderHook order_hook;
  KeyHook key_hook;
  OveruseHook overuse_hook;
  HolderHook holder_hook;
  BlockHook block_hook;

  LeaseKey key() const { return {caller, tenant_name, request_id}; }
  LeaseRef ref() const { return {id, attachment}; }
};

class LeaseTable {
 public:
  // REQUIRES: 1 <= max_leases < 2^31.
  explicit LeaseTable(int64_t max_leases);
  ~LeaseTable();
  LeaseTable(const LeaseTable&) = delete;

  // A lease in state kFree with its key set; the caller gives it a state. Null: the table is full.
  // REQUIRES: no lease with this key, unless request_id is "" (such leases are not found by key).
  Lease* Create(const LeaseKey& key);
  // REQUIRES: out of the wait queue; its reservation is reset here.
  void Erase(Lease& lease);

  Lease* Find(LeaseId id);
  Lease* FindKey(const LeaseKey& key);

  void SetTimer(Lease& lease, Instant at);  // kNever: no timer
  Lease* FirstDue(Instant now);             // the lease whose timer is due first, or null when none is due at `now`
  Instant NextTimer() const { return timers_.empty() ? kNever : timers_.begin()->timer; }

  // Leases in use, in slot order, from slot `from`: for paging. Null at the end.
  Lease* FirstInUse(size_t from);
  static size_t Slot(LeaseId id) { return static_cast<size_t>(id.value & 0xffffffff) - 1; }
  int64_t size() const { return in_use_; }

 private:
  struct TimerOrder {
    bool operator()(const Lease& a, const Lease& b) const { return a.timer < b.timer; }
  };
  struct KeyOf {
    using type = LeaseKey;
    LeaseKey operator()(const Lease& lease) const { return lease.key(); }
  };
  struct KeyHash {
    size_t operator()(const LeaseKey& key) const { return hash_value(key); }
  };
  using Timers = boost::intrusive::multiset<Lease, boost::intrusive::member_hook<Lease, TimerHook, &Lease::timer_hook>,
                                            boost::intrusive::compare<TimerOrder>>;
  using Keys = boost::intrusive::unordered_set<Lease, boost::intrusive::member_hook<Lease, KeyHook, &Lease::key_hook>,
                                               boost::intrusive::key_of_value<KeyOf>, boost::intrusive::hash<KeyHash>,
                                               boost::intrusive::power_2_buckets<true>>;

  const size_t max_;
  Lease* const slots_;  // max_ slots; the first made_ are constructed
  size_t made_ = 0;
  std::vector<uint32_t> free_;
  int64_t in_use_ = 0;
  std::vector<Keys::bucket_type> buckets_;
  Keys keys_;
  Timers timers_;
};

}  // namespace vramgate
