#include "plugin/c/client.h"

#include <pthread.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <random>
#include <utility>

namespace vramgate::plugin {
namespace {

constexpr size_t kMostBacklogBytes = size_t{16} << 20;
constexpr std::string_view kUnixScheme = "unix:";

// Apart from those of every other client of the sidecar.
std::string RandomTag() {
  std::random_device random;
  std::string tag = "vg-";
  for (int i = 0; i < 3; ++i) {
    const uint32_t bits = random();
    for (int shift = 0; shift < 30; shift += 5) tag += "abcdefghijklmnopqrstuvwxyz234567"[bits >> shift & 31];
  }
  return tag + "-";
}

}  // namespace

int64_t NowNs() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

Client::Client(const vg_client_options& options)
    : options_(options),
      target_(View(options.target)),
      process_(getpid()),
      tag_(RandomTag()),
      link_(std::string(View(options.target).substr(kUnixScheme.size()))),
      leases_(options.max_leases),
      lost_at_ns_(NowNs()) {}

Client::~Client() = default;

bool Client::here() const {
  return getpid() == process_;
}

bool Client::Start() {
  if (!link_.ok()) return false;
  {
    const Lock lock(mutex_);
    TryConnect();
  }
  // The host's signals are for its own threads.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  bool started = true;
  try {
    thread_ = std::thread([this] { Run(); });
  } catch (const std::system_error&) {
    started = false;
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return started;
}

void Client::Destroy() {
  {
    const Lock lock(mutex_);
    stopping_ = true;
  }
  link_.Wake();
  thread_.join();
}

Entry* Client::Make(const vg_admit_args& args, Entry::Caller caller) {
  Entry* entry = leases_.Create();
  if (entry == nullptr) return nullptr;
  entry->caller = caller;
  entry->order = ++order_;
  entry->model = prices_.Model(View(args.model));
  if (args.prompt_tokens >= 0) entry->prompt_tokens = args.prompt_tokens * args.sequences;
  if (args.max_output_tokens >= 0) entry->output_tokens = args.max_output_tokens * args.sequences;
  entry->vram_bytes = args.vram_bytes;
  entry->max_wait_ns = caller == Entry::Caller::kTries ? 0 : args.max_wait_ns;
  if (entry->max_wait_ns > 0) entry->wait_ends_ns = NowNs() + entry->max_wait_ns;
  entry->instance = View(args.instance);
  entry->admit =
      EncodeAdmit(args, args.request_id.size > 0 ? std::string(View(args.request_id)) : tag_ + std::to_string(order_));
  return entry;
}

// Says what is wanted of the gate: a lease; the one that is held, anew; or, of one whose end was not told, that and its
// end.
void Client::Ask(Entry& entry) {
  Admit admit{.admit = entry.admit};
  switch (entry.state) {
    case Entry::State::kWaiting:
      if (entry.max_wait_ns == 0) admit.max_wait_ns = 0;
      if (entry.max_wait_ns > 0) admit.max_wait_ns = std::max<int64_t>(0, entry.wait_ends_ns - NowNs());
      break;
    case Entry::State::kHeld:
      admit.reattach = entry.answer.lease_name;
      break;
    case Entry::State::kEnding:
      admit.reattach = entry.answer.lease_name;
      admit.max_wait_ns = 0;
      break;
    case Entry::State::kDone:
    case Entry::State::kFree:
      return;
  }
  AppendAdmit(entry.id(), admit, &link_.out());
  if (entry.state == Entry::State::kHeld && entry.extend_to >= 0)
    AppendExtend(entry.id(), entry.extend_to, &link_.out());
  if (entry.state == Entry::State::kEnding) AppendEnd(entry.id(), entry.usage, &link_.out());
  entry.asked = true;
  answer_by_ns_ = std::min(answer_by_ns_, NowNs() + kAnswerWithinNs);
  DueAt(answer_by_ns_);
}

// Sends what has been appended. What the socket does not take goes later.
void Client::Send() {
  if (link_.Flush() && link_.out().size() <= kMostBacklogBytes) return;
  broken_ = true;
  link_.Wake();
}

void Client::Tell(Event::Kind kind, const Entry& entry) {
  if (entry.caller != Entry::Caller::kCallbacks) return;
  Notice({.kind = kind, .callbacks = entry.callbacks, .lease = entry.id(), .answer = entry.answer});
}

// For its caller it is over.
void Client::TellEnded(Entry& entry) {
  Tell(Event::Kind::kEnded, entry);
  listeners_ -= entry.caller == Entry::Caller::kCallbacks;
  local_bytes_ -= std::exchange(entry.local_bytes, 0);
}

// entry.answer is the grant.
void Client::Grant(Entry& entry) {
  entry.state = Entry::State::kHeld;
  entry.answer.code = VG_OK;
  Tell(Event::Kind::kDecision, entry);
  changed_.notify_all();
}

// `answer` is why there is no grant, or what has ended the lease. REQUIRES: its stream has ended, or there was none.
void Client::Refuse(Entry& entry, Answer answer) {
  const bool held = entry.state == Entry::State::kHeld;
  const bool told = entry.answer.flags & VG_FLAG_REVOKED;
  entry.answer = std::move(answer);
  if (!held) Tell(Event::Kind::kDecision, entry);
  if (held && !told && entry.answer.code != VG_OK) Tell(Event::Kind::kRevoked, entry);
  TellEnded(entry);
  changed_.notify_all();
  if (entry.caller == Entry::Caller::kCallbacks || entry.answer.code == VG_OK) return leases_.Erase(entry);
  entry.state = Entry::State::kDone;  // until its caller has asked
}

// The caller is done with it, in whichever state. `ack`: a revocation is what ends it.
void Client::Leave(Entry& entry, const vg_usage& usage, bool ack) {
  switch (entry.state) {
    case Entry::State::kWaiting:
      entry.answer.code = VG_CANCELLED;
      entry.answer.reason = "CANCELLED";
      entry.answer.message = "ended by its caller before there was an answer";
      Tell(Event::Kind::kDecision, entry);
      break;  // entry.usage is COMPLETED: nothing has begun, and what may have been granted by now is free at once
    case Entry::State::kHeld:
      entry.usage = usage;
      break;
    case Entry::State::kDone:
      return leases_.Erase(entry);
    case Entry::State::kEnding:
    case Entry::State::kFree:
      return;
  }
  TellEnded(entry);
  if (entry.asked && ack && entry.known && (entry.answer.flags & VG_FLAG_REVOKED)) {
    AppendRevokeAck(entry.id(), &link_.out());
  } else if (entry.asked) {
    AppendEnd(entry.id(), entry.usage, &link_.out());
  }
  if (entry.asked) Send();
  const bool tell_later = entry.known && !away_;
  if (!entry.asked && !tell_later) return leases_.Erase(entry);
  entry.state = Entry::State::kEnding;
  changed_.notify_all();
}

// --- While the gate is away ---

Answer Client::FromAway(const Entry& entry) const {
  constexpr int64_t kRetryAfterNs = 1'000'000'000;
  Answer answer{.code = VG_OK, .flags = VG_FLAG_AWAY, .vram_bytes = std::max<int64_t>(0, entry.vram_bytes)};
  answer.instance = !entry.instance.empty() || entry.model < 0 ? entry.instance : prices_.instance(entry.model);
  if (options_.when_away == VG_FAIL_OPEN) return answer;
  answer.flags = 0;
  answer.retry_after_ns = kRetryAfterNs;
  answer.code = VG_UNAVAILABLE;
  answer.reason = "GATE_AWAY";
  answer.message = "the sidecar cannot be reached at " + target_;
  if (options_.when_away != VG_LOCAL_SHARE) return answer;
  const int64_t bytes = prices_.MostBytes(entry);
  if (bytes < 0) {
    answer.message += ", and what the request costs is not known here: give vram_bytes";
  } else if (bytes > options_.local_share_bytes - local_bytes_) {
    answer.code = VG_RESOURCE_EXHAUSTED;
    answer.reason = "LOCAL_SHARE";
    answer.message += ", and " + std::to_string(bytes) + " bytes are more than is left of local_share_bytes";
  } else {
    answer.code = VG_OK;
    answer.flags = VG_FLAG_AWAY;
    answer.retry_after_ns = -1;
    answer.vram_bytes = bytes;
    answer.reason.clear();
    answer.message.clear();
  }
  return answer;
}

void Client::DecideAway(Entry& entry) {
  Answer answer = FromAway(entry);
  if (answer.code != VG_OK) return Refuse(entry, std::move(answer));
  if (options_.when_away == VG_LOCAL_SHARE) {
    entry.local_bytes = answer.vram_bytes;
    local_bytes_ += answer.vram_bytes;
  }
  entry.answer = std::move(answer);
  Grant(entry);
}

}  // namespace vramgate::plugin
