// ./dev bench hook: what the C ABI costs inside an engine's process, against a bare socket echo of frames of the same
// sizes, in one run with rounds of all in turns.
//
//   try_admit_release_us_p50   one try_admit that is granted, and its release
//   echo_us_p50                a frame of an admit's size there, one of a grant's back; then one of an end's, whose
//   answer
//                              nobody waits for. The echo server waits in epoll, as one of many peers must
//   over_socket_echo           the first / the second, of one round; the median of the rounds, and _min and _max
//   blocking_echo_us_p50, over_blocking_echo
//                              the same against a server of a single peer, which blocks in recv
//   admit_async_us_p50         from admit_async to its callback
//   bytes_per_lease            what a held lease takes in the engine's process
//   threads, library_bytes     of libvramgate_plugin.so: what it adds to the process, and its size on disk
//
// The sidecar is a process of its own, as in use; the echo servers too: they read and write and do nothing else.
#include <dlfcn.h>
#include <malloc.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "admission/check.h"
#include "plugin/c/vramgate_plugin.h"
#include "tests/bench/report.h"
#include "tests/support/child.h"
#include "tests/support/sidecar_yaml.h"
#include "tests/support/temporary_directory.h"

namespace vramgate {
namespace {

constexpr int64_t kSecondNs = 1'000'000'000;
// As they are on the wire for the request below.
constexpr size_t kAdmitBytes = 60;
constexpr size_t kGrantBytes = 84;
constexpr size_t kEndBytes = 16;
constexpr size_t kStatusBytes = 12;

double NowUs() {
  return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// --- The echo ---

void ReadAll(int fd, char* to, size_t bytes) {
  while (bytes > 0) {
    const ssize_t got = recv(fd, to, bytes, 0);
    CHECK(got > 0, "the echo server is gone");
    to += got;
    bytes -= static_cast<size_t>(got);
  }
}

// An answer of a grant's size for each frame of an admit's size, and one of a status's for an end's, until the peer is
// gone.
[[noreturn]] void ServeEcho(int fd, bool multiplexes) {
  const int epoll = epoll_create1(EPOLL_CLOEXEC);
  epoll_event event{};
  event.events = EPOLLIN;
  if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0) _exit(1);
  char frames[kAdmitBytes + kEndBytes] = {};
  const char answers[kGrantBytes + kStatusBytes] = {};
  size_t come = 0;  // of the frame that is read
  bool admit = true;
  while (true) {
    if (multiplexes) epoll_wait(epoll, &event, 1, -1);
    const ssize_t got = recv(fd, frames, sizeof frames, 0);
    if (got <= 0) _exit(0);
    size_t owed = 0;
    for (come += static_cast<size_t>(got); come >= (admit ? kAdmitBytes : kEndBytes); admit = !admit) {
      come -= admit ? kAdmitBytes : kEndBytes;
      owed += admit ? kGrantBytes : kStatusBytes;
    }
    if (owed > 0 && send(fd, answers, owed, MSG_NOSIGNAL) < 0) _exit(0);
  }
}

class Echo {
 public:
  explicit Echo(bool multiplexes) {
    int ends[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0, "socketpair");
    pid_ = fork();
    if (pid_ == 0) {
      close(ends[0]);
      ServeEcho(ends[1], multiplexes);
    }
    close(ends[1]);
    fd_ = ends[0];
  }
  ~Echo() {
    close(fd_);
    waitpid(pid_, nullptr, 0);
  }

  std::vector<double> Measure(int calls) {
    std::vector<double> us;
    char frame[kAdmitBytes + kGrantBytes + kStatusBytes] = {};
    for (int i = 0; i < calls; ++i) {
      const double begun = NowUs();
      CHECK(send(fd_, frame, kAdmitBytes, MSG_NOSIGNAL) == static_cast<ssize_t>(kAdmitBytes), "echo");
      ReadAll(fd_, frame, owed_ + kGrantBytes);
      CHECK(send(fd_, frame, kEndBytes, MSG_NOSIGNAL) == static_cast<ssize_t>(kEndBytes), "echo");
      us.push_back(NowUs() - begun);
      owed_ = kStatusBytes;
    }
    return us;
  }

 private:
  pid_t pid_ = -1;
  int fd_ = -1;
  size_t owed_ = 0;  // the last end's answer
};

// --- The hook ---

class Hook {
 public:
  explicit Hook(const std::string& target) {
    library_ = dlopen(VRAMGATE_PLUGIN, RTLD_NOW | RTLD_LOCAL);
    CHECK(library_ != nullptr, "libvramgate_plugin.so is not there");
    const auto get = reinterpret_cast<decltype(&vramgate_get_api)>(dlsym(library_, "vramgate_get_api"));
    vg = get(VG_ABI_MAJOR, VG_ABI_MINOR);
    vg_client_options options = VG_CLIENT_OPTIONS_INIT;
    options.target = vg_string(target.c_str());
    CHECK(vg->client_create(&options, &client) == VG_OK, "client_create");
  }
  ~Hook() {
    CHECK(vg->client_destroy(client) == VG_OK, "client_destroy");
    dlclose(library_);
  }

  static vg_admit_args Args() {
    vg_admit_args args = VG_ADMIT_ARGS_INIT;
    args.model = vg_string("m");
    args.prompt_tokens = 1;
    args.max_output_tokens = 1;
    return args;
  }

  std::vector<double> Measure(int calls) const {
    std::vector<double> us;
    const vg_admit_args args = Args();
    vg_decision decision = VG_DECISION_INIT;
    for (int i = 0; i < calls; ++i) {
      vg_lease lease = 0;
      const double begun = NowUs();
      const vg_code code = vg->try_admit(client, &args, kSecondNs, &decision, &lease);
      vg->release(client, lease, nullptr);
      us.push_back(NowUs() - begun);
      CHECK(code == VG_OK, decision.message);
    }
    return us;
  }

