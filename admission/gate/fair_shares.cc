#include "admission/gate/fair_shares.h"

#include <algorithm>

namespace vramgate {
namespace {

constexpr int64_t kMeanOf = 16;

FairTime Weighted(ByteTime use, const Tenant& tenant) {
  return (use >> 20) * tenant.price;
}

}  // namespace

FairShares::FairShares(int islands, size_t models) : floors_(static_cast<size_t>(islands)), holds_(models) {}

void FairShares::Granted(Lease& lease, Tenant& tenant, int island, int64_t bytes, int64_t start_bytes, Instant now) {
  lease.share = {
      .expected_ns = holds_[Index(lease.model)].mean_ns, .grown_bytes = start_bytes - bytes, .grown_late = 0};
  tenant.use.Change(start_bytes, now);
  FairShare& share = tenant.shares[static_cast<size_t>(island)];
  FairTime& floor = floors_[static_cast<size_t>(island)];
  floor = std::max(floor, share.had);
  share.had += Weighted(ByteTime{bytes} * lease.share.expected_ns, tenant);
}

void FairShares::Grown(Lease& lease, Tenant& tenant, const Instance& instance, AccountId account, int64_t bytes,
                       Instant now) {
  if (account == tenant.account) return;  // the sum of the others
  const int64_t all_bytes = account == instance.pool ? bytes * std::ssize(instance.devices) : bytes;
  tenant.use.Change(all_bytes, now);
  lease.share.grown_bytes += all_bytes;
  lease.share.grown_late += ByteTime{all_bytes} * (now.ns - lease.granted.ns);
}

void FairShares::Ended(Lease& lease, Tenant& tenant, int island, int64_t bytes, Instant now) {
  const int64_t held_ns = now.ns - lease.granted.ns;
  ByteTime held = ByteTime{bytes} * held_ns;
  ByteTime counted_ns = held_ns;  // as of one that held its whole cost
  if (lease.share.grown_bytes != 0 || lease.share.grown_late != 0) {
    held += ByteTime{lease.share.grown_bytes} * held_ns - lease.share.grown_late;
    if (bytes > 0) counted_ns = held / bytes;
  }
  tenant.use.Change(-(bytes + lease.share.grown_bytes), now);
  tenant.shares[static_cast<size_t>(island)].had +=
      Weighted(held, tenant) - Weighted(ByteTime{bytes} * lease.share.expected_ns, tenant);
  Hold& hold = holds_[Index(lease.model)];
  const auto last_ns = static_cast<int64_t>(std::min<ByteTime>(counted_ns, absl::ToInt64Nanoseconds(kLongestHold)));
  hold.mean_ns = hold.measured ? hold.mean_ns + (last_ns - hold.mean_ns) / kMeanOf : last_ns;
  hold.measured = true;
}

}  // namespace vramgate
