// A GateModel between a fake server and a fake gate, both of which do what they may at any moment.
#include "plugin/triton/gate_model.h"

#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <future>
#include <map>
#include <utility>

#include "tests/plugin/triton/fake_server.h"

// A gate with a thread of its own, as the library has one: callbacks come from it, one after the other.
struct vg_client {
  explicit vg_client(unsigned seed) : random(seed), worker([this] { Work(); }) {}
  ~vg_client() {
    Later([this] { stopping = true; });
    worker.join();
  }

  void Later(std::function<void()> step) {
    {
      const std::lock_guard lock(mutex);
      steps.push_back(std::move(step));
    }
    changed.notify_all();
  }
  void Work() {
    while (!stopping) {
      std::function<void()> step;
      {
        std::unique_lock lock(mutex);
        changed.wait(lock, [this] { return !steps.empty(); });
        step = std::move(steps.front());
        steps.pop_front();
      }
      step();
    }
  }

  struct Lease {
    vg_callbacks callbacks;
    bool decided;
  };
  void Decide(vg_lease lease, vg_code code) {
    const auto found = leases.find(lease);
    if (found == leases.end() || found->second.decided) return;
    found->second.decided = true;
    vg_decision decision = VG_DECISION_INIT;
    decision.code = code;
    decision.retry_after_ns = code == VG_RESOURCE_EXHAUSTED ? 1000 : -1;
    held += code == VG_OK;
    found->second.callbacks.on_decision(found->second.callbacks.user, lease, &decision);
    if (code != VG_OK) End(lease);
  }
  void End(vg_lease lease) {
    const auto found = leases.find(lease);
    const vg_callbacks callbacks = found->second.callbacks;
    leases.erase(found);
    callbacks.on_ended(callbacks.user, lease);
  }
  void Release(vg_lease lease) {
    const auto found = leases.find(lease);
    if (found == leases.end()) return;
    if (!found->second.decided) return Decide(lease, VG_CANCELLED);
    --held;
    End(lease);
  }
  void Revoke(vg_lease lease) {
    const auto found = leases.find(lease);
    if (found == leases.end() || !found->second.decided) return;
    vg_decision decision = VG_DECISION_INIT;
    std::strcpy(decision.reason, "REVOKED");
    found->second.callbacks.on_revoked(found->second.callbacks.user, lease, &decision);
  }

  std::mutex mutex;
  std::condition_variable changed;
  std::deque<std::function<void()>> steps;
  std::atomic<vg_lease> next{1};
  std::atomic<bool> waits{false};  // nobody is decided yet
  std::atomic<int> held{0};
  std::vector<vg_lease> asked;  // its thread's, from here on
  std::map<vg_lease, Lease> leases;
  std::mt19937 random;
  bool stopping = false;
  std::thread worker;
};

namespace vramgate {
namespace {

vg_code AdmitAsync(vg_client* client, const vg_admit_args*, const vg_callbacks* callbacks, vg_lease* out) {
  const vg_lease lease = client->next++;
  *out = lease;
  client->Later([client, lease, callbacks = *callbacks] {
    client->leases[lease] = {callbacks, false};
    client->asked.push_back(lease);
    if (client->waits) return;
    // Not this one but any that has asked: decisions come in no order.
    std::swap(client->asked[client->random() % client->asked.size()], client->asked.back());
    const vg_lease chosen = client->asked.back();
    if (client->random() % 4 != 0) client->asked.pop_back();
    client->Decide(chosen, client->random() % 4 == 0 ? VG_RESOURCE_EXHAUSTED : VG_OK);
    if (client->random() % 8 == 0) client->Revoke(chosen);
  });
  return VG_OK;
}

void Release(vg_client* client, vg_lease lease, const vg_usage*) {
  client->Later([client, lease] { client->Release(lease); });
}

vg_api FakeApi() {
  vg_api api = {};
  api.struct_size = sizeof api;
  api.admit_async = &AdmitAsync;
  api.release = &Release;
  return api;
}

class GateModelTest : public ::testing::Test {
 protected:
  explicit GateModelTest() : api_(FakeApi()), server_(kSeed), gate_(kSeed) {
    settings_.model = "gate";
    settings_.target_model = settings_.gate_model = "llm";
    settings_.most_held_requests = 100000;
    settings_.most_held_bytes = 1 << 30;
    settings_.decoupled = true;
    Error error;
    model_ = GateModel::Make(settings_, &server_, api_, &gate_, &error);
  }

