#include "admission/gate/controller.h"

#include <algorithm>
#include <chrono>
#include <utility>

namespace vramgate {

Controller::Controller(const GateConfig& config, const Clock& clock, Recorder* recorder)
    : config_(config), clock_(clock), recorder_(recorder), gate_(config), stats_(config.models.size()) {
  Run([&](Instant now, Deliveries&) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { gate_.Start(now, effects_); });
}

Controller::~Controller() = default;

template <typename Op>
void Controller::Run(Op op) {
  Deliveries deliveries;
  {
    MutexLock lock(mutex_);
    const Instant now = clock_.Now();
    effects_.Clear();
    op(now, deliveries);
    Settle(deliveries, nullptr, now);
    WakeIfSooner();
    if (gate_.draining() && gate_.held() == gate_.lingering()) idle_.notify_all();
  }
  for (const Delivery& delivery : deliveries) delivery.to->OnDecision(delivery.decision);
}

// Records what the gate said, and finds whom to tell. With `own`, the decision about own->lease (or about no lease) is
// put there.
void Controller::Settle(Deliveries& deliveries, Answer* own, Instant now) {
  if (recorder_ != nullptr) {
    for (AccountId id : effects_.named) recorder_->OnAccount(id, gate_.budget().account(id).name);
    for (const LedgerRow& row : effects_.rows) recorder_->OnRow(row);
  }
  for (const Decision& decision : effects_.decisions) {
    stats_.Count(decision);
    if (recorder_ != nullptr) recorder_->OnDecision(decision, now);
    const bool answer = decision.kind == Decision::Kind::kAnswer;
    if (own != nullptr && answer && decision.lease.id == own->lease.id &&
        decision.lease.attachment == own->lease.attachment) {
      own->decided = true;
      own->decision = decision;
      continue;
    }
    if (decision.kind == Decision::Kind::kLate) continue;  // of no concern to a holder
    const size_t slot = LeaseTable::Slot(decision.lease.id);
    if (slot >= seats_.size()) continue;
    Seat& seat = seats_[slot];
    if (seat.holder == nullptr || seat.attachment != decision.lease.attachment) continue;
    bool stays = decision.kind == Decision::Kind::kExtended ||
                 (decision.kind == Decision::Kind::kStop && decision.outcome == Outcome::kRevoked);
    if (answer && decision.outcome == Outcome::kGranted) {
      const Lease* lease = gate_.Find(decision.lease.id);
      stays = lease != nullptr && lease->stream;  // a unary caller has its answer and is done
    }
    deliveries.push_back({stays ? seat.holder : std::move(seat.holder), decision});
  }
  effects_.Clear();
}

void Controller::Adopt(LeaseRef lease, std::shared_ptr<Holder> holder) {
  const size_t slot = LeaseTable::Slot(lease.id);
  if (slot >= seats_.size()) seats_.resize(std::max(slot + 1, seats_.size() * 2));
  seats_[slot] = {std::move(holder), lease.attachment};
}

// A lease that was asked to stop may be taken up by another stream: only its former holder has heard so.
void Controller::RepeatRevocation(const Answer& answer, Deliveries& deliveries, Instant now) {
  const Lease* lease = gate_.Find(answer.lease.id);
  if (lease == nullptr || !lease->revoking) return;
  Decision stop = answer.decision;
  stop.kind = Decision::Kind::kStop;
  stop.outcome = Outcome::kRevoked;
  stop.grace = std::max(absl::ZeroDuration(), lease->timer - now);
  deliveries.push_back({seats_[LeaseTable::Slot(lease->id)].holder, stop});
}

// The holder of `lease` ends it itself and need not be told.
void Controller::Forget(LeaseRef lease) {
  const size_t slot = LeaseTable::Slot(lease.id);
  if (slot < seats_.size() && seats_[slot].attachment == lease.attachment) seats_[slot].holder = nullptr;
}

bool Controller::OwnedBy(LeaseId id, uint32_t caller) const {
  const Lease* lease = gate_.Find(id);
  return lease != nullptr && lease->caller == caller;
}

void Controller::WakeIfSooner() {
  if (gate_.NextTimer() >= planned_) return;
  planned_ = gate_.NextTimer();
  woken_ = true;
  due_.notify_one();
}

Controller::Answer Controller::Admit(const Request& request, std::shared_ptr<Holder> holder) {
  Answer answer;
  Deliveries deliveries;
  {
    MutexLock lock(mutex_);
    const Instant now = clock_.Now();
    effects_.Clear();
    const Gate::Admission admission = gate_.Admit(request, now, effects_);
    answer.lease = admission.lease;
    Settle(deliveries, &answer, now);
    if (admission.waiting) answer.position = gate_.Position(admission.lease, now);
    const bool held = answer.decided && answer.decision.outcome == Outcome::kGranted;
    if (holder != nullptr && (admission.waiting || (held && request.stream))) {
      Adopt(admission.lease, std::move(holder));
      if (held) RepeatRevocation(answer, deliveries, now);
    }
    stats_.CountDecisionTime(clock_.Now().ns - now.ns);
    WakeIfSooner();
  }
  for (const Delivery& delivery : deliveries) delivery.to->OnDecision(delivery.decision);
  return answer;
}

bool Controller::Reattach(LeaseId id, uint32_t caller, std::shared_ptr<Holder> holder, Answer* answer) {
  bool found = false;
  Deliveries deliveries;
  {
    MutexLock lock(mutex_);
    const Instant now = clock_.Now();
    effects_.Clear();
    found = gate_.Reattach(id, caller, now, effects_, &answer->lease);
    Settle(deliveries, answer, now);
    if (found) {
      Adopt(answer->lease, std::move(holder));
      RepeatRevocation(*answer, deliveries, now);
    }
  }
  for (const Delivery& delivery : deliveries) delivery.to->OnDecision(delivery.decision);
  return found;
}

void Controller::Cancel(LeaseRef lease) {
  Run([&](Instant now, Deliveries&) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    Forget(lease);
    gate_.Cancel(lease, now, effects_);
  });
}

