#include "tests/sim/workload.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"

namespace vramgate::sim {

Workload::Workload(uint64_t seed) : rng_(seed) {
  unit_bytes_ = rng_.Pick<int64_t>(1, 1, 1, (int64_t{1} << 28) + 7);
  gap_ = rng_.Pick(absl::Milliseconds(50), absl::Milliseconds(200), absl::Milliseconds(800));
  MakeDevices();
  MakeModels();
  MakeLimits();
}

void Workload::MakeDevices() {
  const int64_t devices = rng_.Between(1, 6);
  for (int64_t d = 0; d < devices; ++d) {
    const int64_t capacity = rng_.Between(12, 60) * unit_bytes_;
    config_.devices.push_back({absl::StrCat(d), capacity, capacity + rng_.Pick(0, 0, 5) * unit_bytes_});
  }
}

void Workload::MakeModels() {
  std::vector<int64_t> left;
  for (const DeviceSpec& device : config_.devices) left.push_back(device.capacity_bytes);
  const int64_t models = rng_.Between(1, 4);
  for (int64_t m = 0; m < models; ++m) {
    ModelSpec& model = config_.models.emplace_back();
    model.name = absl::StrCat("m", m);
    const int64_t instances = rng_.Between(1, 3);
    for (int64_t i = 0; i < instances; ++i) {
      InstanceSpec instance{.name = absl::StrCat("i", i)};
      const auto ranks = static_cast<size_t>(
          std::min<int64_t>(rng_.Pick(1, 1, 1, 2, 3, 4), static_cast<int64_t>(config_.devices.size())));
      while (instance.devices.size() < ranks) {
        const int d = static_cast<int>(rng_.Between(0, static_cast<int64_t>(config_.devices.size()) - 1));
        if (std::find(instance.devices.begin(), instance.devices.end(), d) == instance.devices.end()) {
          instance.devices.push_back(d);
        }
      }
      int64_t room = left[static_cast<size_t>(instance.devices.front())];
      for (int d : instance.devices) room = std::min(room, left[static_cast<size_t>(d)]);
      instance.fixed_bytes = rng_.Between(0, room / unit_bytes_ / 8) * unit_bytes_;
      room -= instance.fixed_bytes;
      if (rng_.OneIn(2))
        instance.pool_bytes = rng_.Between(room / unit_bytes_ / 4, room / unit_bytes_ / 2) * unit_bytes_;
      instance.price_class = static_cast<int>(rng_.Between(0, 2));
      for (int d : instance.devices) {
        left[static_cast<size_t>(d)] -= instance.fixed_bytes + instance.pool_bytes.value_or(0);
      }
      model.instances.push_back(std::move(instance));
    }
  }
}

void Workload::MakeLimits() {
  if (rng_.OneIn(2)) config_.default_tenant_limit_bytes = rng_.Between(12, 60) * unit_bytes_;
  if (rng_.OneIn(4)) config_.default_tenant_weight = 2;
  for (int64_t t = rng_.Between(0, 3); t > 0; --t) {
    TenantSpec tenant{.name = absl::StrCat("t", t)};
    if (rng_.OneIn(2)) tenant.limit_bytes = rng_.Between(5, 60) * unit_bytes_;
    tenant.weight = rng_.Pick(1.0, 1.0, 3.0, 0.25, 1000.0);
    config_.tenants.push_back(std::move(tenant));
  }
  GateConfig::Queue& queue = config_.queue;
  queue.max_requests = rng_.Pick(5, 20, 40, 40);
  if (rng_.OneIn(20)) queue.max_requests = 0;
  queue.max_tokens = rng_.Pick(50, 1'000'000, 1'000'000);
  queue.max_wait = rng_.Pick(absl::Seconds(1), absl::Seconds(5), absl::Seconds(30));
  if (rng_.OneIn(20)) queue.max_wait = absl::ZeroDuration();
  queue.ageing = rng_.Pick(absl::ZeroDuration(), absl::Milliseconds(300), absl::Seconds(10));
  queue.max_bypass = rng_.Pick(0, 1, 3, 16);
  queue.bypass_window = rng_.Pick(absl::ZeroDuration(), absl::Milliseconds(200), absl::Seconds(1), absl::Seconds(20));
  queue.rejoin_window = rng_.Pick(absl::ZeroDuration(), absl::Seconds(5));
  queue.early_rejection = false;  // made from estimates: the reference gate has none
  GateConfig::Leases& leases = config_.leases;
  leases.ttl = rng_.Pick(absl::Seconds(1), absl::Seconds(60));
  leases.confirm_within = rng_.Pick(absl::Milliseconds(500), absl::Seconds(10));
  leases.abort_linger = rng_.Pick(absl::ZeroDuration(), absl::Milliseconds(100), absl::Seconds(2));
  leases.max = rng_.Pick(8, 1000, 1000);
}

Op Workload::NextAdmit(Instant now) {
  Request r;
  const std::string id = rng_.OneIn(5) ? "" : absl::StrCat("r", keys_++);
  const std::string tenant = absl::StrCat("t", rng_.Between(0, 5));
  r.request_id = id;
  r.tenant = tenant;
  r.caller = static_cast<uint32_t>(rng_.Between(1, 2));
  r.model = ModelId{static_cast<int32_t>(rng_.Between(0, static_cast<int64_t>(config_.models.size()) - 1))};
  if (rng_.OneIn(4)) {
    int64_t first = 0;
    for (size_t m = 0; m < Index(r.model); ++m) first += static_cast<int64_t>(config_.models[m].instances.size());
    const auto instances = static_cast<int64_t>(config_.models[Index(r.model)].instances.size());
    r.instance = InstanceId{static_cast<int32_t>(first + rng_.Between(0, instances - 1))};
  }
  r.priority = static_cast<int32_t>(rng_.Pick(0, 0, 0, 1, 2, -1, 1'000'000));
  r.tokens = rng_.OneIn(8) ? rng_.Between(1, 20) : rng_.Between(1, 8);
  const int64_t activation = rng_.Pick(0, 0, 1, 2);
  for (size_t c = 0; c < r.costs.size(); ++c) {
    r.costs[c].kv_bytes = std::max<int64_t>(0, r.tokens - static_cast<int64_t>(c) * rng_.Between(0, 2)) * unit_bytes_;
    r.costs[c].activation_bytes = activation * unit_bytes_;
  }
  if (rng_.OneIn(50)) r.costs[0].kv_bytes = rng_.Pick<int64_t>(100 * unit_bytes_, int64_t{1} << 62, INT64_MAX);
  r.stream = rng_.OneIn(2);
  r.max_wait = rng_.Pick(absl::InfiniteDuration(), absl::InfiniteDuration(), absl::Seconds(2), absl::Seconds(8));
  if (rng_.OneIn(10)) r.max_wait = absl::ZeroDuration();
  if (rng_.OneIn(4)) r.deadline = now + rng_.Between(absl::ZeroDuration(), absl::Seconds(4));
  if (rng_.OneIn(4)) r.ttl = rng_.Between(absl::Milliseconds(10), absl::Seconds(20));
  if (rng_.OneIn(2)) r.drain = rng_.Between(absl::ZeroDuration(), absl::Seconds(5));
  return Op::Admit(now, r);
}

Op Workload::GoodReading(Instant now, size_t device) const {
  Op op = Op::Of(Op::Kind::kReading, now);
  op.device = AccountId{static_cast<int32_t>(device)};
  op.reading.capacity_bytes = config_.devices[device].capacity_bytes;
  op.reading.ceiling_bytes = config_.devices[device].ceiling_bytes;
  op.reading.read_at = now;
  return op;
}

Op Workload::NextReading(Instant now) {
  Op op = GoodReading(now, static_cast<size_t>(rng_.Between(0, static_cast<int64_t>(config_.devices.size()) - 1)));
  op.reading.stale = rng_.OneIn(8);
  if (rng_.OneIn(2)) return op;
  op.reading.foreign_bytes = rng_.Between(0, op.reading.capacity_bytes);
  op.reading.capacity_bytes -= op.reading.foreign_bytes;
  return op;
}

}  // namespace vramgate::sim
