// The wait queue: who waits, in which order. Bands of priority are strict, with ageing: a waiter's place is its arrival
// moved ahead by `ageing` for each step of priority, so one step outranks everybody who has not waited `ageing` longer,
// inside a band the first come goes first, and nobody's place ever changes (an order that needs no clock tick).
//
// One ordered set an island. Used by the Gate (enters, leaves) and the Dispatch (walks). Thread rule: the Gate's
// thread. Enter and Leave are O(log n), O(1) at the end; nothing allocates.
#pragma once

#include <boost/intrusive/set.hpp>
#include <cstdint>
#include <vector>

#include "admission/gate/fleet.h"
#include "admission/gate/gate_config.h"
#include "admission/gate/lease_table.h"

namespace vramgate {

class WaitQueue {
 public:
  struct Earlier {
    bool operator()(const Lease& a, const Lease& b) const {
      return a.order != b.order ? a.order < b.order : a.sequence < b.sequence;
    }
  };
  using Order = boost::intrusive::set<Lease, boost::intrusive::member_hook<Lease, OrderHook, &Lease::order_hook>,
                                      boost::intrusive::compare<Earlier>>;

  // The waiters of one fleet Line: how many, and the least any of them costs (a lower bound).
  struct LineState {
    int64_t waiting = 0;
    Costs least;
  };

  WaitQueue(const Fleet& fleet, const GateConfig::Queue& limits);
  ~WaitQueue();

  // Gives `lease` its place (by lease.arrived, lease.priority, lease.sequence) and enters it. REQUIRES: not queued.
  void Enter(Lease& lease);
  // REQUIRES: queued.
  void Leave(Lease& lease);

  Order& order(int island) { return orders_[static_cast<size_t>(island)]; }
  const Order& order(int island) const { return orders_[static_cast<size_t>(island)]; }
  LineState& line(int index) { return lines_[static_cast<size_t>(index)]; }
  int64_t size() const { return requests_; }
  int64_t tokens() const { return tokens_; }
  // Bytes the waiters of an island ask for, summed over devices.
  int64_t bytes(int island) const { return bytes_[static_cast<size_t>(island)]; }
  // What `lease` will be charged where its line's first alternative is taken.
  int64_t BytesOf(const Lease& lease) const;

 private:
  const Fleet& fleet_;
  const int64_t ageing_ns_;
  std::vector<Order> orders_;  // by island
  std::vector<LineState> lines_;
  std::vector<int64_t> bytes_;  // by island
  int64_t requests_ = 0;
  int64_t tokens_ = 0;
};

}  // namespace vramgate
