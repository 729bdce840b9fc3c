// The Client's thread: connects, reads, makes the callbacks, and does what time brings.
#include <algorithm>
#include <utility>

#include "plugin/c/client.h"
#include "plugin/c/decision.h"

namespace vramgate::plugin {
namespace {

constexpr int64_t kFirstBackoffNs = 10'000'000;
constexpr int64_t kMostBackoffNs = 1'000'000'000;
constexpr int64_t kGoodbyeNs = 1'000'000'000;

}  // namespace

void Client::Run() {
  own_thread_.store(std::this_thread::get_id());
  while (true) {
    int64_t next_ns = 0;
    {
      Lock lock(mutex_);
      if (!read_by_call_ && link_.up() && !broken_) {
        if (watch_at_ns_ <= NowNs()) Listen();
        if (watch_at_ns_ == kNever) Read();
        if (!broken_) Send();
      }
      next_ns = DoWhatIsDue();
      planned_ns_ = next_ns;
      RunEvents(lock);
      if (stopping_) {
        EndAll(lock);
        return;
      }
    }
    link_.Sleep(next_ns == kNever ? -1 : std::max<int64_t>(0, next_ns - NowNs()));
  }
}

// Makes the callbacks that are owed, without the lock.
void Client::RunEvents(Lock& lock) {
  while (!events_.empty()) {
    std::deque<Event> events = std::exchange(events_, {});
    lock.unlock();
    for (Event& event : events) Make(event);
    lock.lock();
  }
}

void Client::Make(Event& event) {
  const vg_callbacks& to = event.callbacks;
  vg_decision decision = VG_DECISION_INIT;
  const auto call = [&](void (*callback)(void*, vg_lease, const vg_decision*)) {
    if (callback == nullptr) return;
    ToDecision(event.answer, &decision);
    callback(to.user, event.lease, &decision);
  };
  switch (event.kind) {
    case Event::Kind::kDecision:
      return call(to.on_decision);
    case Event::Kind::kQueued:
      return call(to.on_queued);
    case Event::Kind::kRevoked:
      return call(to.on_revoked);
    case Event::Kind::kExtended:
      return call(to.on_extended);
    case Event::Kind::kEnded:
      if (to.on_ended != nullptr) to.on_ended(to.user, event.lease);
      return;
    case Event::Kind::kSteps: {
      const std::vector<vg_str> stop = ToStrings(event.stop);
      const std::vector<vg_str> lost = ToStrings(event.lost);
      const vg_step_answer answer{
          sizeof(vg_step_answer),        event.answer.code, stop.data(), stop.size(), lost.data(), lost.size(),
          ToString(event.answer.message)};
      return event.on_steps(to.user, &answer);
    }
    case Event::Kind::kLog:
      return options_.log(options_.log_user, event.answer.code, event.answer.message.data(),
                          event.answer.message.size());
  }
}

// The thread reads what comes, from here on.
void Client::Listen() {
  watch_at_ns_ = kNever;
  link_.Watch(true);
}

// The thread is to be awake then.
void Client::DueAt(int64_t at_ns) {
  if (at_ns >= planned_ns_) return;
  planned_ns_ = at_ns;
  link_.Wake();
}

// When the next is due.
int64_t Client::DoWhatIsDue() {
  if (!read_by_call_) {
    if (broken_) Break("the connection broke");
    if (link_.up() && answer_by_ns_ <= NowNs()) Break("the sidecar does not answer");
  }
  if (!link_.up() && connect_at_ns_ <= NowNs()) TryConnect();
  const int64_t away_at_ns = lost_at_ns_ + options_.away_after_ns;
  if (!heard_ && !away_ && away_at_ns <= NowNs()) GoAway();
  if (usage_at_ns_ <= NowNs()) TellUsage();
  int64_t next_ns = usage_at_ns_;
  if (!read_by_call_) next_ns = std::min({next_ns, answer_by_ns_, watch_at_ns_});
  if (!link_.up()) next_ns = std::min(next_ns, connect_at_ns_);
  if (!heard_ && !away_) next_ns = std::min(next_ns, away_at_ns);
  return next_ns;
}

void Client::TryConnect() {
  if (link_.Connect()) {
    ++connects_;
    AppendPing(next_stream_++, &link_.out());
    answer_by_ns_ = NowNs() + kAnswerWithinNs;
    Send();
    changed_.notify_all();
    return;
  }
  backoff_ns_ = std::clamp(2 * backoff_ns_, kFirstBackoffNs, kMostBackoffNs);
  connect_at_ns_ = NowNs() + backoff_ns_;
}

// The sidecar has answered on this connection.
void Client::Heard() {
  heard_ = true;
  backoff_ns_ = 0;
  if (away_) Log(0, "the sidecar is back");
  away_ = false;
  Resume();
  changed_.notify_all();
}

// Says again what the connection before knew. What is held comes first: nobody that waits may be given its bytes.
void Client::Resume() {
  std::vector<Entry*> waiting;
  leases_.ForEach([&](Entry& entry) {
    if (entry.state == Entry::State::kWaiting) {
      waiting.push_back(&entry);
    } else if (entry.state != Entry::State::kDone) {
      entry.resumed = true;
      Ask(entry);
    }
  });
  std::sort(waiting.begin(), waiting.end(), [](const Entry* a, const Entry* b) { return a->order < b->order; });
  for (Entry* entry : waiting) Ask(*entry);
  Send();
}

void Client::Break(const char* why) {
  link_.Close();
  watch_at_ns_ = kNever;
  broken_ = false;
  answer_by_ns_ = kNever;
  if (std::exchange(heard_, false)) {
    lost_at_ns_ = NowNs();
    Log(1, std::string(why) + ": trying again");
  }
  backoff_ns_ = std::clamp(2 * backoff_ns_, kFirstBackoffNs, kMostBackoffNs);
  connect_at_ns_ = NowNs() + backoff_ns_;
  std::vector<Entry*> gone;
  leases_.ForEach([&](Entry& entry) {
    entry.asked = false;
    if (entry.state == Entry::State::kEnding && !entry.known) gone.push_back(&entry);
  });
  for (Entry* entry : gone) leases_.Erase(*entry);
  const Response away{.kind = Response::Kind::kStatus, .message = "the connection broke", .code = VG_UNAVAILABLE};
  while (!step_answers_.empty()) TakeSteps(away);
  for (Waiting* call : calls_) {
    call->done = true;
    call->answer = {.code = VG_UNAVAILABLE, .reason = "GATE_AWAY", .message = "the connection broke"};
  }
  changed_.notify_all();
}

// From here on the policy decides.
void Client::GoAway() {
  away_ = true;
  Log(1, "the sidecar is away: requests are decided by when_away");
  std::vector<Entry*> waiting;
  std::vector<Entry*> ending;
  leases_.ForEach([&](Entry& entry) {
    if (entry.state == Entry::State::kWaiting) waiting.push_back(&entry);
    if (entry.state == Entry::State::kEnding) ending.push_back(&entry);
  });
  // The gate has let go of them, or will when it has waited long enough for this client.
  for (Entry* entry : ending) leases_.Erase(*entry);
  std::sort(waiting.begin(), waiting.end(), [](const Entry* a, const Entry* b) { return a->order < b->order; });
  for (Entry* entry : waiting) DecideAway(*entry);
  changed_.notify_all();
}

void Client::TellUsage() {
  usage_at_ns_ = kNever;
  for (const vg_lease id : dirty_) {
    Entry* entry = leases_.Find(id);
    if (entry == nullptr || !entry->dirty) continue;
    entry->dirty = false;
    if (entry->state == Entry::State::kHeld && entry->asked) AppendUsage(id, entry->usage, &link_.out());
  }
  dirty_.clear();
  if (link_.up()) Send();
}

// The last thing: ends what is left, and waits until the sidecar has heard it.
void Client::EndAll(Lock& lock) {
  vg_usage gone = VG_USAGE_INIT;
  gone.outcome = VG_CLIENT_GONE;
  std::vector<Entry*> left;
  leases_.ForEach([&](Entry& entry) { left.push_back(&entry); });
  for (Entry* entry : left) Leave(*entry, gone);
  if (broken_) Break("the connection broke");
  const Response over{.kind = Response::Kind::kStatus, .message = "the client is destroyed", .code = VG_CANCELLED};
  while (!step_answers_.empty()) TakeSteps(over);
  RunEvents(lock);
  const int64_t deadline_ns = NowNs() + kGoodbyeNs;
  bool said = false;
  while (link_.up() && !broken_ && NowNs() < deadline_ns) {
    Send();
    if (link_.out().empty() && !std::exchange(said, true)) link_.HalfClose();
    lock.unlock();
    link_.Sleep(deadline_ns - NowNs());
    lock.lock();
    if (!broken_) Read();
  }
  link_.Close();
}

}  // namespace vramgate::plugin
