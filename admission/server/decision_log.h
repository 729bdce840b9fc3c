// The DecisionLog writes what the gate decided, and what the program itself has to say, as JSON lines (log_line.h) off
// the hot path.
//
//   DecisionLog log(gate_config, clock, {.level = LogLevel::kInfo, .grants = DecisionLog::Grants::kSampled});
//   log.Append(decision, now);                        // in Recorder::OnDecision
//   log.Say(LogLevel::kInfo, "listening on ...");     // from anywhere else
//   log.Close();                                      // everything is written, or counted as dropped
//
// Decisions go through a queue of fixed size to a thread that writes them 100 ms later at most, in the order of their
// times, each line whole. What finds the queue full, or cannot be written, is counted, and a line says how much is
// missing. A reader of the pipe that stands still costs lines, never the gate's time.
//
// Thread rule: Append by one thread at a time, as under the controller's lock; it never blocks and never allocates. The
// rest by any thread; Say takes a lock of its own for a moment. Lifetime rule: the clock outlives it.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "admission/clock.h"
#include "admission/decision.h"
#include "admission/gate/gate_config.h"
#include "admission/mutex.h"
#include "admission/server/log_line.h"
#include "admission/server/wake_event.h"
#include "boost/lockfree/spsc_queue.hpp"

namespace vramgate {

class DecisionLog {
 public:
  // Which grants and completions are written. All else always is, where `level` lets it.
  enum class Grants : uint8_t {
    kAll,
    kSampled,  // the first kFirst of each kind, then one in kOneIn, with "sampled": kOneIn
    kNone
  };
  static constexpr int64_t kFirst = 10;
  static constexpr int kOneIn = 100;
  static constexpr size_t kMostMessages = 1000;
  static constexpr size_t kMostMessageBytes = 4096;  // of one message; the rest is cut off

  struct Options {
    int fd = 2;                                    // stays the caller's
    LogLevel level = LogLevel::kInfo;              // and above
    Grants grants = Grants::kSampled;              //
    size_t queue_decisions = 8192;                 // 2.7 MiB. More: rides out longer bursts
    bool thread = true;                            // false: only Flush and Close write
    std::function<absl::Time(Instant)> wall_time;  // absent: by the system's clock
    absl::Duration most_stall = absl::Seconds(1);  // how long a reader may stand still before lines are dropped
  };

  DecisionLog(const GateConfig& config, const Clock& clock, Options options);
  ~DecisionLog();  // closes
  DecisionLog(const DecisionLog&) = delete;
  DecisionLog& operator=(const DecisionLog&) = delete;

  void Append(const Decision& decision, Instant now);
  void Say(LogLevel level, std::string_view message) ABSL_LOCKS_EXCLUDED(messages_mutex_);

  // Writes all that came before the call.
  void Flush() ABSL_LOCKS_EXCLUDED(write_mutex_);
  // Stops the thread and writes what is left. REQUIRES: no Append after it.
  void Close() ABSL_LOCKS_EXCLUDED(write_mutex_);

  // Lines that are missing from the log: no room, or not to be written.
  int64_t dropped() const { return dropped_.load(); }

 private:
  struct Entry {
    Decision decision;
    Instant time;
    int sampled = 0;
  };
  struct Message {
    Instant time;
    LogLevel level = LogLevel::kInfo;
    std::string text;
  };

  // Whether this one is written; *sampled: how many it stands for. Appending thread only.
  bool Chosen(const Decision& decision, int* sampled);
  void Run();
  void WriteLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(write_mutex_);
  void AddLineLocked(const std::string& line) ABSL_EXCLUSIVE_LOCKS_REQUIRED(write_mutex_);
  // Empties the buffer. Returns how many of its lines could not be written.
  int64_t WriteBufferLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(write_mutex_);
  bool WaitForRoomLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(write_mutex_);
  std::function<absl::Time(Instant)> WallTime() const;

  const Options options_;
  const Clock& clock_;
  const LogLines lines_;
  WakeEvent wake_;
  std::atomic<bool> stopping_ = false;
  std::atomic<int64_t> dropped_ = 0;
  boost::lockfree::spsc_queue<Entry> queue_;
  int64_t grants_ = 0;       // seen: the appending thread's
  int64_t completions_ = 0;  // likewise

  Mutex messages_mutex_;  // held for moments only
  std::vector<Message> messages_ ABSL_GUARDED_BY(messages_mutex_);

  Mutex write_mutex_;                                       // the queue's reading end, and the file descriptor
  std::string buffer_ ABSL_GUARDED_BY(write_mutex_);        // whole lines
  bool stalled_ ABSL_GUARDED_BY(write_mutex_) = false;      // the reader stood still too long, and does still
  bool torn_ ABSL_GUARDED_BY(write_mutex_) = false;         // the last line was written in part
  int64_t told_dropped_ ABSL_GUARDED_BY(write_mutex_) = 0;  // of dropped_, said in a line

  std::thread thread_;  // last: uses all of the above
};

}  // namespace vramgate
