#include "admission/cli/admit.h"

#include <signal.h>

#include <chrono>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "absl/time/time.h"
#include "admission/cli/client.h"
#include "admission/mutex.h"
#include "admission/server/durations.h"
#include "admission/units.h"
#include "vramgate/v1/admission.grpc.pb.h"

namespace vramgate {
namespace {

struct Options {
  std::string target;
  std::string model;
  std::string instance;
  std::string tenant;
  std::string route;
  bool revocable = false;
  std::optional<int32_t> priority;
  std::string request_id;
  std::optional<int64_t> prompt_tokens;
  std::optional<int64_t> prompt_bytes;
  std::optional<int64_t> max_output_tokens;
  std::optional<absl::Duration> max_wait;
  std::optional<absl::Duration> hold;
  std::string format = "text";
};

v1::AdmitRequest RequestOf(const Options& o) {
  v1::AdmitRequest admit;
  admit.set_model(o.model);
  admit.set_instance(o.instance);
  admit.set_tenant(o.tenant);
  admit.set_route(o.route);
  admit.set_revocable(o.revocable);
  admit.set_request_id(o.request_id);
  if (o.priority) admit.set_priority(*o.priority);
  v1::Demand& demand = *admit.mutable_demand();
  if (o.prompt_tokens) demand.set_prompt_tokens(*o.prompt_tokens);
  if (o.prompt_bytes) demand.set_prompt_bytes(*o.prompt_bytes);
  if (o.max_output_tokens) demand.set_max_output_tokens(*o.max_output_tokens);
  if (o.max_wait) ToProto(*o.max_wait, admit.mutable_max_wait());
  return admit;
}

sigset_t StopSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  return signals;
}

using Stream = grpc::ClientReaderWriter<v1::SessionRequest, v1::SessionResponse>;

// One admission, from three threads: the reader (the caller), Ctrl-C, and the end of --hold.
class Admission {
 public:
  explicit Admission(const Options& options)
      : options_(options),
        stub_(v1::AdmissionService::NewStub(Connect(options.target))),
        stream_(stub_->Session(&context_)) {}

  ExitCode Run();

 private:
  void ReadAll();
  void PrintGrant(const v1::Lease& lease);
  void OnInterrupt();
  void Release();
  void ReleaseAfterHold();
  ExitCode End(const grpc::Status& status);