void Controller::End(LeaseRef lease, Gate::EndKind kind, int64_t output_tokens) {
  Run([&](Instant now, Deliveries&) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    Forget(lease);
    gate_.End(lease, kind, now, effects_, output_tokens);
  });
}

void Controller::HolderLost(LeaseRef lease, uint64_t connection) {
  Run([&](Instant now, Deliveries&) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    Forget(lease);
    gate_.HolderLost(lease, connection, now, effects_);
  });
}

bool Controller::Release(LeaseId id, uint32_t caller, Gate::EndKind kind, int64_t output_tokens) {
  bool found = false;
  Run([&](Instant now, Deliveries&) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    found = gate_.Release(id, caller, kind, now, effects_, output_tokens);
  });
  return found;
}

Gate::Renewal Controller::Renew(LeaseId id, uint32_t caller, LeaseView* view) {
  Gate::Renewal renewal = Gate::Renewal::kLost;
  Run([&](Instant now, Deliveries&) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    renewal = gate_.Renew(id, caller, now, effects_);
    if (renewal != Gate::Renewal::kLost) *view = ViewOf(gate_, *gate_.Find(id));
  });
  return renewal;
}

void Controller::Progress(LeaseId id, uint32_t caller, const Costs& used, int64_t output_tokens) {
  Run([&](Instant now, Deliveries&) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (OwnedBy(id, caller)) gate_.Progress(id, used, now, effects_, output_tokens);
  });
}

void Controller::Extend(LeaseId id, uint32_t caller, int64_t tokens) {
  Run([&](Instant now, Deliveries&) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (OwnedBy(id, caller)) gate_.Extend(id, tokens, now, effects_);
  });
}

void Controller::Step(InstanceId instance, const Gate::StepReport& report, std::vector<LeaseId>* stop,
                      std::vector<LeaseId>* lost) {
  Run([&](Instant now, Deliveries&) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    const auto check = [&](LeaseId id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
      const Lease* lease = gate_.Find(id);
      if (lease == nullptr || lease->instance != instance) lost->push_back(id);
    };
    for (const Gate::StepReport::Ended& ended : report.ended) check(ended.lease.id);
    for (const Gate::StepReport::Emitted& emitted : report.emitted) check(emitted.lease);
    gate_.Step(instance, report, now, effects_);
    const Outlook* outlook = gate_.outlook(instance);
    if (outlook != nullptr) outlook->ForEachAsked([&](const Lease& lease) { stop->push_back(lease.id); });
  });
}

void Controller::StepsEnd(InstanceId instance) {
  Run([&](Instant now, Deliveries&) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { gate_.StepsEnd(instance, now, effects_); });
}

void Controller::ReporterLost(uint64_t connection) {
  Run([&](Instant now, Deliveries&)
          ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { gate_.ReporterLost(connection, now, effects_); });
}

void Controller::RevokeAck(LeaseId id, uint32_t caller) {
  Run([&](Instant now, Deliveries&) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (OwnedBy(id, caller)) gate_.RevokeAck(id, now, effects_);
  });
}

