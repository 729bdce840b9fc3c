// The driver plays a trace against a sidecar, one Session a request, and stands in for the engine: it holds each grant
// for as long as the prompt and the output would take at a stated speed, then half-closes.
//
//   Driver driver(*stub, clock, options, trace);
//   driver.Run(stop, [](const Driver& d) { ... progress ... });
//   PrintSummary(driver);
//
// Time: the trace's own seconds are `trace time`; all of it, arrivals and engine alike, runs `speed` times faster than
// recorded. `load` brings arrivals closer together still, which the engine does not follow: that is an overload.
//
// Thread rule: one thread; gRPC's own push events. Lifetime rule: stub and clock outlive it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <queue>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/time/time.h"
#include "admission/clock.h"
#include "examples/trace_driver/session_call.h"
#include "examples/trace_driver/tally.h"
#include "examples/trace_driver/trace.h"

namespace vramgate {

struct DriverOptions {
  std::string model = "llama-3.1-8b";
  double speed = 16;
  double load = 2.4;
  int64_t max_output_tokens = 2048;                           // each request asks for: what its lease is sized for
  std::optional<absl::Duration> max_wait = absl::Seconds(3);  // trace time; absent: the sidecar's own
  double prefill_tokens_per_s = 8000;                         // of one request, trace time
  double decode_tokens_per_s = 30;
  int64_t max_streams = 1000;  // at most open at once; later arrivals are held back
  bool repeat = false;         // start over at the end, until told to stop
};

class Driver {
 public:
  // REQUIRES: `trace` has rows; speeds, load and max_streams are positive.
  Driver(v1::AdmissionService::StubInterface& stub, const Clock& clock, DriverOptions options,
         std::vector<TraceRow> trace);

  // Returns when every request has ended. `stop` is asked often: once true, nothing more is sent, waiters are cancelled
  // and holders end at once. `progress` is called at least ten times a second.
  void Run(absl::FunctionRef<bool()> stop, absl::FunctionRef<void(const Driver&)> progress);

  const DriverOptions& options() const { return options_; }
  const Tally& tally() const { return tally_; }
  int64_t trace_rows() const { return std::ssize(trace_); }
  int64_t held() const { return held_; }
  int64_t waiting() const { return std::ssize(calls_) - held_; }  // queued, or not answered yet
  int64_t held_back() const { return held_back_; }                // sent late, for max_streams
  int64_t broken() const { return broken_; }                      // ended by the transport, not by a word of vramgate
  const std::string& first_error() const { return first_error_; }
  absl::Duration elapsed() const { return clock_.Now() - start_; }
  // Of the last arrival that was sent, within the trace.
  absl::Duration trace_position() const {
    return next_ == 0 ? absl::ZeroDuration() : trace_[static_cast<size_t>((next_ - 1) % trace_rows())].arrival;
  }
  absl::Duration trace_length() const { return trace_.back().arrival; }

 private:
  struct Call {
    std::unique_ptr<SessionCall> session;
    Instant sent;
    absl::Duration hold;
    bool queued = false;
    bool granted = false;
    bool cancelled = false;
  };
  using Due = std::pair<Instant, int64_t>;

  absl::Duration TraceTime(int64_t index) const;
  Instant ArrivalOf(int64_t index) const;
  v1::AdmitRequest RequestOf(int64_t index) const;
  bool AllSent() const { return stopping_ || (!options_.repeat && next_ >= trace_rows()); }
  void SendDue(Instant now);
  void FinishDue(Instant now);
  void Stop();
  void OnEvent(const SessionEvent& event);
  void OnDone(const SessionEvent& event);
  absl::Duration UntilNext(Instant now) const;

  v1::AdmissionService::StubInterface& stub_;
  const Clock& clock_;
  const DriverOptions options_;
  const std::vector<TraceRow> trace_;
  Instant start_;
  bool stopping_ = false;
  int64_t next_ = 0;  // row to send, counted over all repeats
  int64_t last_held_back_ = -1;
  int64_t held_back_ = 0;
  int64_t held_ = 0;
  int64_t broken_ = 0;
  std::string first_error_;  // what the first broken one said
  Tally tally_;
  SessionEventQueue events_;
  std::unordered_map<int64_t, Call> calls_;                          // open streams, by the row they came from
  std::priority_queue<Due, std::vector<Due>, std::greater<>> ends_;  // when each holder's engine is done
};

}  // namespace vramgate
