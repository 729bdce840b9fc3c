// How long a wait will be: the Gate's part that looks ahead. What the holders of an instance will use is known to its
// outlook, to some accuracy; where there is none, or more wait than one emptying of its pool lets in, bytes come back
// as fast as they have (Forecast). What the estimates made of that were worth is measured, and told estimates are
// corrected by it.
#include <algorithm>

#include "admission/gate/gate.h"

namespace vramgate {

// Until `ahead_bytes`, summed over devices, were granted, and `waiter` can be. Not corrected.
std::optional<absl::Duration> Gate::TimeToStart(const Lease& waiter, int64_t ahead_bytes, Instant now) const {
  const Line& line = fleet_.lines()[static_cast<size_t>(waiter.line)];
  const auto loaded = std::count_if(line.alternatives.begin(), line.alternatives.end(),
                                    [this](InstanceId id) { return loads_.takes(id); });
  std::optional<absl::Duration> shortest;
  for (InstanceId id : line.alternatives) {
    const Outlook* outlook = outlooks_[Index(id)].get();
    if (outlook == nullptr || !loads_.takes(id)) continue;
    const int64_t of_its_pool = ahead_bytes / loaded / std::ssize(fleet_.instance(id).devices);
    const std::optional<absl::Duration> time = outlook->TimeToStart(waiter, of_its_pool);
    if (time && (!shortest || *time < *shortest)) shortest = time;
  }
  if (shortest) return shortest;
  return forecast_.TimeToFree(line.island, ahead_bytes + queue_.BytesOf(waiter), now);
}

std::optional<absl::Duration> Gate::Corrected(std::optional<absl::Duration> estimate, ModelId model) const {
  if (!estimate) return std::nullopt;
  const absl::Duration told = *estimate * wait_errors_[Index(model)].median();
  return std::clamp(told, absl::Milliseconds(1), absl::Hours(1));
}

// As it begins to wait. False: its turn comes after its caller's deadline, as nine in ten such waits have shown.
bool Gate::EstimateWait(Lease& lease, Instant deadline, Instant now) {
  lease.wait.estimate_s = -1;
  if (lease.arrived != now) return true;  // it has waited before
  const std::optional<absl::Duration> estimate = TimeToStart(lease, PlaceOf(lease).bytes, now);
  if (!estimate) return true;
  lease.wait.estimate_s = static_cast<float>(absl::ToDoubleSeconds(*estimate));
  lease.wait.told_s = static_cast<float>(absl::ToDoubleSeconds(*Corrected(estimate, lease.model)));
  const WaitErrors& errors = wait_errors_[Index(lease.model)];
  return !config_.queue.early_rejection || deadline == kNever || errors.low() * *estimate <= deadline - now;
}

// Its wait is over: by a grant, or in vain. Returns what it was told.
std::optional<absl::Duration> Gate::CompareWait(const Lease& lease, bool granted, Instant now) {
  if (lease.wait.estimate_s < 0) return std::nullopt;
  WaitErrors& errors = wait_errors_[Index(lease.model)];
  const absl::Duration estimate = absl::Seconds(lease.wait.estimate_s);
  granted ? errors.Over(estimate, now - lease.arrived) : errors.AtLeast(estimate, now - lease.arrived);
  return absl::Seconds(lease.wait.told_s);
}

}  // namespace vramgate
