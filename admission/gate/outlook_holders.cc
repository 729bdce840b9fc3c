// The Outlook's second part: whom to ask to give way, what becomes of holders whose engine falls silent, and windows.
#include <bit>
#include <tuple>

#include "admission/check.h"
#include "admission/gate/outlook.h"

namespace vramgate {

std::string_view AssuranceName(Assurance level) {
  switch (level) {
    case Assurance::kWorstCase:
      return "worst_case";
    case Assurance::kLockstep:
      return "lockstep";
    case Assurance::kStatistical:
      return "statistical";
  }
  CHECK(false, "AssuranceName: no such level");
}

Lease* Outlook::Victim() {
  Lease* victim = nullptr;
  // Youngest to a factor of two, so that of those the cheapest to do again goes.
  const auto rank = [this](const Lease& lease) {
    const auto age = static_cast<uint64_t>(step() - lease.holder.granted_step);
    return std::tuple(lease.priority, std::bit_width(age), lease.prompt_tokens + emitted_tokens(lease));
  };
  for (Lease& lease : holders_) {
    if (lease.state != LeaseState::kHeld || !lease.revocable || lease.revoking) continue;
    if (lease.holder.revocations >= kMostRevocations) continue;
    if (victim == nullptr || rank(lease) < rank(*victim)) victim = &lease;
  }
  return victim;
}

int64_t Outlook::BytesGivingWay() const {
  int64_t bytes = 0;
  for (const Lease& lease : holders_) {
    if (lease.revoking) bytes += lease.used.kv_bytes;
  }
  return bytes;
}

void Outlook::Asked(Lease& lease) {
  if (!lease.holder.asked) ++asked_;
  lease.holder.asked = true;
}

void Outlook::ForEachAsked(absl::FunctionRef<void(const Lease&)> visit) const {
  if (asked_ == 0) return;
  for (const Lease& lease : holders_) {
    if (lease.holder.asked) visit(lease);
  }
}

void Outlook::FallSilent(Need need, Late late) {
  silent_ = true;
  for (Lease& lease : holders_) {
    if (lease.holder.late || lease.holder.whole) continue;
    Pin(lease);
    late(lease);
    need(lease, full_bytes(lease));
  }
}

void Outlook::EndWindows() {
  if (spec_.level != Assurance::kStatistical) return;
  for (; window_steps_ >= kWindowSteps; window_steps_ -= kWindowSteps) {
    // Where all are sure nothing is learned of z; but it must come down again when only what is sure is let in.
    const bool counts = window_unsure_ || erred_ || (control_.guaranteed_only() && !holders_.empty());
    if (counts) control_.EndWindow(erred_);
    erred_ = false;
    window_unsure_ = unsure_ > 0;
    if (!counts) window_steps_ %= kWindowSteps;
  }
}

}  // namespace vramgate
