// The Gate's third part: the steps of an engine, what grows with them, and who gives way where the pool cannot hold it.
#include <algorithm>

#include "admission/check.h"
#include "admission/gate/gate.h"

namespace vramgate {
namespace {

// Beyond any device: a report above it is a lie, and must not fill a share that has no limit.
constexpr int64_t kMostBytes = int64_t{1} << 44;
// Steps that are counted by the clock are counted at most so many at once: an outlook reaches no further.
constexpr int64_t kMostSteps = 1 << 20;
// How long a holder has to stop that is asked to give way.
constexpr absl::Duration kGiveWayGrace = absl::Seconds(2);

}  // namespace

void Gate::MakeOutlooks() {
  for (size_t m = 0; m < config_.models.size(); ++m) {
    const AssuranceSpec& spec = config_.models[m].assurance;
    if (spec.level == Assurance::kWorstCase) continue;
    counts_steps_ = counts_steps_ || spec.steps_per_s > 0 || spec.report_within < absl::InfiniteDuration();
    const auto bucket_tokens = static_cast<double>(OutlookBucketSteps(spec)) * spec.min_tokens_per_step;
    lengths_[m] = std::make_unique<LengthClasses>(spec.typical_output_tokens,
                                                  std::max<int64_t>(1, static_cast<int64_t>(bucket_tokens)));
    const FleetModel& model = fleet_.models()[m];
    for (int i = 0; i < model.instances; ++i) {
      const size_t index = Index(model.first_instance) + static_cast<size_t>(i);
      const Instance& instance = fleet_.instances()[index];
      CHECK(instance.pool != kNoAccount, "Gate: an assurance above worst_case needs a preallocated pool");
      const Account& pool = budget_.account(instance.pool);
      outlooks_[index] =
          std::make_unique<Outlook>(spec, instance.price_class, pool.capacity_bytes - pool.fixed_bytes, *lengths_[m]);
    }
  }
}

// What a grant on `id` takes: all of it, but of the pool only what the start takes where an outlook watches the rest. A
// tenant's hard share is charged in full at every level.
Charges Gate::ChargesOf(const Lease& lease, InstanceId id) const {
  const Instance& instance = fleet_.instance(id);
  const RankCost& cost = lease.costs[static_cast<size_t>(instance.price_class)];
  const Outlook* outlook = outlooks_[Index(id)].get();
  if (outlook == nullptr) return fleet_.ChargesOf(instance, cost, TenantOf(lease));
  Charges charges = fleet_.ChargesOf(instance, {outlook->StartBytes(lease), cost.activation_bytes}, kNoAccount);
  if (TenantOf(lease) != kNoAccount) charges.Add(TenantOf(lease), instance.total_bytes(cost));
  return charges;
}

// --- Steps ---

// A lease that holds bytes, lingering or not; null: there is none.
Lease* Gate::FindHeld(LeaseId id) {
  Lease* lease = table_.Find(id);
  const bool holds = lease != nullptr && (lease->state == LeaseState::kHeld || lease->state == LeaseState::kLingering);
  return holds ? lease : nullptr;
}

void Gate::Step(InstanceId id, const StepReport& report, Instant now, Effects& out) {
  Tick(now);
  Outlook* outlook = outlooks_[Index(id)].get();
  if (outlook != nullptr && outlook->spec().steps_per_s <= 0) {
    outlook->Heard();
    if (report.steps > 0 && !outlook->empty())
      outlook->Took((now - steps_counted_[Index(id)]) / static_cast<double>(report.steps));
    steps_counted_[Index(id)] = now;
    outlook->Advance(std::clamp<int64_t>(report.steps, 0, kMostSteps));
  }
  HeardFrom(id, report, now, out);
  for (const StepReport::Ended& ended : report.ended) {
    Lease* lease = FindHeld(ended.lease.id);
    if (lease == nullptr || lease->instance != id) continue;
    lease->output_tokens = ended.output_tokens;
    FreeOnly(*lease, LedgerEvent::kRelease, Outcome::kCompleted, now, out);
  }
  if (outlook == nullptr) return DispatchIsland(IslandOf(id), now, out);
  for (const StepReport::Emitted& emitted : report.emitted) {
    Lease* lease = FindHeld(emitted.lease);
    if (lease == nullptr || lease->instance != id) continue;
    if (!outlook->Progress(*lease, emitted.output_tokens)) SayLate(*lease, now, out);
  }
  SettleSteps(id, now, out);
}

void Gate::StepsEnd(InstanceId id, Instant now, Effects& out) {
  Tick(now);
  const Outlook* outlook = outlooks_[Index(id)].get();
  if (outlook == nullptr || outlook->spec().steps_per_s > 0) return;
  if (outlook->spec().report_within < absl::InfiniteDuration()) FallSilent(id, now, out);
}

void Gate::FallSilent(InstanceId id, Instant now, Effects& out) {
  outlooks_[Index(id)]->FallSilent([&](Lease& lease, int64_t kv_bytes) { Need(lease, kv_bytes, now, out); },
                                   [&](Lease& lease) { SayLate(lease, now, out); });
  Relieve(id, now, out);
  DispatchIsland(IslandOf(id), now, out);
}

// Steps of instances that report none, and the silence of those that should.
void Gate::CountSteps(Instant now, Effects& out) {
  if (!counts_steps_) return;
  for (size_t i = 0; i < outlooks_.size(); ++i) {
    Outlook* outlook = outlooks_[i].get();
    if (outlook == nullptr) continue;
    if (outlook->spec().steps_per_s <= 0) {
      const bool waits = !outlook->silent() && !outlook->empty();
      if (waits && now >= steps_counted_[i] + outlook->spec().report_within)
        FallSilent(InstanceId{static_cast<int32_t>(i)}, now, out);
      continue;
    }
    const double step_ns = 1e9 / outlook->spec().steps_per_s;
    const auto steps = static_cast<int64_t>(static_cast<double>(now.ns - steps_counted_[i].ns) / step_ns);
    if (steps <= 0) continue;
    steps_counted_[i].ns += static_cast<int64_t>(static_cast<double>(steps) * step_ns);
    outlook->Advance(std::min(steps, kMostSteps));
    SettleSteps(InstanceId{static_cast<int32_t>(i)}, now, out);
  }
}

Instant Gate::NextTimer() const {
  Instant next = table_.NextTimer();
  if (!counts_steps_) return next;
  for (size_t i = 0; i < outlooks_.size(); ++i) {
    const Outlook* outlook = outlooks_[i].get();
    if (outlook == nullptr || outlook->empty()) continue;
    if (outlook->spec().steps_per_s <= 0) {
      if (!outlook->silent()) next = std::min(next, steps_counted_[i] + outlook->spec().report_within);
      continue;
    }
    // Often enough that what is granted ahead does not run out in between.
    const auto ahead = static_cast<double>(std::max<int64_t>(2, outlook->spec().lookahead_tokens));
    const double steps = std::max(1.0, ahead / 2 / outlook->spec().max_tokens_per_step);
    next = std::min(next, steps_counted_[i] + absl::Nanoseconds(steps * 1e9 / outlook->spec().steps_per_s));
  }
  return next;
}

// The holders of `id` get what they need for the step to come.
void Gate::SettleSteps(InstanceId id, Instant now, Effects& out) {
  Outlook& outlook = *outlooks_[Index(id)];
  outlook.Settle([&](Lease& lease, int64_t kv_bytes) { Need(lease, kv_bytes, now, out); },
                 [&](Lease& lease) { SayLate(lease, now, out); });
  Relieve(id, now, out);
  outlook.EndWindows();
  DispatchIsland(IslandOf(id), now, out);
}

void Gate::SayLate(const Lease& lease, Instant now, Effects& out) const {
  Say(lease, Decision::Kind::kLate, Outcome::kGranted, now, out);
}

void Gate::Need(Lease& lease, int64_t kv_bytes, Instant now, Effects& out) {
  if (kv_bytes <= lease.used.kv_bytes) return;
  EndOveruse(lease);
  lease.used.kv_bytes = kv_bytes;
  ChargeOveruse(lease, now, out);
}

// Asks as many holders of `id` to give way as it takes to let the others go on; those for whom nobody can be asked
// overuse.
void Gate::Relieve(InstanceId id, Instant now, Effects& out) {
  if (overusers_.empty()) return;
  Outlook& outlook = *outlooks_[Index(id)];
  const AccountId pool = fleet_.instance(id).pool;
  int64_t missing = -budget_.account(pool).free_bytes() - outlook.BytesGivingWay();
  Lease* needy = nullptr;
  for (Lease& lease : overusers_) {
    if (lease.instance != id) continue;
    needy = needy == nullptr ? &lease : needy;
    ForEachOverused(lease, [&](AccountId account, int64_t bytes) { missing += account == pool ? bytes : 0; });
  }
  // A fall of the pool is no error of the policy.
  const bool cut = budget_.account(pool).capacity_bytes < budget_.account(pool).ceiling_bytes;
  const bool statistical = outlook.spec().level == Assurance::kStatistical;
  if (statistical && !cut && needy != nullptr && missing > 0) outlook.Erred();
  while (statistical && needy != nullptr && missing > 0) {
    Lease* victim = outlook.Victim();
    if (victim == nullptr) break;
    missing -= victim->reservation.charges().bytes(pool);
    ++victim->holder.revocations;
    victim->holder.gave_way = true;
    (void)Revoke(victim->id, kGiveWayGrace, "its KV pool is full", now, out);
    out.decisions.back().by_policy = true;
  }
  for (Lease& lease : overusers_) {
    if (lease.instance != id || lease.holder.overusing) continue;
    bool over = missing > 0;  // beside the pool nobody can be asked to give way
    ForEachOverused(lease, [&](AccountId account, int64_t) { over = over || account != pool; });
    if (!over) continue;
    lease.holder.overusing = true;
    ++counts_[Index(lease.model)].overuses;
    Rows(LedgerEvent::kOveruse, lease, 0, now, out);
  }
}

// A holder that gave way, and has let go, goes back to where it came from: its place is kept for its next Admit.
void Gate::KeepPlace(Lease& lease, Instant now) {
  lease.state = LeaseState::kPlaceKept;
  lease.instance = kAnyInstance;
  lease.used = {};
  lease.output_tokens = -1;
  lease.revoking = lease.confirmed = false;
  lease.holder.gave_way = lease.holder.overusing = false;
  table_.SetTimer(lease, now + config_.queue.rejoin_window);
}

// --- Progress ---

void Gate::Extend(LeaseId id, int64_t tokens, Instant now, Effects& out) {
  Tick(now);
  CountSteps(now, out);
  Lease* lease = table_.Find(id);
  if (lease == nullptr || lease->state != LeaseState::kHeld) return;
  const int64_t granted = GrantedTokens(*lease);
  const int64_t most = granted == 0 ? 0 : lease->max_output_tokens - granted;
  lease->holder.extend_to = granted + std::clamp<int64_t>(tokens, 0, most);
  SayExtended(*lease, now, out);
}

int64_t Gate::GrantedTokens(const Lease& lease) const {
  if (lease.instance == kAnyInstance || outlooks_[Index(lease.instance)] == nullptr) return 0;
  const int64_t held_bytes = lease.reservation.charges().bytes(fleet_.instance(lease.instance).pool);
  const int64_t covered = outlooks_[Index(lease.instance)]->CoveredTokens(lease, held_bytes);
  return covered < lease.max_output_tokens ? covered : 0;
}

void Gate::SayExtended(Lease& lease, Instant now, Effects& out) const {
  if (lease.holder.extend_to < 0) return;
  const int64_t granted = GrantedTokens(lease);
  if (granted != 0 && granted < lease.holder.extend_to) return;
  lease.holder.extend_to = -1;
  Say(lease, Decision::Kind::kExtended, Outcome::kGranted, now, out);
}

void Gate::Progress(LeaseId id, const Costs& used, Instant now, Effects& out, int64_t output_tokens) {
  Tick(now);
  CountSteps(now, out);
  Lease* lease = table_.Find(id);
  if (lease == nullptr || lease->state != LeaseState::kHeld) return;
  Outlook* outlook = OutlookOf(*lease);
  if (outlook != nullptr && output_tokens >= 0 && !outlook->Progress(*lease, output_tokens)) SayLate(*lease, now, out);
  const Instance& instance = fleet_.instance(lease->instance);
  const RankCost& cost = used[static_cast<size_t>(instance.price_class)];
  const RankCost before = lease->used;
  EndOveruse(*lease);
  lease->used.kv_bytes = std::max(lease->used.kv_bytes, std::min(cost.kv_bytes, kMostBytes));
  lease->used.activation_bytes = std::max(lease->used.activation_bytes, std::min(cost.activation_bytes, kMostBytes));
  ChargeOveruse(*lease, now, out);
  if (outlook != nullptr) {
    Relieve(lease->instance, now, out);
  } else if (lease->overuse_hook.is_linked()) {
    ++counts_[Index(lease->model)].overuses;
    Rows(LedgerEvent::kOveruse, *lease, 0, now, out);
  }
  // Less room may close less: see Dispatch.
  if (lease->used != before) DispatchIsland(IslandOf(*lease), now, out);
}

// Charges what fits of a reported overuse; the accounts that lack the rest are closed while it lasts.
void Gate::ChargeOveruse(Lease& lease, Instant now, Effects& out) {
  EndOveruse(lease);
  ForEachOverused(lease, [&](AccountId id, int64_t bytes) {
    if (lease.reservation.TryGrow(id, bytes)) {
      Row(LedgerEvent::kExtend, &lease, id, bytes, now, out);
      shares_.Grown(lease, tenants_.tenant(lease.tenant), fleet_.instance(lease.instance), id, bytes, now);
      return;
    }
    ++budget_.mutable_account(id).overusers;
    if (!lease.overuse_hook.is_linked()) overusers_.push_back(lease);
  });
  if (!lease.overuse_hook.is_linked()) lease.holder.overusing = false;
  SayExtended(lease, now, out);
}

void Gate::EndOveruse(Lease& lease) {
  if (!lease.overuse_hook.is_linked()) return;
  ForEachOverused(lease, [&](AccountId id, int64_t) { --budget_.mutable_account(id).overusers; });
  overusers_.erase(overusers_.iterator_to(lease));
}

}  // namespace vramgate
