// Many threads on one client, callbacks in between, connections that break: whatever the order, each admit is answered
// once and ended once, and nothing stays open. Under ThreadSanitizer where that is built.
#include <atomic>
#include <deque>
#include <random>

#include "tests/plugin/c/fake_sidecar.h"
#include "tests/plugin/c/rig.h"
#include "tests/support/temporary_directory.h"

namespace vramgate {
namespace {

struct Count {
  std::atomic<int> asked = 0;
  std::atomic<int> decided = 0;
  std::atomic<int> ended = 0;
};

// One admit: its callbacks may come before its thread has its id, and after it has let go.
struct Story {
  Count* count = nullptr;
  Client* client = nullptr;
  bool ends_itself = false;  // in on_decision
  std::atomic<int> decisions = 0;
  std::atomic<int> ends = 0;

  vg_callbacks Callbacks() {
    vg_callbacks callbacks = VG_CALLBACKS_INIT;
    callbacks.user = this;
    callbacks.on_decision = [](void* user, vg_lease lease, const vg_decision*) {
      auto& story = *static_cast<Story*>(user);
      EXPECT_EQ(story.ends, 0);
      EXPECT_EQ(++story.decisions, 1);
      ++story.count->decided;
      if (story.ends_itself) story.client->Release(lease);
    };
    callbacks.on_revoked = [](void* user, vg_lease lease, const vg_decision*) {
      auto& story = *static_cast<Story*>(user);
      EXPECT_EQ(story.decisions, 1);
      EXPECT_EQ(story.ends, 0);
      story.client->vg->revoke_ack(story.client->client, lease);
    };
    callbacks.on_ended = [](void* user, vg_lease) {
      auto& story = *static_cast<Story*>(user);
      EXPECT_EQ(story.decisions, 1);
      EXPECT_EQ(++story.ends, 1);
      ++story.count->ended;
    };
    return callbacks;
  }
};

void Play(Client& client, uint32_t seed, int turns, Count* count, std::deque<Story>* stories) {
  std::mt19937 random(seed);
  std::vector<vg_lease> leases;
  for (int turn = 0; turn < turns; ++turn) {
    const vg_admit_args args = Ask(10);
    vg_lease lease = 0;
    if (random() % 5 == 0) {
      vg_decision decision = VG_DECISION_INIT;
      if (client.vg->try_admit(client.client, &args, 2'000'000, &decision, &lease) == VG_OK) client.Release(lease);
      continue;
    }
    Story& story = stories->emplace_back();
    story.count = count;
    story.client = &client;
    story.ends_itself = random() % 3 == 0;
    const vg_callbacks callbacks = story.Callbacks();
    ASSERT_EQ(client.vg->admit_async(client.client, &args, &callbacks, &lease), VG_OK);
    ++count->asked;
    leases.push_back(lease);
    const vg_lease some = leases[random() % leases.size()];
    vg_usage usage = VG_USAGE_INIT;
    usage.output_tokens = turn;
    vg_decision decision = VG_DECISION_INIT;
    switch (random() % 5) {
      case 0:
        client.vg->release(client.client, some, &usage);
        break;
      case 1:
        client.vg->cancel(client.client, some);
        break;
      case 2:
        client.vg->report(client.client, some, &usage);
        break;
      case 3:
        client.vg->extend(client.client, some, 5);
        break;
      default:
        client.vg->poll(client.client, some, &decision);
        break;
    }
  }
  for (const vg_lease lease : leases) {
    if (random() % 8 != 0) client.vg->release(client.client, lease, nullptr);  // the others are left to client_destroy
  }
}

void Storm(const FakeSidecar::Options& options) {
  constexpr int kThreads = 4;
  constexpr int kTurns = 400;
  SCOPED_TRACE(options.seed);
  const TemporaryDirectory directory;
  FakeSidecar sidecar(directory.At("fake.sock"), options);
  Count count;
  std::deque<Story> stories[kThreads];
  {
    Client client("unix:" + directory.At("fake.sock"), [](vg_client_options* o) {
      o->when_away = VG_FAIL_OPEN;
      o->away_after_ns = 20'000'000;
    });
    ASSERT_TRUE(Soon([&] { return client.State().connected == 1; }));
    std::vector<std::thread> threads;
    for (int i = 0; i < kThreads; ++i) {
      threads.emplace_back(
          [&, i] { Play(client, options.seed * 100 + static_cast<uint32_t>(i), kTurns, &count, &stories[i]); });
    }
    for (std::thread& thread : threads) thread.join();
  }
  EXPECT_EQ(count.decided, count.asked);
  EXPECT_EQ(count.ended, count.asked);
  EXPECT_GT(sidecar.frames(), kThreads * kTurns / 2);
  EXPECT_TRUE(Soon([&] { return sidecar.open() == 0; })) << sidecar.open() << " are still held there";
  EXPECT_EQ(sidecar.drops() > 0, options.drop_every > 0);
}

TEST(StormTest, EveryAdmitIsAnsweredOnceAndEndedOnce) {
  for (uint32_t seed = 1; seed <= 3; ++seed) Storm({.seed = seed});
}

TEST(StormTest, SoItIsWhenConnectionsBreak) {
  for (uint32_t seed = 1; seed <= 3; ++seed) Storm({.seed = seed, .drop_every = 300});
}

TEST(StormTest, TheTableOfLeasesIsBounded) {
  const TemporaryDirectory directory;
  FakeSidecar sidecar(directory.At("fake.sock"), {});
  Client client("unix:" + directory.At("fake.sock"), [](vg_client_options* o) { o->max_leases = 3; });
  const vg_admit_args args = Ask(10);
  vg_lease lease = 0;
  for (int i = 0; i < 3; ++i) EXPECT_EQ(client.vg->admit_async(client.client, &args, nullptr, &lease), VG_OK);
  EXPECT_EQ(client.vg->admit_async(client.client, &args, nullptr, &lease), VG_RESOURCE_EXHAUSTED);
  EXPECT_EQ(lease, 0u);
}

}  // namespace
}  // namespace vramgate
