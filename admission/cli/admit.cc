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
  std::string format = "text";
  v1::AdmitRequest admit;
  std::optional<absl::Duration> hold;
};

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
  *request.mutable_admit() = options_.admit;
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

}  // namespace

void AddAdmitCommand(CLI::App& program, ExitCode& exit) {
  auto options = std::make_shared<Options>();
  CLI::App* admit = program.add_subcommand("admit", "Ask for one request's VRAM, hold it, give it back on Ctrl-C");
  admit->add_option("--target", options->target, "A caller address of the sidecar, e.g. unix:/run/vramgate/gate.sock")
      ->required();
  admit
      ->add_option_function<std::string>(
          "--model", [options](const std::string& v) { options->admit.set_model(v); }, "The model's name in the config")
      ->required();
  admit->add_option_function<std::string>(
      "--instance", [options](const std::string& v) { options->admit.set_instance(v); },
      "Pin one running copy of the model");
  admit->add_option_function<std::string>(
      "--tenant", [options](const std::string& v) { options->admit.set_tenant(v); }, "Whose share");
  admit->add_option_function<int32_t>(
      "--priority", [options](int32_t v) { options->admit.set_priority(v); }, "Higher is sooner");
  admit->add_option_function<std::string>(
      "--request-id", [options](const std::string& v) { options->admit.set_request_id(v); },
      "The same id again is the same request");
  auto* demand = options->admit.mutable_demand();
  admit->add_option_function<int64_t>(
      "--prompt-tokens", [demand](int64_t v) { demand->set_prompt_tokens(v); }, "Tokens of the prompt");
  admit->add_option_function<int64_t>(
      "--prompt-bytes", [demand](int64_t v) { demand->set_prompt_bytes(v); },
      "Bytes of the prompt, where its tokens are not known");
  admit->add_option_function<int64_t>(
      "--max-output-tokens", [demand](int64_t v) { demand->set_max_output_tokens(v); },
      "Most tokens of the answer; absent: the model's default");
  const auto duration = [](const char* flag, const std::string& text) {
    const absl::StatusOr<absl::Duration> parsed = ParseDuration(text);
    if (!parsed.ok()) throw CLI::ValidationError(flag, std::string(parsed.status().message()));
    return *parsed;
  };
  admit->add_option_function<std::string>(
      "--max-wait",
      [options, duration](const std::string& v) {
        ToProto(duration("--max-wait", v), options->admit.mutable_max_wait());
      },
      "Longest wait in the queue, e.g. 10s; 0s: decide now");
  admit->add_option_function<std::string>(
      "--hold", [options, duration](const std::string& v) { options->hold = duration("--hold", v); },
      "Give it back after so long, e.g. 5s; absent: on Ctrl-C");
  admit->add_option("--format", options->format, "json: no words on stderr")->check(CLI::IsMember({"text", "json"}));
  admit->callback([&exit, options] {
    // Ctrl-C is taken by a thread of its own: blocked before any thread is made, so that all of them have it so.
    const sigset_t signals = StopSignals();
    pthread_sigmask(SIG_BLOCK, &signals, nullptr);
    exit = Admission(*options).Run();
  });
}

}  // namespace vramgate
