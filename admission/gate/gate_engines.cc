// The Gate's part that knows of engines' processes: leases whose holder's process died while its engine, another
// process, may go on.
#include "admission/check.h"
#include "admission/gate/gate.h"

namespace vramgate {

void Gate::HolderLost(LeaseRef ref, uint64_t connection, Instant now, Effects& out) {
  Tick(now);
  CountSteps(now, out);
  Lease* lease = table_.Find(ref.id);
  if (lease == nullptr || lease->attachment != ref.attachment) return;
  if (lease->state == LeaseState::kWaiting) return Cancel(ref, now, out);
  if (lease->state != LeaseState::kHeld) return;
  Engine& engine = engines_[Index(lease->instance)];
  const bool another = engine.connection != 0 && engine.connection != connection;
  if (another && !engine.alive && engine.died >= lease->granted)
    return Free(*lease, LedgerEvent::kRelease, Outcome::kAborted, now, out);
  if (lease->drain > absl::ZeroDuration()) {  // else it is free at once
    lease->lost_connection = connection;
    ++engine.lost;
  }
  Linger(*lease, Outcome::kAborted, lease->drain, now, out);
}

void Gate::ForgetLost(Lease& lease) {
  if (lease.lost_connection == 0) return;
  lease.lost_connection = 0;
  --engines_[Index(lease.instance)].lost;
}

// An engine that is idle runs nothing for anybody, dead holders included.
void Gate::HeardFrom(InstanceId id, const StepReport& report, Instant now, Effects& out) {
  Engine& engine = engines_[Index(id)];
  if (report.connection != 0) {
    engine.connection = report.connection;
    engine.alive = true;
  }
  if (report.steps == 0) FreeLost(id, report.connection, now, out);
}

// Frees what lingers on `id` for dead holders, but for those that died with the connection `but_of`. The caller
// dispatches.
void Gate::FreeLost(InstanceId id, uint64_t but_of, Instant now, Effects& out) {
  size_t slot = 0;
  while (engines_[Index(id)].lost > 0) {
    const Lease* next = table_.FirstInUse(slot);
    if (next == nullptr) break;
    slot = LeaseTable::Slot(next->id) + 1;
    const bool lost = next->state == LeaseState::kLingering && next->lost_connection != 0;
    if (!lost || next->instance != id || next->lost_connection == but_of) continue;
    FreeOnly(*table_.Find(next->id), LedgerEvent::kRelease, Outcome::kAborted, now, out);
  }
}

void Gate::ReporterLost(uint64_t connection, Instant now, Effects& out) {
  Tick(now);
  CHECK(connection != 0, "Gate: a reporter without a connection");
  for (size_t i = 0; i < engines_.size(); ++i) {
    Engine& engine = engines_[i];
    if (engine.connection != connection || !engine.alive) continue;
    engine.alive = false;
    engine.died = now;
    const auto id = InstanceId{static_cast<int32_t>(i)};
    FreeLost(id, connection, now, out);
    DispatchIsland(IslandOf(id), now, out);
  }
}

}  // namespace vramgate