  const Options& options_;
  grpc::ClientContext context_;
  const std::unique_ptr<v1::AdmissionService::Stub> stub_;
  const std::unique_ptr<Stream> stream_;
  const absl::Time asked_ = absl::Now();
  Mutex mutex_;
  CondVar changed_;
  bool granted_ ABSL_GUARDED_BY(mutex_) = false;
  bool released_ ABSL_GUARDED_BY(mutex_) = false;
  bool interrupted_ ABSL_GUARDED_BY(mutex_) = false;
  bool revoked_ ABSL_GUARDED_BY(mutex_) = false;
  bool over_ ABSL_GUARDED_BY(mutex_) = false;
};

void Admission::PrintGrant(const v1::Lease& lease) {
  nlohmann::ordered_json json;
  json["lease"] = lease.name();
  json["instance"] = lease.instance();
  json["devices"] = nlohmann::ordered_json::array();
  int64_t total_bytes = 0;
  for (const v1::DeviceCharge& charge : lease.charges()) {
    nlohmann::ordered_json device;
    device["device"] = charge.device();
    device["vram_bytes"] = charge.vram_bytes();
    json["devices"].push_back(std::move(device));
    total_bytes += charge.vram_bytes();
  }
  json["vram_bytes"] = total_bytes;
  json["queued_ms"] = absl::ToInt64Milliseconds(absl::Now() - asked_);
  std::cout << json.dump() << std::endl;
  if (options_.format == "json") return;
  std::cerr << "holding " << FormatBytes(total_bytes) << " on " << lease.instance();
  std::cerr << (options_.hold ? " for " + absl::FormatDuration(*options_.hold) + "\n" : "; Ctrl-C gives it back\n");
}

// Gives the lease back: the half-close is a clean end.
void Admission::Release() {
  MutexLock lock(mutex_);  // one writer at a time
  if (!std::exchange(released_, true)) stream_->WritesDone();
}

void Admission::OnInterrupt() {
  bool holds = false;
  {
    MutexLock lock(mutex_);
    if (over_) return;
    interrupted_ = true;
    holds = granted_;
  }
  holds ? Release() : context_.TryCancel();
}

void Admission::ReleaseAfterHold() {
  {
    MutexLock lock(mutex_);
    while (!granted_ && !over_) changed_.wait(mutex_);
    const auto end = std::chrono::steady_clock::now() + absl::ToChronoNanoseconds(*options_.hold);
    while (!over_ && changed_.wait_until(mutex_, end) != std::cv_status::timeout) {
    }
    if (over_) return;
  }
  Release();
}

void Admission::ReadAll() {
  v1::SessionResponse response;
  while (stream_->Read(&response)) {
    if (response.has_granted()) {
      PrintGrant(response.granted());
      MutexLock lock(mutex_);
      granted_ = true;
      changed_.notify_all();
    } else if (response.has_revoke()) {
      std::cerr << "revoked: giving it back\n";
      v1::SessionRequest ack;
      ack.mutable_revoke_ack();
      MutexLock lock(mutex_);
      revoked_ = true;
      if (!released_) stream_->Write(ack);
    } else if (response.has_queued() && options_.format != "json") {
      std::cerr << "waiting: place " << response.queued().position() << ", " << response.queued().ahead_total()
                << " ahead in all";
      if (response.queued().has_estimated_wait()) {
        std::cerr << ", about "
                  << absl::FormatDuration(absl::Ceil(FromProto(response.queued().estimated_wait()), absl::Seconds(1)));
      }
      std::cerr << "\n";
    }
  }
}

ExitCode Admission::End(const grpc::Status& status) {
  MutexLock lock(mutex_);
  if (status.ok() && !revoked_) return ExitCode::kDone;
  if (interrupted_ && !granted_) {
    std::cerr << "gave up waiting\n";
    return ExitCode::kFailure;
  }
  if (status.ok()) return ExitCode::kRetry;
  std::cout << RefusalJson(status) << std::endl;
  const ExitCode exit = ExitCodeOf(status);
  std::cerr << (exit == ExitCode::kFailure ? "--target " + options_.target + ": " : "refused: ")
            << status.error_message() << "\n";
  return exit;
}

ExitCode Admission::Run() {
  std::thread interrupt([this] {
    const sigset_t signals = StopSignals();
    int signal = 0;
    sigwait(&signals, &signal);
    OnInterrupt();
  });
  std::thread hold;
  if (options_.hold) hold = std::thread([this] { ReleaseAfterHold(); });
  v1::SessionRequest request;
  *request.mutable_admit() = RequestOf(options_);
  stream_->Write(request);
  ReadAll();
  const grpc::Status status = stream_->Finish();
  {
    MutexLock lock(mutex_);
    over_ = true;
    changed_.notify_all();
  }
  pthread_kill(interrupt.native_handle(), SIGTERM);
  interrupt.join();
  if (hold.joinable()) hold.join();
  return End(status);
}

std::vector<Flag> FlagsOf(Options& o) {
  return {
      {.names = "--target",
       .target = &o.target,
       .help = "A caller address of the sidecar, e.g. unix:/run/vramgate/gate.sock",
       .required = true},
      {.names = "--model", .target = &o.model, .help = "The model's name in the config", .required = true},
      {.names = "--instance", .target = &o.instance, .help = "Pin one running copy of the model"},
      {.names = "--tenant", .target = &o.tenant, .help = "Whose share"},
      {.names = "--route",
       .target = &o.route,
       .help = "What it is asked for by: output lengths are learned by tenant and route"},
      {.names = "--revocable",
       .target = &o.revocable,
       .help = "It may be told to stop so that others can go on (assurance: statistical)"},
      {.names = "--priority", .target = &o.priority, .help = "Higher is sooner"},
      {.names = "--request-id", .target = &o.request_id, .help = "The same id again is the same request"},
      {.names = "--prompt-tokens", .target = &o.prompt_tokens, .help = "Tokens of the prompt"},
      {.names = "--prompt-bytes",
       .target = &o.prompt_bytes,
       .help = "Bytes of the prompt, where its tokens are not known"},
      {.names = "--max-output-tokens",
       .target = &o.max_output_tokens,
       .help = "Most tokens of the answer; absent: the model's default"},
      {.names = "--max-wait", .target = &o.max_wait, .help = "Longest wait in the queue, e.g. 10s; 0s: decide now"},
      {.names = "--hold", .target = &o.hold, .help = "Give it back after so long, e.g. 5s; absent: on Ctrl-C"},
      {.names = "--format", .target = &o.format, .help = "json: no words on stderr", .choices = {"text", "json"}},
  };
}

ExitCode Run(const Options& options) {
  // Ctrl-C is taken by a thread of its own: blocked before any thread is made, so that all of them have it so.
  const sigset_t signals = StopSignals();
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  return Admission(options).Run();
}

}  // namespace

Command AdmitCommand() {
  const auto options = std::make_shared<Options>();
  return {
      .name = "admit",
      .help = "Ask for one request's VRAM, hold it, give it back on Ctrl-C",
      .flags = FlagsOf(*options),
      .run = [options](const Command&) { return Run(*options); },
  };
}

}  // namespace vramgate