  std::vector<double> MeasureAsync(int calls) const;
  double BytesPerLease(int leases) const;

  const vg_api* vg = nullptr;
  vg_client* client = nullptr;

 private:
  void* library_ = nullptr;
};

struct Answered {
  std::mutex mutex;
  std::condition_variable changed;
  double at_us = 0;
};

std::vector<double> Hook::MeasureAsync(int calls) const {
  std::vector<double> us;
  const vg_admit_args args = Args();
  for (int i = 0; i < calls; ++i) {
    Answered answered;
    vg_callbacks callbacks = VG_CALLBACKS_INIT;
    callbacks.user = &answered;
    callbacks.on_decision = [](void* user, vg_lease, const vg_decision*) {
      auto& to = *static_cast<Answered*>(user);
      const std::lock_guard<std::mutex> lock(to.mutex);
      to.at_us = NowUs();
      to.changed.notify_one();
    };
    vg_lease lease = 0;
    const double begun = NowUs();
    CHECK(vg->admit_async(client, &args, &callbacks, &lease) == VG_OK, "admit_async");
    std::unique_lock<std::mutex> lock(answered.mutex);
    answered.changed.wait(lock, [&] { return answered.at_us != 0; });
    us.push_back(answered.at_us - begun);
    vg->release(client, lease, nullptr);
  }
  return us;
}

double Hook::BytesPerLease(int leases) const {
  const vg_admit_args args = Args();
  vg_decision decision = VG_DECISION_INIT;
  std::vector<vg_lease> held(static_cast<size_t>(leases));
  const size_t before = mallinfo2().uordblks;
  for (vg_lease& lease : held) CHECK(vg->try_admit(client, &args, kSecondNs, &decision, &lease) == VG_OK, "try_admit");
  const size_t after = mallinfo2().uordblks;
  for (const vg_lease lease : held) vg->release(client, lease, nullptr);
  return static_cast<double>(after - before) / leases;
}

int ThreadsNow() {
  int threads = 0;
  for ([[maybe_unused]] const auto& thread : std::filesystem::directory_iterator("/proc/self/task")) ++threads;
  return threads;
}

std::string Config(const TemporaryDirectory& directory) {
  const std::string path = directory.At("gate.yaml");
  std::ofstream(path) << ListenersYaml(directory.path()) << DevicesYaml(1) << "models:\n"
                      << ModelYaml("m", 2000, R"(      - {name: a, devices: ["0"], kv_pool: 9GiB})")
                      << "log: {level: warning}\n";
  return path;
}

int Run(int rounds, int calls, const std::string& json) {
  const TemporaryDirectory directory;
  Echo echo(true);  // forked before there are threads
  Echo blocking(false);
  Child sidecar({VRAMGATE_PROGRAM, "serve", "--config", Config(directory)});
  CHECK(sidecar.ReadLine().starts_with("ready "), "the sidecar did not start");
  Report report(rounds);
  std::vector<double> hook_us;
  std::vector<double> echo_us;
  std::vector<double> async_us;
  std::vector<double> blocking_us;
  std::vector<double> ratios;
  std::vector<double> blocking_ratios;
  const int threads_before = ThreadsNow();
  {
    const Hook hook("unix:" + directory.At("plugin.sock"));
    report.Value("threads", ThreadsNow() - threads_before);
    (void)echo.Measure(calls / 4 + 1);  // warm
    (void)blocking.Measure(calls / 4 + 1);
    (void)hook.Measure(calls / 4 + 1);
    for (int r = 0; r < rounds; ++r) {
      std::fprintf(stderr, "\rround %d of %d ", r + 1, rounds);
      echo_us.push_back(Median(echo.Measure(calls)));
      blocking_us.push_back(Median(blocking.Measure(calls)));
      hook_us.push_back(Median(hook.Measure(calls)));
      async_us.push_back(Median(hook.MeasureAsync(calls)));
      ratios.push_back(hook_us.back() / echo_us.back());
      blocking_ratios.push_back(hook_us.back() / blocking_us.back());
    }
    std::fprintf(stderr, "\n");
    report.Value("bytes_per_lease", hook.BytesPerLease(1000));
  }
  report.Value("try_admit_release_us_p50", Median(hook_us));
  report.Value("echo_us_p50", Median(echo_us));
  report.Value("admit_async_us_p50", Median(async_us));
  report.Ratio("over_socket_echo", ratios);
  report.Value("blocking_echo_us_p50", Median(blocking_us));
  report.Ratio("over_blocking_echo", blocking_ratios);
  report.Value("library_bytes", static_cast<double>(std::filesystem::file_size(VRAMGATE_PLUGIN)));
  sidecar.Signal(SIGTERM);
  CHECK(sidecar.Wait() == 0, "the sidecar did not end well");
  return report.Write(json);
}

}  // namespace
}  // namespace vramgate

int main(int argc, char** argv) {
  CLI::App app("Measures the C ABI against a bare socket echo of the same frames.");
  std::string json;
  int rounds = 11;
  int calls = 5000;
  app.add_option("--json", json, "Write the figures to this file");
  app.add_option("--rounds", rounds, "Rounds, of which the median is taken")->check(CLI::Range(1, 1000));
  app.add_option("--calls", calls, "Calls of each kind a round")->check(CLI::Range(10, 1000000));
  CLI11_PARSE(app, argc, argv);
  return vramgate::Run(rounds, calls, json);
}
