#include "admission/replay/meter.h"

#include <algorithm>

#include "admission/check.h"
#include "admission/replay/quantile.h"

namespace vramgate {

void Meter::Advance(Instant now) {
  CHECK(now >= now_, "Meter: time went back");
  if (now == now_) return;
  const auto ns = static_cast<double>(now.ns - now_.ns);
  byte_ns_ += ns * static_cast<double>(bytes_);
  if (waiting_ > 0) {
    queued_ns_ += ns;
    queued_byte_ns_ += ns * static_cast<double>(bytes_);
  }
  timeline_.Add(now_, now, bytes_, waiting_);
  now_ = now;
}

void Meter::Settle(Tenant& tenant) const {
  if (tenant.waiting > 0) {
    const auto ns = static_cast<double>(now_.ns - tenant.since.ns);
    tenant.waited_ns += ns;
    tenant.byte_ns += ns * static_cast<double>(tenant.bytes);
  }
  tenant.since = now_;
}

void Meter::Change(int32_t index, int64_t waiting, int64_t bytes) {
  Tenant& tenant = tenants_[static_cast<size_t>(index)];
  Settle(tenant);
  tenant.waiting += waiting;
  tenant.bytes += bytes;
  waiting_ += waiting;
  bytes_ += bytes;
}

void Meter::Waited(absl::Duration wait) {
  waits_s_.push_back(absl::ToDoubleSeconds(wait));
  timeline_.Waited(now_, waits_s_.back());
}

double Meter::utilization() const {
  return now_.ns == 0 ? 0 : byte_ns_ / static_cast<double>(now_.ns) / static_cast<double>(pool_bytes_);
}

std::optional<double> Meter::utilization_while_queued() const {
  if (queued_ns_ <= 0) return std::nullopt;
  return queued_byte_ns_ / queued_ns_ / static_cast<double>(pool_bytes_);
}

double Meter::WaitQuantile_s(double q) {
  return QuantileOf(waits_s_, q);
}

std::optional<double> Meter::FairnessGap() {
  double least = 0;
  double most = 0;
  int64_t counted = 0;
  for (Tenant& tenant : tenants_) {
    Settle(tenant);
    if (tenant.waited_ns <= 0 || tenant.waited_ns < queued_ns_ / 2) continue;
    const double rate = tenant.byte_ns / tenant.waited_ns;
    least = counted == 0 ? rate : std::min(least, rate);
    most = std::max(most, rate);
    ++counted;
  }
  if (counted < 2 || most <= 0) return std::nullopt;
  return 1 - least / most;
}

}  // namespace vramgate
