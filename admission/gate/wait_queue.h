// The wait queue: who waits, in lanes. A lane is what waits of one tenant with one priority in one island; inside it
// the earliest end of wait goes first, which is first come where all wait equally long. Nobody's place in a lane
// changes. Which lane goes next is for the walk to say (queue_walk.h), from priorities, ages and shares.
//
//   queue.Lift(lease, floor);    // a request comes
//   queue.Enter(lease);          // ... and waits
//   queue.Leave(lease);
//
// Used by the Gate (enters, leaves) and the Dispatch (walks). Thread rule: the Gate's thread. Enter and Leave are
// O(log of the lane and of the lanes), Lift O(lanes) where the tenant had nobody waiting and others have; in a steady
// state nothing allocates.
#pragma once

#include <boost/intrusive/set.hpp>
#include <cstdint>
#include <deque>
#include <vector>

#include "admission/gate/fleet.h"
#include "admission/gate/gate_config.h"
#include "admission/gate/lease_table.h"
#include "admission/gate/tenant_table.h"

namespace vramgate {

struct Lane {
  struct Sooner {
    bool operator()(const Lease& a, const Lease& b) const {
      return a.wait.end_ns != b.wait.end_ns ? a.wait.end_ns < b.wait.end_ns : a.sequence < b.sequence;
    }
  };
  using Waiters = boost::intrusive::set<Lease, boost::intrusive::member_hook<Lease, OrderHook, &Lease::order_hook>,
                                        boost::intrusive::compare<Sooner>>;

  int32_t tenant = -1;  // -1: all, where the queue is not fair
  int32_t priority = 0;
  int island = 0;
  double weight = 1;
  const FairShare* share = nullptr;  // the tenant's
  Waiters waiters;
  int64_t bytes = 0;  // that they ask for, summed over devices
  boost::intrusive::set_member_hook<boost::intrusive::optimize_size<true>> hook;

  FairTime had() const { return share == nullptr ? 0 : share->had; }
};

class WaitQueue {
 public:
  struct HigherFirst {
    bool operator()(const Lane& a, const Lane& b) const {
      return a.priority != b.priority ? a.priority > b.priority : a.tenant < b.tenant;
    }
  };
  // The lanes of an island, by priority, none empty.
  using Lanes = boost::intrusive::set<Lane, boost::intrusive::member_hook<Lane, decltype(Lane::hook), &Lane::hook>,
                                      boost::intrusive::compare<HigherFirst>>;

  // The waiters of one fleet Line: how many, and the least any of them costs (a lower bound).
  struct LineState {
    int64_t waiting = 0;
    Costs least;
  };

  // All three outlive it.
  WaitQueue(const Fleet& fleet, TenantTable& tenants, const GateConfig::Queue& limits);
  ~WaitQueue();

  // To be called when a request comes, before it enters or is granted: where none of its tenant's waits, the tenant is
  // lifted to the least that the waiting ones have had, at most to `floor` (FairShares). So idling banks nothing.
  void Lift(const Lease& lease, FairTime floor);
  // Gives `lease` its place (by its tenant, priority, wait.end_ns, sequence) and enters it. REQUIRES: not queued.
  void Enter(Lease& lease);
  // REQUIRES: queued.
  void Leave(Lease& lease);

  Lanes& lanes(int island) { return lanes_[static_cast<size_t>(island)]; }
  const Lanes& lanes(int island) const { return lanes_[static_cast<size_t>(island)]; }
  bool empty(int island) const { return lanes(island).empty(); }
  // Some waiter. REQUIRES: not empty.
  Lease& any(int island) { return *lanes(island).begin()->waiters.begin(); }
  LineState& line(int index) { return lines_[static_cast<size_t>(index)]; }
  int64_t size() const { return requests_; }
  int64_t tokens() const { return tokens_; }
  // Bytes the waiters of an island ask for, summed over devices.
  int64_t bytes(int island) const { return bytes_[static_cast<size_t>(island)]; }
  // What `lease` will be charged where its line's first alternative is taken.
  int64_t BytesOf(const Lease& lease) const;
  // Waiting so long is worth one step of priority; 0: priorities mean nothing.
  int64_t ageing_ns() const { return ageing_ns_; }

 private:
  Lane& LaneOf(const Lease& lease, int island);

  const Fleet& fleet_;
  TenantTable& tenants_;
  const int64_t ageing_ns_;
  const bool fair_;
  std::deque<Lane> slab_;
  std::vector<Lane*> free_;
  std::vector<Lanes> lanes_;  // by island
  std::vector<LineState> lines_;
  std::vector<int64_t> bytes_;  // by island
  int64_t requests_ = 0;
  int64_t tokens_ = 0;
};

}  // namespace vramgate
