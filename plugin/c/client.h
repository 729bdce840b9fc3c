// A vg_client: its leases, its connection, its thread. What the functions of vramgate_plugin.h promise is kept here;
// api.cc only guards the border.
//
// One lock holds all of it. A call sends at once, as far as the socket takes it; what comes is read by the client's
// thread or, to save a hop between threads, by a call that waits for it (Await). Callbacks are collected under the lock
// as Events and made by the client's thread after it.
//
// A link is down, up, or heard: only what has answered is the sidecar, and is asked. Not heard for away_after_ns: away.
//
// Thread rule: any thread. Lifetime rule: gone when Destroy has returned; no call may be under way then.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "plugin/c/leases.h"
#include "plugin/c/link.h"
#include "plugin/c/wire.h"

namespace vramgate::plugin {

class Client {
 public:
  explicit Client(const vg_client_options& options);
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  // Whether this is the process that made it.
  bool here() const;
  bool on_own_thread() const { return std::this_thread::get_id() == own_thread_.load(); }
  // False: no thread, or no descriptors.
  bool Start();
  // REQUIRES: not on the own thread. Joins it.
  void Destroy();

  // As in vg_api. `args` are whole and checked.
  vg_code AdmitAsync(const vg_admit_args& args, const vg_callbacks* callbacks, vg_lease* out);
  vg_code TryAdmit(const vg_admit_args& args, int64_t timeout_ns, Answer* answer, vg_lease* out);
  vg_code Poll(vg_lease id, Answer* answer);
  vg_code Extend(vg_lease id, int64_t tokens);
  vg_code Report(vg_lease id, const vg_usage& usage);
  void End(vg_lease id, const vg_usage& usage);
  void RevokeAck(vg_lease id);
  using OnSteps = void (*)(void* user, const vg_step_answer* answer);
  vg_code ReportSteps(const vg_step_report& report, OnSteps on_answer, void* user);
  vg_code Load(bool load, std::string_view model, std::string_view instance, int64_t timeout_ns, Answer* answer);
  void State(vg_client_state* state);

 private:
  using Lock = std::unique_lock<std::mutex>;
  // Every admit is answered at once, if only by where it stands: a sidecar that says nothing for so long hangs.
  static constexpr int64_t kAnswerWithinNs = 5'000'000'000;
  struct Event {
    enum class Kind : uint8_t { kDecision, kQueued, kRevoked, kExtended, kEnded, kSteps, kLog };
    Kind kind = Kind::kEnded;
    vg_callbacks callbacks = VG_CALLBACKS_INIT;
    vg_lease lease = 0;
    Answer answer;  // kLog: code is the level, message the text
    OnSteps on_steps = nullptr;
    std::vector<std::string> stop;
    std::vector<std::string> lost;
  };
  // A call that waits for an answer that no lease has.
  struct Waiting {
    uint64_t stream = 0;
    bool done = false;
    Answer answer;
  };

  // Leases (client.cc).
  Entry* Make(const vg_admit_args& args, Entry::Caller caller);
  void Ask(Entry& entry);
  void Send();
  void Tell(Event::Kind kind, const Entry& entry);
  void TellEnded(Entry& entry);
  void Grant(Entry& entry);
  void Refuse(Entry& entry, Answer answer);
  void Forget(Entry& entry);
  void Leave(Entry& entry, const vg_usage& usage, bool ack = false);
  Answer FromAway(const Entry& entry) const;
  void DecideAway(Entry& entry);

  // What comes, and calls that wait for it (client_read.cc).
  void Read();
  void Take(const Response& response);
  void TakeForLease(Entry& entry, const Response& response);
  void TakeGrant(Entry& entry, const Response& response);
  void TakeStatus(Entry& entry, const Response& response);
  void TakeSteps(const Response& response);
  void TakeForCall(const Response& response);
  void Notice(Event event);
  void Log(int level, std::string message);
  bool Await(Lock& lock, int64_t deadline_ns, const std::function<bool()>& done);

  // The thread, and the life of the link (client_thread.cc).
  void Run();
  void RunEvents(Lock& lock);
  void Make(Event& event);
  int64_t DoWhatIsDue();
  void DueAt(int64_t at_ns);
  void Listen();
  void TryConnect();
  void Heard();
  void Resume();
  void Break(const char* why);
  void GoAway();
  void TellUsage();
  void EndAll(Lock& lock);

  const vg_client_options options_;  // its `target` is the host's, and may be gone: see target_
  const std::string target_;
  const pid_t process_;
  const std::string tag_;  // of request ids that the client makes
  std::mutex mutex_;
  std::condition_variable changed_;  // for Await
  Link link_;
  Leases leases_;
  Prices prices_;
  std::deque<Event> events_;
  std::deque<std::pair<OnSteps, void*>> step_answers_;  // owed, in order
  std::vector<Waiting*> calls_;
  std::vector<vg_lease> dirty_;  // whose usage is to be told
  Response response_;
  uint64_t order_ = 0;
  uint64_t next_stream_ = 2;  // below kFirstId; 1: the steps'
  int64_t local_bytes_ = 0;
  int64_t connects_ = 0;
  int64_t lost_at_ns_ = 0;         // nothing heard since
  int64_t connect_at_ns_ = 0;      // the next attempt
  int64_t backoff_ns_ = 0;         // after it
  int64_t usage_at_ns_ = kNever;   // usage is told then
  int64_t answer_by_ns_ = kNever;  // something was asked, and nothing has come since
  int64_t watch_at_ns_ = kNever;   // the thread listens again then
  int sleepers_ = 0;               // in Await
  int listeners_ = 0;              // leases with callbacks, not ended
  int64_t planned_ns_ = 0;         // the thread sleeps until then at most
  bool heard_ = false;             // on this connection: it may be used
  bool away_ = false;
  bool read_by_call_ = false;  // by Await, on a caller's thread
  bool broken_ = false;        // the thread is to see to it
  bool stopping_ = false;
  std::atomic<std::thread::id> own_thread_;
  std::thread thread_;
};

int64_t NowNs();

}  // namespace vramgate::plugin
