// Fair shares in the slow gate: what each tenant has had of an island's memory.
#include <algorithm>
#include <cmath>

#include "tests/sim/reference_gate.h"

namespace vramgate::sim {

// Models that share a device, directly or through others; a tenant's limit joins all.
void ReferenceGate::MakeIslands() {
  const size_t models = config_.models.size();
  for (size_t m = 0; m < models; ++m) island_of_.push_back(static_cast<int>(m));
  bool limits = config_.default_tenant_limit_bytes != kUnlimitedBytes;
  for (const TenantSpec& tenant : config_.tenants) limits = limits || tenant.limit_bytes != kUnlimitedBytes;
  const auto joined = [&](const Copy& a, const Copy& b) {
    const auto in_b = [&](int d) {
      return std::find(b.spec.devices.begin(), b.spec.devices.end(), d) != b.spec.devices.end();
    };
    return limits || a.model == b.model || std::any_of(a.spec.devices.begin(), a.spec.devices.end(), in_b);
  };
  for (size_t round = 0; round < models; ++round) {
    for (const Copy& a : copies_) {
      for (const Copy& b : copies_) {
        int& of_a = island_of_[static_cast<size_t>(a.model)];
        if (joined(a, b)) of_a = std::min(of_a, island_of_[static_cast<size_t>(b.model)]);
      }
    }
  }
  islands_ = static_cast<int>(models);  // some are empty
  floors_.resize(models);
  holds_ns_.resize(models);
  mean_ns_.assign(models, absl::ToInt64Nanoseconds(absl::Seconds(1)));
}

__int128& ReferenceGate::HadOf(const Lease& lease) {
  return had_[{lease.admit.tenant, IslandOf(lease)}];
}

__int128 ReferenceGate::Had(std::string_view tenant, int model) {
  return had_[{std::string(tenant), island_of_[static_cast<size_t>(model)]}];
}

// In units of 2^20 byte-nanoseconds, over the weight in units of 2^-30.
__int128 ReferenceGate::Weighted(const Lease& lease, __int128 byte_ns) const {
  double weight = config_.default_tenant_weight;
  for (const TenantSpec& tenant : config_.tenants) {
    if (tenant.name == lease.admit.tenant) weight = tenant.weight;
  }
  if (flaws_.no_weights) weight = 1;
  return byte_ns / (1 << 20) * std::llround(std::ldexp(1.0, 30) / weight);
}

// Who comes with nobody waiting starts where the last one was that went, or the least of the waiting ones is, if that
// is less.
void ReferenceGate::Lift(const Lease& lease) {
  if (flaws_.no_lift) return;
  bool anybody = false;
  __int128 least = 0;
  for (const Lease& other : leases_) {
    if (other.state != State::kWaiting || &other == &lease || IslandOf(other) != IslandOf(lease)) continue;
    if (other.admit.tenant == lease.admit.tenant) return;
    least = anybody ? std::min(least, HadOf(other)) : HadOf(other);
    anybody = true;
  }
  const __int128 floor = floors_[static_cast<size_t>(IslandOf(lease))];
  least = anybody ? std::min(least, floor) : floor;
  HadOf(lease) = std::max(HadOf(lease), least);
}

// At its grant, a tenant is charged what the lease will probably have held at its end.
void ReferenceGate::Charge(Lease& lease, Instant now) {
  const Bytes charges = ChargesOf(
      lease.instance,
      lease.admit.request.costs[static_cast<size_t>(copies_[static_cast<size_t>(lease.instance)].spec.price_class)],
      lease.admit.tenant);
  lease.cost_bytes = charges[static_cast<size_t>(TenantAccount(lease.admit.tenant))];
  lease.charged = lease.cost_bytes * mean_ns_[Index(lease.admit.request.model)];
  lease.byte_ns = 0;
  lease.counted = now;
  __int128& floor = floors_[static_cast<size_t>(IslandOf(lease))];
  floor = std::max(floor, HadOf(lease));
  if (!flaws_.no_charge) HadOf(lease) += Weighted(lease, lease.charged);
}

// What it held until now, on all its devices; a pool's bytes are those of one device.
void ReferenceGate::Count(Lease& lease, Instant now) {
  const InstanceSpec& spec = copies_[static_cast<size_t>(lease.instance)].spec;
  __int128 bytes = 0;
  for (size_t a = 0; a < config_.devices.size() + copies_.size(); ++a) {
    bytes += a < config_.devices.size() ? lease.held[a]
                                        : static_cast<__int128>(lease.held[a]) * static_cast<int>(spec.devices.size());
  }
  lease.byte_ns += bytes * (now.ns - lease.counted.ns);
  lease.counted = now;
}

// At its end, the charge becomes what it was.
void ReferenceGate::Correct(Lease& lease, Instant now) {
  Count(lease, now);
  if (!flaws_.no_correction) {
    HadOf(lease) += Weighted(lease, lease.byte_ns);
    if (!flaws_.no_charge) HadOf(lease) -= Weighted(lease, lease.charged);
  }
  const size_t model = Index(lease.admit.request.model);
  std::vector<int64_t>& holds = holds_ns_[model];
  // One that has grown beyond its cost counts as one that held its cost for longer.
  const __int128 cost_ns = lease.cost_bytes == 0 ? now.ns - lease.granted.ns : lease.byte_ns / lease.cost_bytes;
  holds.push_back(static_cast<int64_t>(std::min<__int128>(cost_ns, absl::ToInt64Nanoseconds(absl::Hours(1)))));
  if (flaws_.no_mean && holds.size() > 1) return;
  // The mean from the first on, each weighing a sixteenth.
  int64_t mean = holds.front();
  for (size_t i = 1; i < holds.size(); ++i) mean += (holds[i] - mean) / 16;
  mean_ns_[model] = mean;
}

}  // namespace vramgate::sim