bool Controller::Revoke(LeaseId id, absl::Duration grace, std::string_view reason) {
  bool found = false;
  Run([&](Instant now, Deliveries&)
          ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { found = gate_.Revoke(id, grace, reason, now, effects_); });
  return found;
}

void Controller::SetReading(AccountId device, const Gate::DeviceReading& reading) {
  Run([&](Instant now, Deliveries&)
          ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { gate_.SetReading(device, reading, now, effects_); });
}

Gate::LoadAnswer Controller::Load(InstanceId instance) {
  Gate::LoadAnswer answer;
  Run([&](Instant now, Deliveries&)
          ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { answer = gate_.Load(instance, now, effects_); });
  return answer;
}

int64_t Controller::Unload(InstanceId instance) {
  int64_t leases = 0;
  Run([&](Instant now, Deliveries&)
          ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { leases = gate_.Unload(instance, now, effects_); });
  return leases;
}

void Controller::Drain() {
  Run([&](Instant now, Deliveries&) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { gate_.Drain(now, effects_); });
}

void Controller::Stop() {
  Run([&](Instant now, Deliveries&) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { gate_.Stop(now, effects_); });
}

Instant Controller::Advance() {
  Instant next = kNever;
  Run([&](Instant now, Deliveries&) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    gate_.Advance(now, effects_);
    next = gate_.NextTimer();
  });
  return next;
}

void Controller::WaitUntilDue(absl::Duration most) {
  MutexLock lock(mutex_);
  const Instant now = clock_.Now();
  planned_ = std::min(gate_.NextTimer(), now + most);
  if (planned_ > now && !woken_) {
    due_.wait_for(mutex_, std::chrono::nanoseconds(planned_.ns - now.ns));
  }
  woken_ = false;
}

void Controller::Wake() {
  MutexLock lock(mutex_);
  woken_ = true;
  due_.notify_one();
}

void Controller::TellPositions() {
  std::vector<std::pair<Seat, std::pair<LeaseRef, QueuePosition>>> places;
  {
    MutexLock lock(mutex_);
    if (gate_.queue().size() == 0) return;
    gate_.ForEachWaiter(clock_.Now(),
                        [&](const Lease& lease, const QueuePosition& position) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
                          const size_t slot = LeaseTable::Slot(lease.id);
                          if (lease.stream && slot < seats_.size() && seats_[slot].holder != nullptr) {
                            places.push_back({seats_[slot], {lease.ref(), position}});
                          }
                        });
  }
  for (const auto& [seat, place] : places) seat.holder->OnQueued(place.first, place.second);
}

void Controller::CountRefusal(Outcome outcome, std::string_view request_id, std::string_view tenant) {
  MutexLock lock(mutex_);
  stats_.CountRefusal(outcome);
  if (recorder_ == nullptr) return;
  Decision decision{.outcome = outcome, .model = ModelId{-1}};
  decision.request_id.Assign(request_id);
  decision.tenant.Assign(tenant);
  recorder_->OnDecision(decision, clock_.Now());
}

bool Controller::WaitUntilIdle(absl::Duration most) {
  MutexLock lock(mutex_);
  const auto idle = [&] { return gate_.held() == gate_.lingering(); };
  return idle_.wait_for(mutex_, absl::ToChronoNanoseconds(most), idle);
}

Account Controller::GetAccount(AccountId id) const {
  MutexLock lock(mutex_);
  return gate_.budget().account(id);
}

Snapshot Controller::GetSnapshot() const {
  MutexLock lock(mutex_);
  return TakeSnapshot(gate_, clock_.Now());
}

Stats Controller::GetStats() const {
  MutexLock lock(mutex_);
  return stats_;
}

std::vector<LeaseView> Controller::List(size_t from, size_t limit, LeaseState wanted, size_t* next) const {
  MutexLock lock(mutex_);
  return ListLeases(gate_, from, limit, wanted, next);
}

std::optional<LeaseView> Controller::View(LeaseId id, uint32_t caller) const {
  MutexLock lock(mutex_);
  if (!OwnedBy(id, caller)) return std::nullopt;
  return ViewOf(gate_, *gate_.Find(id));
}

std::optional<ModelId> Controller::ModelOf(LeaseId id, uint32_t caller) const {
  MutexLock lock(mutex_);
  if (!OwnedBy(id, caller)) return std::nullopt;
  return gate_.Find(id)->model;
}

Gate::WhatIf Controller::Estimate(const Request& request) const {
  MutexLock lock(mutex_);
  return gate_.Estimate(request, clock_.Now());
}

}  // namespace vramgate
