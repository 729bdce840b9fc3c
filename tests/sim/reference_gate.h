// The slow gate: docs/admission.md written down a second time, as plainly as possible, to be compared with the real one
// after every operation. Vectors, linear searches, every sum computed anew; no lanes, no short cuts, no timers but a
// field. It shares no code with admission/gate, only its plain values (Request, Decision, GateConfig).
//
// It dispatches after *every* change, whatever its kind, over all waiters of the island, until a whole pass grants
// nobody: a wake-up that the real gate loses shows as a difference.
//
//   ReferenceGate reference(config);
//   std::vector<Decision> decisions;
//   OpResult result = reference.Apply(op, &decisions);   // op.lease in the reference's own ids: 1, 2, 3, ...
#pragma once

#include <cstdint>
#include <list>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "admission/decision.h"
#include "admission/gate/gate_config.h"
#include "admission/types.h"
#include "tests/sim/op.h"

namespace vramgate::sim {

class ReferenceGate {
 public:
  enum class State : uint8_t { kWaiting, kPlaceKept, kHeld, kLingering };
  using Bytes = std::vector<int64_t>;  // by account: devices, then a pool for each instance, then tenants

  struct Lease {
    LeaseId id;
    uint32_t attachment = 0;
    State state = State::kWaiting;
    Op admit;  // as first asked for
    bool stream = false;
    absl::Duration ttl;
    absl::Duration drain;
    Instant arrived;
    uint64_t sequence = 0;
    Instant granted;
    Instant timer = kNever;
    uint64_t timer_sequence = 0;  // equal times: first set, first due
    bool deadline_first = false;
    int32_t bypassed = 0;
    bool confirmed = false;
    bool revoking = false;
    Outcome ending = Outcome::kCompleted;
    int instance = -1;  // over all models
    Bytes held;
    RankCost used;               // reported beyond the reservation
    uint64_t over_sequence = 0;  // when the report came
    std::vector<int> closes;     // scratch of a dispatch
    Instant wait_end;            // as from its arrival
    __int128 cost_bytes = 0;     // over all its devices
    __int128 charged = 0;        // to its tenant, at its grant [bytes x ns]
    __int128 byte_ns = 0;        // held until `counted`
    Instant counted;
  };

  // What a canary leaves out: then a gate that is right differs from it.
  struct Flaws {
    bool no_lift = false;
    bool no_charge = false;
    bool no_correction = false;
    bool no_weights = false;
    bool no_mean = false;   // every hold is expected to last what the first was
    bool no_bound = false;  // age lifts above the highest priority that waits
  };

  ReferenceGate(const GateConfig& config, const Flaws& flaws);

  OpResult Apply(const Op& op, std::vector<Decision>* out);

  // What is charged to each account, summed over the leases.
  struct Sums {
    Bytes reserved;
    Bytes lingering;
    std::vector<int32_t> overusers;
  };
  Sums SumsNow();
  // The index of an account in Bytes; -1: not here.
  int AccountNamed(std::string_view name) const;
  const std::list<Lease>& leases() const { return leases_; }
  // What a tenant has had in the island of a model, as the queue compares it.
  __int128 Had(std::string_view tenant, int model);

 private:
  struct Copy {  // an instance
    int model = 0;
    InstanceSpec spec;
  };
  struct Lack {
    bool devices = false;
    bool tenant = false;
    bool stale = false;
  };
  struct Room {
    Bytes free;
    std::vector<bool> shut;  // by overuse, or closed hard by someone ahead
  };
  using Out = std::vector<Decision>*;

  OpResult Do(const Op& op, Out out);
  std::vector<int64_t> Scene(int island);

  // Arrivals (reference_gate.cc).
  OpResult Admit(const Op& op, Out out);
  OpResult Join(Lease& lease, const Op& op, Out out);
  OpResult Refuse(Outcome outcome, const Op& op, Out out) const;
  OpResult TryOrWait(Lease& lease, const Op& op, Out out);
  void Attach(Lease& lease, const Op& op, Instant now);
  bool FitsEver(const Op& op);
  Outcome WhyInVain(const Lease& lease);

  // Who goes next (reference_dispatch.cc).
  std::vector<int> Alternatives(const Op& admit) const;
  Bytes ChargesOf(int instance, const RankCost& cost, std::string_view tenant);
  Room RoomNow();
  int Pick(const Lease& lease, const Room& room, Lack* lack);
  std::vector<int> Needs(const Lease& lease, const Lack& lack);
  bool Exhausted(const Lease& lease, Instant now) const;
  std::vector<Lease*> Firsts(const std::vector<Lease*>& waiters);
  Lease* Next(const std::vector<Lease*>& waiters, int64_t top, Instant now);
  int64_t Band(const Lease& lease, int64_t top, Instant now) const;
  bool Pass(int island, Instant now, Out out);
  void Dispatch(int island, Instant now, Out out);
  void Recharge(Lease& lease, Instant now);
  Bytes Over(const Lease& lease);
  int TenantAccount(std::string_view tenant);
  int64_t Capacity(int account) const;

  // Fair shares (reference_shares.cc).
  void MakeIslands();
  int IslandOf(const Lease& lease) const { return island_of_[static_cast<size_t>(lease.admit.request.model)]; }
  __int128& HadOf(const Lease& lease);
  __int128 Weighted(const Lease& lease, __int128 byte_ns) const;
  void Lift(const Lease& lease);
  void Charge(Lease& lease, Instant now);
  void Count(Lease& lease, Instant now);
  void Correct(Lease& lease, Instant now);

  // A lease's life (reference_lease.cc).
  void Grant(Lease& lease, int instance, Instant now, Out out);
  void Hold(Lease& lease, Instant now);
  void TellFormer(const Lease& lease, Instant now, Out out) const;
  void Say(const Lease& lease, Decision::Kind kind, Outcome outcome, Instant now, Out out) const;
  void RefuseWaiter(Lease& lease, Outcome outcome, bool keep_place, Instant now, Out out);
  void Leave(Lease& lease, Instant now, Out out);
  bool End(Lease& lease, Gate::EndKind kind, Instant now, Out out);
  void Linger(Lease& lease, Outcome ending, absl::Duration time, Instant now, Out out);
  void Gone(Lease& lease, Outcome ending, Instant now, Out out);
  void Erase(const Lease& lease);
  int Renew(Lease* lease, Instant now);
  bool Revoke(Lease* lease, absl::Duration grace, Instant now, Out out);
  void Progress(Lease& lease, const Costs& used, Instant now);
  void Advance(Instant now, Out out);
  void Drain(Instant now, Out out);
  void SetTimer(Lease& lease, Instant at);
  Lease* Find(LeaseId id);

  const GateConfig config_;
  std::vector<Copy> copies_;
  std::vector<Gate::DeviceReading> readings_;  // by device
  Bytes fixed_;                                // by device
  std::vector<std::string> tenants_;           // all ever seen
  std::vector<int> island_of_;                 // by model
  int islands_ = 0;
  std::map<std::pair<std::string, int>, __int128> had_;  // by tenant and island
  std::vector<__int128> floors_;                         // by island
  std::vector<std::vector<int64_t>> holds_ns_;           // by model: all so far
  std::vector<int64_t> mean_ns_;                         // by model
  const Flaws flaws_;
  std::list<Lease> leases_;
  uint64_t last_id_ = 0;
  uint64_t last_sequence_ = 0;
  bool draining_ = false;
};

}  // namespace vramgate::sim
