// Loads and unloads: the Gate's part in which a model's fixed bytes are an admission too.
#include <algorithm>

#include "admission/gate/gate.h"

namespace vramgate {

Gate::LoadAnswer Gate::Load(InstanceId id, Instant now, Effects& out) {
  Tick(now);
  CountSteps(now, out);
  const Instance& instance = fleet_.instance(id);
  LoadAnswer answer{.loaded = !draining_, .fixed_bytes = instance.fixed_bytes};
  if (draining_) return answer;
  if (loads_.state(id) == InstanceLoads::State::kUnloaded) {
    for (AccountId device : instance.devices) {
      const Account& account = budget_.account(device);
      const int64_t missing = instance.fixed_bytes - account.free_bytes();
      const bool closed = account.stale || account.overusers > 0;
      if (missing <= 0 && !closed) continue;
      answer.loaded = false;
      answer.ever = answer.ever && instance.fixed_bytes <= account.ceiling_bytes;
      answer.stale = answer.stale || account.stale;
      if (answer.lacking != kNoAccount && missing <= answer.missing_bytes) continue;
      answer.lacking = device;
      answer.missing_bytes = std::max<int64_t>(0, missing);
    }
    if (!answer.loaded) return answer;
    ChargeFixed(id, 1, now, out);
  }
  loads_.Set(id, InstanceLoads::State::kLoaded);
  DispatchIsland(IslandOf(id), now, out);
  return answer;
}

int64_t Gate::Unload(InstanceId id, Instant now, Effects& out) {
  Tick(now);
  CountSteps(now, out);
  if (loads_.state(id) != InstanceLoads::State::kLoaded) return loads_.leases(id);
  loads_.Set(id, InstanceLoads::State::kUnloading);
  RefuseUnserved(IslandOf(id), now, out);
  if (loads_.leases(id) == 0) {
    FinishUnload(id, now, out);
    DispatchIsland(IslandOf(id), now, out);
  }
  return loads_.leases(id);
}

// Its last lease has ended. The caller dispatches.
void Gate::FinishUnload(InstanceId id, Instant now, Effects& out) {
  loads_.Set(id, InstanceLoads::State::kUnloaded);
  ChargeFixed(id, -1, now, out);
}

void Gate::ChargeFixed(InstanceId id, int sign, Instant now, Effects& out) {
  const Instance& instance = fleet_.instance(id);
  if (instance.fixed_bytes == 0) return;
  for (AccountId device : instance.devices) {
    budget_.mutable_account(device).fixed_bytes += sign * instance.fixed_bytes;
    Row(LedgerEvent::kFixed, nullptr, device, sign * instance.fixed_bytes, now, out);
  }
}

bool Gate::Served(int line) const {
  const std::vector<InstanceId>& alternatives = fleet_.lines()[static_cast<size_t>(line)].alternatives;
  return std::any_of(alternatives.begin(), alternatives.end(), [this](InstanceId id) { return loads_.takes(id); });
}

// Whoever waits for an instance that is there no more waits in vain.
void Gate::RefuseUnserved(int island, Instant now, Effects& out) {
  std::vector<LeaseRef> unserved;
  for (const Lane& lane : queue_.lanes(island)) {
    for (const Lease& lease : lane.waiters) {
      if (!Served(lease.line)) unserved.push_back(lease.ref());
    }
  }
  for (const LeaseRef& ref : unserved) {
    Lease* lease = table_.Find(ref.id);
    if (lease == nullptr || lease->state != LeaseState::kWaiting) continue;
    RefuseWaiter(*lease, Outcome::kRejectedModelNotLoaded, false, now, out);
  }
}

}  // namespace vramgate
