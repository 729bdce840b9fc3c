// The C ABI while the sidecar is killed, stopped, and back again.
#include "tests/plugin/c/sidecar_test.h"

namespace vramgate {
namespace {

using AwayTest = SidecarTest;

TEST_F(AwayTest, HeldLeasesAreDeclaredAgainAfterARestart) {
  Client client(target_);
  Asked asked;
  ASSERT_EQ(client.Admit(Ask(700), &asked), VG_OK);
  ASSERT_EQ(asked.AwaitDecision(), VG_OK);
  Kill();
  Start();
  ASSERT_TRUE(Back(client));
  EXPECT_TRUE(Settles(1, 0, 0));
  EXPECT_EQ(Reserved(), 700 * kMiB + 700 * 128);
  client.Release(asked.lease);
  asked.AwaitEnd();
  EXPECT_TRUE(asked.revoked.empty());
}

TEST_F(AwayTest, FailClosedRefusesWhileAwayAndWaitersWithIt) {
  Client client(target_, [](vg_client_options* o) { o->away_after_ns = 200'000'000; });
  vg_lease lease = 0;
  ASSERT_EQ(client.Try(Ask(1000), &lease), VG_OK);
  Asked waiter;
  ASSERT_EQ(client.Admit(Ask(1000), &waiter), VG_OK);
  ASSERT_TRUE(Settles(1, 1, 0));
  Kill();
  EXPECT_EQ(waiter.AwaitDecision(), VG_UNAVAILABLE);
  EXPECT_STREQ(waiter.decision().reason, "GATE_AWAY");
  waiter.AwaitEnd();
  vg_lease refused = 0;
  EXPECT_EQ(client.Try(Ask(1), &refused), VG_UNAVAILABLE);
  EXPECT_EQ(client.State().away, 1);
  EXPECT_EQ(client.Poll(lease), VG_OK) << "what was granted stays";
  Start();
  ASSERT_TRUE(Back(client));
  EXPECT_EQ(client.Try(Ask(10), &refused), VG_RESOURCE_EXHAUSTED) << "what is held came first";
  client.Release(lease);
  EXPECT_EQ(client.Try(Ask(10), &refused), VG_OK);
  client.Release(refused);
}

TEST_F(AwayTest, FailOpenGrantsAndDeclaresWhenTheSidecarIsBack) {
  Client client(target_, [](vg_client_options* o) { o->when_away = VG_FAIL_OPEN, o->away_after_ns = 0; });
  ASSERT_TRUE(Back(client));
  Kill();
  vg_lease lease = 0;
  vg_lease over = 0;
  ASSERT_EQ(client.Try(Ask(800), &lease), VG_OK);
  EXPECT_TRUE(client.decision.flags & VG_FLAG_AWAY);
  vg_admit_args never_waits = Ask(800);
  never_waits.max_wait_ns = 0;
  ASSERT_EQ(client.Try(never_waits, &over), VG_OK);
  EXPECT_EQ(client.State().held_away, 2);
  Start();
  ASSERT_TRUE(Back(client));
  EXPECT_TRUE(Settles(1, 1, 0)) << "there is room for one: the other is in the queue";
  client.Release(lease);
  EXPECT_TRUE(Settles(1, 0, 0));
  EXPECT_TRUE(Soon([&] { return client.State().held_away == 0; }));
  client.Release(over);
}

TEST_F(AwayTest, ALocalShareGrantsWhatItCanPrice) {
  Client client(target_, [](vg_client_options* o) {
    o->when_away = VG_LOCAL_SHARE, o->away_after_ns = 0, o->local_share_bytes = 250 * kMiB;
  });
  ASSERT_TRUE(Back(client));
  vg_lease known = 0;
  ASSERT_EQ(client.Try(Ask(100), &known), VG_OK);
  client.Release(known);
  ASSERT_TRUE(Settles(0, 0, 0));
  Kill();
  vg_lease first = 0;
  vg_lease second = 0;
  vg_lease none = 0;
  ASSERT_EQ(client.Try(Ask(60), &first), VG_OK);
  EXPECT_EQ(client.decision.vram_bytes, 100 * kMiB + 100 * 128) << "as much as one that was larger";
  EXPECT_STREQ(client.decision.instance, "a");
  EXPECT_EQ(client.Try(Ask(101), &none), VG_UNAVAILABLE) << "no such large one was priced before";
  vg_admit_args priced = Ask(101);
  priced.vram_bytes = 140 * kMiB;
  ASSERT_EQ(client.Try(priced, &second), VG_OK);
  EXPECT_EQ(client.Try(Ask(60), &none), VG_RESOURCE_EXHAUSTED);
  EXPECT_STREQ(client.decision.reason, "LOCAL_SHARE");
  client.Release(first);
  ASSERT_EQ(client.Try(Ask(60), &first), VG_OK) << "its part of the share is back";
  Start();
  ASSERT_TRUE(Back(client));
  EXPECT_TRUE(Settles(2, 0, 0));
  EXPECT_EQ(client.State().local_bytes, 0);
  client.Release(first);
  client.Release(second);
}

// It accepts connections and says nothing: found out by what it owes.
TEST_F(AwayTest, AHungSidecarIsAwayToo) {
  Client client(target_);
  ASSERT_TRUE(Back(client));
  sidecar_->Stop();
  vg_lease lease = 0;
  EXPECT_EQ(client.Try(Ask(2), &lease, 20'000'000), VG_DEADLINE_EXCEEDED) << "not longer than it was told to";
  EXPECT_TRUE(Soon([&] { return client.State().away == 1; }));
  EXPECT_EQ(client.Try(Ask(2), &lease), VG_UNAVAILABLE);
  sidecar_->Signal(SIGCONT);
  ASSERT_TRUE(Back(client));
  ASSERT_EQ(client.Try(Ask(1000), &lease), VG_OK) << "the answer that came late was given back";
  client.Release(lease);
}

}  // namespace
}  // namespace vramgate
