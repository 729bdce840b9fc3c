#include "examples/trace_driver/driver.h"

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "admission/check.h"

namespace vramgate {
namespace {

constexpr absl::Duration kLongestWait = absl::Milliseconds(100);  // between two looks at `stop` and `progress`

void SetDuration(absl::Duration d, google::protobuf::Duration& out) {
  out.set_seconds(absl::ToInt64Seconds(d));
  out.set_nanos(static_cast<int32_t>(absl::ToInt64Nanoseconds(d - absl::Seconds(out.seconds()))));
}

// What the engine takes for one request, in trace time.
absl::Duration EngineTime(const TraceRow& row, const DriverOptions& options) {
  const int64_t output_tokens = std::min(row.output_tokens, options.max_output_tokens);
  return absl::Seconds(static_cast<double>(row.prompt_tokens) / options.prefill_tokens_per_s +
                       static_cast<double>(output_tokens) / options.decode_tokens_per_s);
}

}  // namespace

Driver::Driver(v1::AdmissionService::StubInterface& stub, const Clock& clock, DriverOptions options,
               std::vector<TraceRow> trace)
    : stub_(stub), clock_(clock), options_(std::move(options)), trace_(std::move(trace)) {
  CHECK(!trace_.empty(), "Driver: a trace has rows");
  CHECK(options_.speed > 0 && options_.load > 0 && options_.max_streams > 0, "Driver: options are positive");
  CHECK(options_.prefill_tokens_per_s > 0 && options_.decode_tokens_per_s > 0, "Driver: an engine makes progress");
}

void Driver::Run(absl::FunctionRef<bool()> stop, absl::FunctionRef<void(const Driver&)> progress) {
  start_ = clock_.Now();
  while (true) {
    if (!stopping_ && stop()) Stop();
    const Instant now = clock_.Now();
    SendDue(now);
    FinishDue(now);
    progress(*this);
    if (AllSent() && calls_.empty()) return;
    for (const SessionEvent& event : events_.Take(UntilNext(now))) OnEvent(event);
  }
}

absl::Duration Driver::TraceTime(int64_t index) const {
  // A repeat starts one mean gap after the last arrival of the round before.
  const absl::Duration round = trace_length() * (1.0 + 1.0 / static_cast<double>(trace_rows()));
  return round * (index / trace_rows()) + trace_[static_cast<size_t>(index % trace_rows())].arrival;
}

Instant Driver::ArrivalOf(int64_t index) const {
  return start_ + TraceTime(index) / (options_.speed * options_.load);
}

v1::AdmitRequest Driver::RequestOf(int64_t index) const {
  const TraceRow& row = trace_[static_cast<size_t>(index % trace_rows())];
  v1::AdmitRequest request;
  request.set_request_id(absl::StrCat("trace-", index));
  request.set_model(options_.model);
  request.set_tenant(row.tenant);
  request.mutable_demand()->set_prompt_tokens(row.prompt_tokens);
  request.mutable_demand()->set_max_output_tokens(options_.max_output_tokens);
  if (options_.max_wait) SetDuration(*options_.max_wait / options_.speed, *request.mutable_max_wait());
  return request;
}

void Driver::SendDue(Instant now) {
  while (!AllSent() && ArrivalOf(next_) <= now) {
    if (std::ssize(calls_) >= options_.max_streams) {
      if (last_held_back_ != next_) ++held_back_;
      last_held_back_ = next_;
      return;
    }
    Call& call = calls_[next_];
    call.hold = EngineTime(trace_[static_cast<size_t>(next_ % trace_rows())], options_) / options_.speed;
    call.session = std::make_unique<SessionCall>(stub_, RequestOf(next_), next_, clock_, events_);
    call.sent = clock_.Now();
    call.session->Start();
    tally_.Sent();
    ++next_;
  }
}

void Driver::FinishDue(Instant now) {
  while (!ends_.empty() && ends_.top().first <= now) {
    const auto call = calls_.find(ends_.top().second);
    ends_.pop();
    if (call != calls_.end()) call->second.session->Finish();  // else the sidecar ended it before
  }
}

void Driver::Stop() {
  stopping_ = true;
  for (auto& [index, call] : calls_) {
    if (call.granted) {
      call.session->Finish();
    } else {
      call.cancelled = true;
      call.session->Cancel();
    }
  }
}

void Driver::OnEvent(const SessionEvent& event) {
  const auto it = calls_.find(event.call);
  CHECK(it != calls_.end(), "Driver: an event of a call that is gone");
  Call& call = it->second;
  switch (event.kind) {
    case SessionEvent::Kind::kQueued:
      if (!call.queued) tally_.Queued();
      call.queued = true;
      break;
    case SessionEvent::Kind::kGranted:
      call.granted = true;
      ++held_;
      tally_.Granted(event.at - call.sent, call.queued);
      ends_.emplace(event.at + call.hold, event.call);
      if (stopping_) call.session->Finish();
      break;
    case SessionEvent::Kind::kRevoked:
      call.session->Finish();  // this engine stops at once
      break;
    case SessionEvent::Kind::kDone:
      OnDone(event);
      break;
  }
}

void Driver::OnDone(const SessionEvent& event) {
  const Call& call = calls_.at(event.call);
  if (call.granted) --held_;
  const std::string reason = ReasonOf(event.status);
  if (event.status.ok() && call.granted) {
    tally_.Ended(kCompleted);
  } else if (call.cancelled) {
    tally_.Ended("cancelled");
  } else if (!reason.empty()) {
    tally_.Ended(reason);
  } else {
    ++broken_;
    if (first_error_.empty()) first_error_ = event.status.error_message().substr(0, 200);
    tally_.Ended(event.status.ok() ? "ended without an answer"
                                   : absl::StrCat("gRPC ", absl::StatusCodeToString(static_cast<absl::StatusCode>(
                                                               event.status.error_code()))));
  }
  calls_.erase(event.call);
}

absl::Duration Driver::UntilNext(Instant now) const {
  Instant next = now + kLongestWait;
  // With every stream in use the next arrival waits for an end, which is an event.
  if (!AllSent() && std::ssize(calls_) < options_.max_streams) next = std::min(next, ArrivalOf(next_));
  if (!ends_.empty()) next = std::min(next, ends_.top().first);
  return std::max(next - now, absl::ZeroDuration());
}

}  // namespace vramgate
