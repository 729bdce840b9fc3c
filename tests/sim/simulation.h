// A seeded simulation: callers and mischief against one gate and its reference, each operation checked. The same seed
// is the same run, to the byte.
//
//   Simulation simulation(seed);
//   std::vector<std::string> findings = simulation.Run(2000);   // empty: all invariants held, and all settled at the
//   end
#pragma once

#include <cstdint>
#include <deque>
#include <limits>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "tests/sim/conformance.h"
#include "tests/sim/event_queue.h"
#include "tests/sim/sim_caller.h"
#include "tests/sim/workload.h"

namespace vramgate::sim {

class Simulation {
 public:
  explicit Simulation(uint64_t seed, Sabotage sabotage = {});

  // Stops after `operations`, or at the first operation with a finding; then, without faults, lets everything settle.
  // Each finding says at which operation.
  std::vector<std::string> Run(int64_t operations);

  int64_t operations() const { return operations_; }
  const std::map<Outcome, int64_t>& outcomes() const { return outcomes_; }
  // What happened, for "the simulation reaches it" tests: operations by kind.
  const std::map<Op::Kind, int64_t>& kinds() const { return kinds_; }

 private:
  enum class EventKind : uint8_t { kArrival, kCaller, kMischief };
  struct Event {
    EventKind kind = EventKind::kArrival;
    size_t caller = 0;
  };
  static constexpr size_t kNobody = static_cast<size_t>(-1);

  bool Failed() const { return !conformance_.findings().empty(); }
  void Apply(const Op& op, size_t caller);
  void CatchUp(Instant now, bool late);
  void Arrive(Instant now);
  void Ring(size_t caller, Instant now);
  void Mischief(Instant now);
  void Schedule(size_t caller);
  void Settle();

  Rng rng_;
  Workload workload_;
  Conformance conformance_;
  EventQueue<Event> events_;
  std::deque<SimCaller> callers_;
  std::vector<Instant> scheduled_;                            // by caller
  std::map<std::pair<uint64_t, uint32_t>, size_t> of_lease_;  // who has which attachment
  std::deque<LeaseRef> known_;                                // some are stale
  Instant now_{1};
  int64_t operations_ = 0;
  int64_t drained_at_ = std::numeric_limits<int64_t>::max() - 1000;
  std::map<Outcome, int64_t> outcomes_;
  std::map<Op::Kind, int64_t> kinds_;
};

}  // namespace vramgate::sim
