// What tests of the C ABI are written in: a client of the library, and callbacks that can be waited for.
//
//   Client client("unix:/tmp/plugin.sock");
//   Asked asked;
//   client.Admit(Ask(100), &asked);
//   EXPECT_EQ(asked.AwaitDecision(), VG_OK);
//   client.Release(asked.lease);
//   asked.AwaitEnd();
//
// Thread rule: one thread, beside the library's. Every wait ends after kPatience, as a failure.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "plugin/c/vramgate_plugin.h"

namespace vramgate {

inline constexpr std::chrono::seconds kWait{60};
inline constexpr int64_t kWaitNs = 60'000'000'000;

// Asks again and again.
inline bool Soon(const std::function<bool()>& holds) {
  const auto until = std::chrono::steady_clock::now() + kWait;
  while (!holds()) {
    if (std::chrono::steady_clock::now() > until) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return true;
}

// A request of so many MiB of model `m`.
inline vg_admit_args Ask(int64_t tokens) {
  vg_admit_args args = VG_ADMIT_ARGS_INIT;
  args.model = vg_string("m");
  args.prompt_tokens = tokens - 1;
  args.max_output_tokens = 1;
  return args;
}

// One admit_async: what its callbacks were told.
class Asked {
 public:
  vg_callbacks Callbacks() {
    vg_callbacks callbacks = VG_CALLBACKS_INIT;
    callbacks.user = this;
    callbacks.on_decision = [](void* user, vg_lease, const vg_decision* d) { To(user)->Hear(&Asked::decisions, d); };
    callbacks.on_queued = [](void* user, vg_lease, const vg_decision* d) { To(user)->Hear(&Asked::queued, d); };
    callbacks.on_revoked = [](void* user, vg_lease, const vg_decision* d) { To(user)->Hear(&Asked::revoked, d); };
    callbacks.on_extended = [](void* user, vg_lease, const vg_decision* d) { To(user)->Hear(&Asked::extended, d); };
    callbacks.on_ended = [](void* user, vg_lease) {
      const std::lock_guard lock(To(user)->mutex_);
      ++To(user)->ends;
      To(user)->changed_.notify_all();  // under the lock: the waiter may destroy this
    };
    return callbacks;
  }
  bool Await(const std::function<bool()>& holds) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, kWait, holds);
  }
  int32_t AwaitDecision() {
    EXPECT_TRUE(Await([this] { return !decisions.empty(); }));
    return decisions.empty() ? VG_PENDING : decisions.front().code;
  }
  // Once, and last.
  void AwaitEnd() {
    EXPECT_TRUE(Await([this] { return ends > 0; }));
    EXPECT_EQ(ends, 1);
    EXPECT_EQ(decisions.size(), 1u);
  }
  const vg_decision& decision() const { return decisions.front(); }

  vg_lease lease = 0;
  std::vector<vg_decision> decisions, queued, revoked, extended;
  int ends = 0;

 private:
  static Asked* To(void* user) { return static_cast<Asked*>(user); }
  void Hear(std::vector<vg_decision> Asked::* list, const vg_decision* decision) {
    const std::lock_guard lock(mutex_);
    EXPECT_EQ(ends, 0) << "after on_ended";
    (this->*list).push_back(*decision);
    changed_.notify_all();
  }
  std::mutex mutex_;
  std::condition_variable changed_;
};

class Client {
 public:
  explicit Client(const std::string& target, const std::function<void(vg_client_options*)>& change = {}) {
    vg_client_options options = VG_CLIENT_OPTIONS_INIT;
    options.target = vg_string(target.c_str());
    if (change) change(&options);
    EXPECT_EQ(vg->client_create(&options, &client), VG_OK);
  }
  ~Client() { Destroy(); }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  void Destroy() {
    if (client == nullptr) return;
    EXPECT_EQ(vg->client_destroy(client), VG_OK);
    client = nullptr;
  }
  vg_code Admit(const vg_admit_args& args, Asked* asked) {
    const vg_callbacks callbacks = asked->Callbacks();
    return vg->admit_async(client, &args, &callbacks, &asked->lease);
  }
  vg_code Try(const vg_admit_args& args, vg_lease* lease, int64_t timeout_ns = kWaitNs) {
    decision = VG_DECISION_INIT;
    return vg->try_admit(client, &args, timeout_ns, &decision, lease);
  }
  vg_code Poll(vg_lease lease) {
    decision = VG_DECISION_INIT;
    return vg->poll(client, lease, &decision);
  }
  void Release(vg_lease lease) { vg->release(client, lease, nullptr); }
  vg_client_state State() {
    vg_client_state state{};
    state.struct_size = sizeof state;
    EXPECT_EQ(vg->client_state(client, &state), VG_OK);
    return state;
  }

  const vg_api* const vg = vramgate_get_api(VG_ABI_MAJOR, VG_ABI_MINOR);
  vg_client* client = nullptr;
  vg_decision decision = VG_DECISION_INIT;  // of the last Try or Poll
};

}  // namespace vramgate
