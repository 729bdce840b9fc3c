// What is measured in a run, from Instant 0 on: averages over time of what the engine occupies, waits, and each
// tenant's part.
//
//   meter.Advance(now);           // before anything changes: what was so far holds until now
//   meter.Wait(tenant);           // one more waits
//   meter.Occupy(tenant, delta_bytes);
//
// Used by the replay. Confined to one thread.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "admission/clock.h"
#include "admission/replay/timeline.h"

namespace vramgate {

class Meter {
 public:
  Meter(size_t tenants, int64_t pool_bytes) : pool_bytes_(pool_bytes), tenants_(tenants) {}

  void Advance(Instant now);
  void Wait(int32_t tenant) { Change(tenant, +1, 0); }
  void StopWaiting(int32_t tenant) { Change(tenant, -1, 0); }
  void Occupy(int32_t tenant, int64_t delta_bytes) { Change(tenant, 0, delta_bytes); }
  // One that started for the first time.
  void Waited(absl::Duration wait);

  int64_t waiting() const { return waiting_; }
  double duration_s() const { return static_cast<double>(now_.ns) * 1e-9; }
  double queued_s() const { return queued_ns_ * 1e-9; }
  // Of the pool, averaged over time; while_queued: over the time in which somebody waited, nullopt where nobody ever
  // did.
  double utilization() const;
  std::optional<double> utilization_while_queued() const;
  // Of all that started, those that started at once included; 0 where nobody did.
  double WaitQuantile_s(double q);
  // How unequally those were served that always wanted more: between 0, where every tenant that waited held as many
  // bytes while it waited, and 1, where one held none: 1 - the least / the most. Only tenants count that waited for at
  // least half of the time in which anybody did; nullopt with fewer than two of them.
  std::optional<double> FairnessGap();
  const Timeline& timeline() const { return timeline_; }

 private:
  struct Tenant {
    int64_t waiting = 0;
    int64_t bytes = 0;
    Instant since;
    double waited_ns = 0;
    double byte_ns = 0;  // while it waited
  };
  void Change(int32_t tenant, int64_t waiting, int64_t bytes);
  void Settle(Tenant& tenant) const;

  const int64_t pool_bytes_;
  Instant now_;
  int64_t waiting_ = 0;
  int64_t bytes_ = 0;
  double byte_ns_ = 0;
  double queued_ns_ = 0;
  double queued_byte_ns_ = 0;
  std::vector<Tenant> tenants_;
  std::vector<double> waits_s_;
  Timeline timeline_;
};

}  // namespace vramgate
