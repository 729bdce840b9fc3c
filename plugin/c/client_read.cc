// The Client's ears: what the sidecar says, on whichever thread it is read.
#include <utility>

#include "plugin/c/client.h"

namespace vramgate::plugin {
namespace {

constexpr int64_t kListenAgainNs = 2'000'000;

}  // namespace

void Client::Notice(Event event) {
  if (events_.empty() && !on_own_thread()) link_.Wake();
  events_.push_back(std::move(event));
}

void Client::Log(int level, std::string message) {
  if (options_.log == nullptr) return;
  Notice({.kind = Event::Kind::kLog, .answer = {.code = level, .message = std::move(message)}});
}

// Takes what has come. What breaks the connection is left for the client's thread.
void Client::Read() {
  switch (link_.Receive()) {
    case Link::Received::kNothing:
      return;
    case Link::Received::kBroken:
      broken_ = true;
      return;
    case Link::Received::kSome:
      break;
  }
  answer_by_ns_ = kNever;
  std::string_view frame;
  while (true) {
    switch (link_.frames().Next(&frame)) {
      case FrameReader::Result::kMore:
        return;
      case FrameReader::Result::kTooLong:
        broken_ = true;
        return;
      case FrameReader::Result::kFrame:
        break;
    }
    if (!Decode(frame, &response_)) {
      broken_ = true;
      return;
    }
    if (!heard_) Heard();
    Take(response_);
  }
}

void Client::Take(const Response& response) {
  if (response.stream == 0) {  // its last words
    return Log(1, "the sidecar ends the connection: " + std::string(response.message));
  }
  if (response.stream == 1) return TakeSteps(response);
  if (response.stream < kFirstId) return TakeForCall(response);
  Entry* entry = leases_.Find(response.stream);
  if (entry != nullptr && entry->asked) TakeForLease(*entry, response);
}

void Client::TakeForLease(Entry& entry, const Response& response) {
  switch (response.kind) {
    case Response::Kind::kQueued:
      if (entry.state != Entry::State::kWaiting) return;
      entry.answer.queue_position = response.position;
      entry.answer.ahead_total = response.ahead_total;
      entry.answer.estimated_wait_ns = response.estimated_wait_ns;
      return Tell(Event::Kind::kQueued, entry);
    case Response::Kind::kGranted:
      return TakeGrant(entry, response);
    case Response::Kind::kExtended:
      if (entry.state != Entry::State::kHeld) return;
      entry.extend_to = -1;
      entry.answer.granted_tokens = response.granted_tokens;
      entry.answer.vram_bytes = response.vram_bytes;
      return Tell(Event::Kind::kExtended, entry);
    case Response::Kind::kRevoke:
      if (entry.state != Entry::State::kHeld) return;
      entry.answer.flags |= VG_FLAG_REVOKED;
      entry.answer.code = VG_ABORTED;
      entry.answer.reason = "LEASE_REVOKED";
      entry.answer.message = response.message;
      entry.answer.grace_ns = response.grace_ns;
      Tell(Event::Kind::kRevoked, entry);
      entry.answer.code = VG_OK;  // still held
      return;
    case Response::Kind::kStatus:
      return TakeStatus(entry, response);
    case Response::Kind::kSteps:
    case Response::Kind::kLoaded:
    case Response::Kind::kUnloaded:
    case Response::Kind::kOther:
      return;
  }
}

// The grant of a waiter, or the gate's word that it knows a holder again.
void Client::TakeGrant(Entry& entry, const Response& response) {
  if (entry.state != Entry::State::kWaiting && entry.state != Entry::State::kHeld) return;
  const bool first = entry.state == Entry::State::kWaiting;
  if (first) entry.answer = {};
  entry.answer.lease_name = response.lease;
  entry.answer.instance = response.instance;
  entry.answer.vram_bytes = response.vram_bytes;
  entry.answer.granted_tokens = response.granted_tokens;
  entry.answer.flags &= ~static_cast<uint32_t>(VG_FLAG_AWAY);
  entry.known = true;
  entry.resumed = false;
  local_bytes_ -= std::exchange(entry.local_bytes, 0);
  prices_.Remember(entry);
  if (first) Grant(entry);
}

void Client::TakeStatus(Entry& entry, const Response& response) {
  entry.asked = false;
  if (entry.state == Entry::State::kEnding) return leases_.Erase(entry);
  Answer answer = entry.answer;
  answer.code = response.code;
  answer.reason = response.reason;
  answer.message = response.message;
  answer.retry_after_ns = response.retry_after_ns;
  const bool held = entry.state == Entry::State::kHeld;
  if (!held) {
    // A waiter that the gate ends without a word of its own.
    if (answer.code == VG_OK) answer.code = VG_CANCELLED;
    return Refuse(entry, std::move(answer));
  }
  if (entry.known && entry.resumed) {
    // Held before the connection broke, and the gate has neither it nor room for it any more. It goes on uncounted.
    entry.known = false;
  }
  if (entry.known) return Refuse(entry, std::move(answer));
  entry.answer.flags |= VG_FLAG_AWAY | VG_FLAG_REVOKED;
  entry.answer.code = VG_ABORTED;
  entry.answer.reason = "LEASE_LOST";
  entry.answer.message = "the gate does not know it any more, and has no room for it: " + answer.message;
  Tell(Event::Kind::kRevoked, entry);
  entry.answer.code = VG_OK;
}

void Client::TakeSteps(const Response& response) {
  if (step_answers_.empty()) return;
  const auto [on_answer, user] = step_answers_.front();
  step_answers_.pop_front();
  if (on_answer == nullptr) return;
  Event event{.kind = Event::Kind::kSteps, .on_steps = on_answer};
  event.callbacks.user = user;
  if (response.kind == Response::Kind::kStatus) {
    event.answer.code = response.code == VG_OK ? VG_CANCELLED : response.code;
    event.answer.message = response.message;
  } else {
    event.answer.code = VG_OK;
    event.stop.assign(response.stop.begin(), response.stop.end());
    event.lost.assign(response.lost.begin(), response.lost.end());
  }
  Notice(std::move(event));
}

void Client::TakeForCall(const Response& response) {
  for (Waiting* call : calls_) {
    if (call->stream != response.stream) continue;
    call->done = true;
    call->answer.code = response.kind == Response::Kind::kStatus ? response.code : VG_OK;
    call->answer.reason = response.reason;
    call->answer.message = response.message;
    call->answer.retry_after_ns = response.retry_after_ns;
    call->answer.vram_bytes = response.vram_bytes;
    changed_.notify_all();
  }
}

// Sleeps until `done`, at most until the deadline. One of the callers that wait reads for all; the client's thread then
// leaves the socket alone, so that an answer wakes the one who wants it, and nobody else.
bool Client::Await(Lock& lock, int64_t deadline_ns, const std::function<bool()>& done) {
  while (!done()) {
    const int64_t left_ns = deadline_ns - NowNs();
    if (left_ns <= 0) return false;
    if (read_by_call_ || broken_ || !link_.up()) {
      ++sleepers_;
      changed_.wait_for(lock, std::chrono::nanoseconds(left_ns));
      --sleepers_;
      continue;
    }
    read_by_call_ = true;
    watch_at_ns_ = kNever;
    link_.Watch(false);
    while (!broken_ && !done() && NowNs() < deadline_ns) {
      const int64_t most_ns = deadline_ns - NowNs();
      lock.unlock();
      link_.AwaitBytes(most_ns);
      lock.lock();
      Read();
    }
    read_by_call_ = false;
    if (listeners_ > 0 || !step_answers_.empty()) {
      link_.Watch(true);
    } else {  // the next such call will read what comes for this one; the thread looks only when none is made
      watch_at_ns_ = NowNs() + kListenAgainNs;
      DueAt(watch_at_ns_);
    }
    if (broken_ || answer_by_ns_ != kNever) link_.Wake();  // that is for the client's thread to see to
    if (sleepers_ > 0) changed_.notify_all();
  }
  return true;
}

}  // namespace vramgate::plugin
