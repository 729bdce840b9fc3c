// One caller with one request: asks, waits, lets its engine run, renews, reports, ends; or misbehaves in one of the
// ways callers do.
//
//   SimCaller caller(admit, manner, rng);
//   caller.Alarm(now, &ops);         // what it does when its time comes; the simulation gives the ops to the gate
//   caller.Admitted(result);         // after each Admit of its
//   caller.Told(decision, now);      // what the gate decided about it
//   caller.next_alarm()              // when it acts next; kNever: only if it is told something
#pragma once

#include <cstdint>
#include <vector>

#include "tests/sim/op.h"
#include "tests/sim/rng.h"
#include "tests/sim/sim_engine.h"

namespace vramgate::sim {

class SimCaller {
 public:
  enum class Manner : uint8_t {
    kPolite,
    kImpatient,   // leaves while it waits, or soon after
    kCrashes,     // gone mid-way, without a word
    kSilent,      // never renews or reports
    kRenewsLate,  // after its time, too
    kLiar,        // goes on beyond max_output_tokens
    kRetries,     // asks again after a timeout, in its own place
    kAsksTwice,   // with the same key, waiting or holding
    kReleasesTwice,
    kReattaches,  // loses its stream and comes back for its lease
  };
  static constexpr int kManners = static_cast<int>(Manner::kReattaches) + 1;

  SimCaller(Op admit, Manner manner, uint64_t seed);

  void Alarm(Instant now, std::vector<Op>* ops);
  void Admitted(const OpResult& result);
  void Told(const Decision& decision, Instant now);
  Instant next_alarm() const { return alarm_; }
  LeaseRef lease() const { return lease_; }

 private:
  enum class State : uint8_t { kAsking, kWaiting, kHolding, kLost, kDone };

  void Holding(Instant now, std::vector<Op>* ops);
  void End(Instant now, std::vector<Op>* ops);
  void Ask(Instant now, std::vector<Op>* ops);

  Op admit_;
  Manner manner_;
  Rng rng_;
  SimEngine engine_;
  State state_ = State::kAsking;
  LeaseRef lease_;
  Instant alarm_{0};
  Instant gives_up_ = kNever;
  int asked_ = 0;
  bool misbehaved_ = false;
};

}  // namespace vramgate::sim
