#include "admission/server/decision_log.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "absl/time/clock.h"
#include "admission/check.h"

namespace vramgate {
namespace {

constexpr absl::Duration kFlushEvery = absl::Milliseconds(100);
// A pipe that poll says has room takes so much without blocking, and as one piece among other writers.
constexpr size_t kPieceBytes = PIPE_BUF;

// A write to a pipe that nobody reads must be an error here, not the program's end.
class PipeSignalBlocked {
 public:
  PipeSignalBlocked() {
    sigset_t pipe_signal;
    sigemptyset(&pipe_signal);
    sigaddset(&pipe_signal, SIGPIPE);
    CHECK(pthread_sigmask(SIG_BLOCK, &pipe_signal, &former_) == 0, "DecisionLog: cannot block SIGPIPE");
  }
  ~PipeSignalBlocked() {
    sigset_t pipe_signal;
    sigemptyset(&pipe_signal);
    sigaddset(&pipe_signal, SIGPIPE);
    const timespec at_once{};
    if (sigismember(&former_, SIGPIPE) == 0) sigtimedwait(&pipe_signal, nullptr, &at_once);  // one that came here
    pthread_sigmask(SIG_SETMASK, &former_, nullptr);
  }
  PipeSignalBlocked(const PipeSignalBlocked&) = delete;

 private:
  sigset_t former_;
};

}  // namespace

DecisionLog::DecisionLog(const GateConfig& config, const Clock& clock, Options options)
    : options_(std::move(options)), clock_(clock), lines_(config), queue_(options_.queue_decisions) {
  if (!options_.thread) return;
  thread_ = std::thread([this] { Run(); });
}

DecisionLog::~DecisionLog() {
  Close();
}

bool DecisionLog::Chosen(const Decision& decision, int* sampled) {
  if (LevelOf(decision) < options_.level) return false;
  if (decision.kind == Decision::Kind::kLate) return true;
  const bool grant = decision.outcome == Outcome::kGranted;
  if (!grant && decision.outcome != Outcome::kCompleted) return true;
  switch (options_.grants) {
    case Grants::kAll:
      return true;
    case Grants::kNone:
      return false;
    case Grants::kSampled: {
      const int64_t seen = (grant ? grants_ : completions_)++;
      if (seen < kFirst) return true;
      *sampled = kOneIn;
      return (seen - kFirst) % kOneIn == kOneIn - 1;
    }
  }
  CHECK(false, "DecisionLog: no such choice of grants");
}

void DecisionLog::Append(const Decision& decision, Instant now) {
  int sampled = 0;
  if (!Chosen(decision, &sampled)) return;
  if (!queue_.push({decision, now, sampled})) {
    dropped_.fetch_add(1, std::memory_order_relaxed);
  } else if (queue_.write_available() == options_.queue_decisions / 2) {
    wake_.Wake();
  }
}

void DecisionLog::Say(LogLevel level, std::string_view message) {
  if (level < options_.level) return;
  {
    MutexLock lock(messages_mutex_);
    if (messages_.size() >= kMostMessages) {
      ++dropped_;
      return;
    }
    messages_.push_back({clock_.Now(), level, std::string(message.substr(0, kMostMessageBytes))});
  }
  wake_.Wake();
}

void DecisionLog::Run() {
  sigset_t all;
  sigfillset(&all);
  CHECK(pthread_sigmask(SIG_BLOCK, &all, nullptr) == 0, "DecisionLog: cannot leave signals to others");
  while (!stopping_) {
    wake_.Wait(kFlushEvery);
    MutexLock lock(write_mutex_);
    WriteLocked();
  }
}

void DecisionLog::Flush() {
  const PipeSignalBlocked blocked;
  MutexLock lock(write_mutex_);
  WriteLocked();
}

void DecisionLog::Close() {
  stopping_ = true;
  wake_.Wake();
  if (thread_.joinable()) thread_.join();
  Flush();
}

std::function<absl::Time(Instant)> DecisionLog::WallTime() const {
  if (options_.wall_time) return options_.wall_time;
  return [wall = absl::Now(), now = clock_.Now()](Instant time) { return wall + (time - now); };
}

// Takes what was there at the call: messages and decisions in the order of their times.
void DecisionLog::WriteLocked() {
  std::vector<Message> messages;
  {
    MutexLock lock(messages_mutex_);
    messages.swap(messages_);
  }
  const std::function<absl::Time(Instant)> wall_time = WallTime();
  size_t next = 0;
  for (size_t left = queue_.read_available(); left > 0; --left) {
    Entry entry;
    CHECK(queue_.pop(entry), "DecisionLog: only the holder of write_mutex_ empties the queue");
    for (; next < messages.size() && messages[next].time <= entry.time; ++next)
      AddLineLocked(LogLines::OfMessage(wall_time(messages[next].time), messages[next].level, messages[next].text));
    AddLineLocked(lines_.OfDecision(wall_time(entry.time), entry.decision, entry.sampled));
  }
  for (; next < messages.size(); ++next)
    AddLineLocked(LogLines::OfMessage(wall_time(messages[next].time), messages[next].level, messages[next].text));
  dropped_ += WriteBufferLocked();
  const int64_t dropped = dropped_.load();
  if (dropped == told_dropped_) return;
  buffer_ = LogLines::OfDropped(wall_time(clock_.Now()), dropped - told_dropped_);
  if (WriteBufferLocked() == 0) told_dropped_ = dropped;
}

// Lines that share a piece are written at once.
void DecisionLog::AddLineLocked(const std::string& line) {
  if (buffer_.size() + line.size() > kPieceBytes) dropped_ += WriteBufferLocked();
  buffer_ += line;
}

int64_t DecisionLog::WriteBufferLocked() {
  if (torn_ && !buffer_.empty()) buffer_.insert(0, 1, '\n');
  std::string_view rest = buffer_;
  while (!rest.empty() && WaitForRoomLocked()) {
    const ssize_t written = write(options_.fd, rest.data(), std::min(rest.size(), kPieceBytes));
    if (written > 0) {
      torn_ = rest[static_cast<size_t>(written) - 1] != '\n';
      rest.remove_prefix(static_cast<size_t>(written));
    } else if (errno != EINTR && errno != EAGAIN) {
      break;
    }
  }
  const auto missing = std::count(rest.begin(), rest.end(), '\n');
  buffer_.clear();
  return missing;
}

// Whoever let us wait once is not waited for again until it has read something.
bool DecisionLog::WaitForRoomLocked() {
  pollfd out{.fd = options_.fd, .events = POLLOUT, .revents = 0};
  const int64_t wait_ms = stalled_ ? 0 : absl::ToInt64Milliseconds(options_.most_stall);
  const int ready = poll(&out, 1, static_cast<int>(wait_ms));
  if (ready < 0 && errno == EINTR) return true;
  stalled_ = ready <= 0;
  return !stalled_;
}

}  // namespace vramgate