  void Send(FakeClient* client, uint64_t sequence = 0) {
    TRITONBACKEND_Request* request = server_.NewRequest(client, sequence);
    model_->Execute(&request, 1);
  }
  // The gate makes up its mind about all that are left, and has done so when this returns.
  void DecideAll() {
    std::promise<void> done;
    gate_.Later([this, &done] {
      gate_.waits = false;
      for (const vg_lease lease : std::exchange(gate_.asked, {})) gate_.Decide(lease, VG_OK);
      done.set_value();
    });
    done.get_future().wait();
  }
  void WaitForAnswers(std::deque<FakeClient>& clients) {
    for (FakeClient& client : clients) {
      while (client.factories > 0 || client.finals == 0) {
        DecideAll();  // who comes later in a sequence asks later
        std::this_thread::yield();
      }
    }
  }
  void ExpectAllIsBack(std::deque<FakeClient>& clients) {
    model_->Stop();
    while (gate_.held > 0) std::this_thread::yield();
    for (const FakeClient& client : clients) {
      EXPECT_EQ(client.finals, 1);
      EXPECT_EQ(client.after_final, 0);
      EXPECT_EQ(client.factories, 0);
    }
    EXPECT_EQ(server_.requests, 0);
    EXPECT_EQ(server_.inner_requests, 0);
    EXPECT_EQ(server_.inner_responses, 0);
    EXPECT_EQ(server_.wrong, 0);
    EXPECT_EQ(gate_.held, 0);
  }

  static constexpr unsigned kSeed = 7;
  vg_api api_;
  GateSettings settings_;
  FakeServer server_;
  vg_client gate_;
  std::shared_ptr<GateModel> model_;
};

TEST_F(GateModelTest, EverybodyIsAnsweredOnceWhateverHappens) {
  constexpr int kThreads = 4;
  constexpr int kEach = 400;
  std::deque<FakeClient> clients(kThreads * kEach);
  std::vector<std::thread> threads;
  for (int thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([this, thread, &clients] {
      std::mt19937 random(kSeed + thread);
      for (int index = 0; index < kEach; ++index) {
        FakeClient& client = clients[thread * kEach + index];
        Send(&client, random() % 3 == 0 ? 1 + random() % 5 : 0);
        if (random() % 3 == 0) clients[thread * kEach + random() % (index + 1)].left = true;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  WaitForAnswers(clients);
  ExpectAllIsBack(clients);
}

TEST_F(GateModelTest, ATargetThatGoesEndsTheQueue) {
  gate_.waits = true;
  std::deque<FakeClient> clients(50);
  for (FakeClient& client : clients) Send(&client);
  server_.target_ready = false;
  for (FakeClient& client : clients) {
    while (client.factories > 0) std::this_thread::yield();
    EXPECT_EQ(client.errors, 1);
  }
  ExpectAllIsBack(clients);
}

TEST_F(GateModelTest, AServerThatStopsRefusesWhatIsGranted) {
  server_.refuses = true;
  std::deque<FakeClient> clients(50);
  for (FakeClient& client : clients) Send(&client);
  WaitForAnswers(clients);
  for (FakeClient& client : clients) EXPECT_EQ(client.errors, 1);
  ExpectAllIsBack(clients);
}

TEST_F(GateModelTest, WhoLeavesWhileWaitingIsAnsweredAndLeavesTheGatesQueue) {
  gate_.waits = true;
  std::deque<FakeClient> clients(50);
  for (FakeClient& client : clients) Send(&client, 3);  // all but the first wait for it
  for (FakeClient& client : clients) client.left = true;
  for (FakeClient& client : clients) {
    while (client.factories > 0) std::this_thread::yield();
  }
  ExpectAllIsBack(clients);
}

}  // namespace
}  // namespace vramgate
