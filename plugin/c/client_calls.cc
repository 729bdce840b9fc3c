// The Client's calls: what the functions of the table do.
#include <algorithm>

#include "plugin/c/client.h"

namespace vramgate::plugin {
namespace {

constexpr int64_t kUsageEveryNs = 100'000'000;
constexpr size_t kMostStepAnswers = 1024;

int64_t DeadlineOf(int64_t timeout_ns) {
  return NowNs() + std::clamp<int64_t>(timeout_ns, 0, kNever / 4);
}

}  // namespace

vg_code Client::AdmitAsync(const vg_admit_args& args, const vg_callbacks* callbacks, vg_lease* out) {
  const Lock lock(mutex_);
  Entry* entry = Make(args, callbacks == nullptr ? Entry::Caller::kPolls : Entry::Caller::kCallbacks);
  if (entry == nullptr) return VG_RESOURCE_EXHAUSTED;
  if (callbacks != nullptr) {
    entry->callbacks = *callbacks;
    ++listeners_;
    if (watch_at_ns_ != kNever) Listen();
  }
  *out = entry->id();
  if (away_) {
    DecideAway(*entry);
  } else if (heard_) {
    Ask(*entry);
    Send();
  }
  return VG_OK;
}

vg_code Client::TryAdmit(const vg_admit_args& args, int64_t timeout_ns, Answer* answer, vg_lease* out) {
  const int64_t deadline_ns = DeadlineOf(timeout_ns);
  Lock lock(mutex_);
  Entry* entry = Make(args, Entry::Caller::kTries);
  if (entry == nullptr) {
    *answer = {
        .code = VG_RESOURCE_EXHAUSTED, .reason = "MAX_LEASES", .message = "max_leases of this client are in use"};
    return VG_RESOURCE_EXHAUSTED;
  }
  const vg_lease id = entry->id();
  if (away_) {
    DecideAway(*entry);
  } else if (heard_) {
    Ask(*entry);
    Send();
  }
  // Nobody else ends it: it stays where it is.
  const bool answered = Await(lock, deadline_ns, [entry] { return entry->state != Entry::State::kWaiting; });
  if (!answered) {
    *answer = {.code = VG_DEADLINE_EXCEEDED, .reason = "TIMEOUT", .message = "no answer within timeout_ns"};
    Leave(*entry, VG_USAGE_INIT);
    return VG_DEADLINE_EXCEEDED;
  }
  *answer = entry->answer;
  if (entry->state != Entry::State::kHeld) {
    Leave(*entry, VG_USAGE_INIT);
    return static_cast<vg_code>(answer->code);
  }
  entry->caller = Entry::Caller::kPolls;
  *out = id;
  return VG_OK;
}

vg_code Client::Poll(vg_lease id, Answer* answer) {
  const Lock lock(mutex_);
  if (watch_at_ns_ != kNever && !broken_) Read();  // else the thread has
  Entry* entry = leases_.Find(id);
  if (entry == nullptr || entry->state == Entry::State::kEnding) {
    *answer = {.code = VG_NOT_FOUND, .reason = "NOT_FOUND", .message = "no such lease any more"};
    return VG_NOT_FOUND;
  }
  *answer = entry->answer;
  if (entry->state == Entry::State::kDone) Leave(*entry, VG_USAGE_INIT);
  return static_cast<vg_code>(answer->code);
}

vg_code Client::Extend(vg_lease id, int64_t tokens) {
  const Lock lock(mutex_);
  Entry* entry = leases_.Find(id);
  if (entry == nullptr || entry->state == Entry::State::kEnding || entry->state == Entry::State::kDone)
    return VG_NOT_FOUND;
  if (entry->state != Entry::State::kHeld) return VG_FAILED_PRECONDITION;
  if (!entry->known) {  // granted by the policy, which covers all
    Tell(Event::Kind::kExtended, *entry);
    return VG_OK;
  }
  entry->extend_to = tokens;
  if (entry->asked) {
    AppendExtend(id, tokens, &link_.out());
    Send();
  }
  return VG_OK;
}

vg_code Client::Report(vg_lease id, const vg_usage& usage) {
  const Lock lock(mutex_);
  Entry* entry = leases_.Find(id);
  if (entry == nullptr || entry->state != Entry::State::kHeld) return VG_NOT_FOUND;
  entry->usage = usage;
  entry->usage.outcome = 0;
  if (entry->dirty) return VG_OK;
  entry->dirty = true;
  dirty_.push_back(id);
  if (usage_at_ns_ == kNever) usage_at_ns_ = NowNs() + kUsageEveryNs;
  DueAt(usage_at_ns_);
  return VG_OK;
}

void Client::End(vg_lease id, const vg_usage& usage) {
  const Lock lock(mutex_);
  if (Entry* entry = leases_.Find(id); entry != nullptr) Leave(*entry, usage);
}

void Client::RevokeAck(vg_lease id) {
  const Lock lock(mutex_);
  Entry* entry = leases_.Find(id);
  if (entry != nullptr && entry->state == Entry::State::kHeld) Leave(*entry, entry->usage, /*ack=*/true);
}

vg_code Client::ReportSteps(const vg_step_report& report, OnSteps on_answer, void* user) {
  constexpr uint64_t kStepStream = 1;
  const Lock lock(mutex_);
  if (!heard_) return VG_UNAVAILABLE;
  if (step_answers_.size() == kMostStepAnswers) return VG_RESOURCE_EXHAUSTED;
  AppendSteps(kStepStream, report, &link_.out());
  step_answers_.emplace_back(on_answer, user);
  if (watch_at_ns_ != kNever) Listen();
  Send();
  return VG_OK;
}

vg_code Client::Load(bool load, std::string_view model, std::string_view instance, int64_t timeout_ns, Answer* answer) {
  const int64_t deadline_ns = DeadlineOf(timeout_ns);
  Lock lock(mutex_);
  const auto fail = [answer](vg_code code, std::string_view reason, std::string message) {
    *answer = {.code = code, .reason = std::string(reason), .message = std::move(message)};
    return code;
  };
  if (!Await(lock, deadline_ns, [this] { return heard_ || away_; }))
    return fail(VG_DEADLINE_EXCEEDED, "TIMEOUT", "no answer within timeout_ns");
  if (!heard_) {
    if (options_.when_away != VG_FAIL_OPEN) return fail(VG_UNAVAILABLE, "GATE_AWAY", "the sidecar cannot be reached");
    *answer = {.code = VG_OK, .flags = VG_FLAG_AWAY};
    return VG_OK;
  }
  Waiting call{.stream = next_stream_++};
  calls_.push_back(&call);
  AppendLoad(call.stream, load, model, instance, &link_.out());
  Send();
  const bool answered = Await(lock, deadline_ns, [&call] { return call.done; });
  calls_.erase(std::find(calls_.begin(), calls_.end(), &call));
  if (!answered) return fail(VG_DEADLINE_EXCEEDED, "TIMEOUT", "no answer within timeout_ns");
  *answer = call.answer;
  return static_cast<vg_code>(answer->code);
}

void Client::State(vg_client_state* state) {
  const Lock lock(mutex_);
  state->connected = heard_;
  state->away = away_;
  state->local_bytes = local_bytes_;
  state->connects = connects_;
  leases_.ForEach([&](const Entry& entry) {
    state->waiting += entry.state == Entry::State::kWaiting;
    if (entry.state != Entry::State::kHeld) return;
    ++state->held;
    state->held_away += !entry.known;
  });
}

}  // namespace vramgate::plugin
