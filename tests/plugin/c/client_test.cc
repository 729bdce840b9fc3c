// Every function of the C ABI against a real sidecar.
#include <grpcpp/grpcpp.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>

#include "tests/plugin/c/sidecar_test.h"
#include "vramgate/v1/operator.grpc.pb.h"

namespace vramgate {
namespace {

using ClientTest = SidecarTest;

TEST_F(ClientTest, TryIsGrantedOrRefusedAtOnce) {
  Client client(target_);
  vg_lease first = 0;
  vg_lease second = 0;
  ASSERT_EQ(client.Try(Ask(600), &first), VG_OK);
  EXPECT_STREQ(client.decision.instance, "a");
  EXPECT_TRUE(std::string(client.decision.lease_name).starts_with("leases/"));
  EXPECT_EQ(client.decision.vram_bytes, 600 * kMiB + 600 * 128);
  EXPECT_EQ(client.decision.granted_tokens, 0) << "all";
  EXPECT_EQ(client.Try(Ask(600), &second), VG_RESOURCE_EXHAUSTED);
  EXPECT_STREQ(client.decision.reason, "BUDGET_EXHAUSTED");
  EXPECT_GT(client.decision.retry_after_ns, 0);
  EXPECT_EQ(second, 0u);
  EXPECT_EQ(client.Poll(first), VG_OK);
  client.Release(first);
  client.Release(first);
  client.vg->cancel(client.client, first);
  EXPECT_EQ(client.Poll(first), VG_NOT_FOUND);
  ASSERT_EQ(client.Try(Ask(600), &second), VG_OK) << "its bytes are back";
  EXPECT_NE(first, second);
  client.Release(second);
  EXPECT_EQ(client.Try(Ask(5000), &first), VG_FAILED_PRECONDITION);
  EXPECT_STREQ(client.decision.reason, "NEVER_FITS");
}

TEST_F(ClientTest, AWaiterHearsWhereItStandsAndThenItsGrant) {
  Client client(target_);
  Asked holder;
  Asked waiter;
  ASSERT_EQ(client.Admit(Ask(1000), &holder), VG_OK);
  EXPECT_EQ(holder.AwaitDecision(), VG_OK);
  ASSERT_EQ(client.Admit(Ask(1000), &waiter), VG_OK);
  ASSERT_TRUE(waiter.Await([&] { return !waiter.queued.empty(); }));
  EXPECT_EQ(waiter.queued[0].queue_position, 1);
  EXPECT_EQ(client.Poll(waiter.lease), VG_PENDING);
  vg_usage usage = VG_USAGE_INIT;
  usage.output_tokens = 1;
  EXPECT_EQ(client.vg->report(client.client, holder.lease, &usage), VG_OK);
  EXPECT_EQ(client.vg->extend(client.client, holder.lease, 1), VG_OK);
  EXPECT_TRUE(holder.Await([&] { return !holder.extended.empty(); }));
  client.vg->release(client.client, holder.lease, &usage);
  holder.AwaitEnd();
  EXPECT_EQ(waiter.AwaitDecision(), VG_OK);
  client.Release(waiter.lease);
  waiter.AwaitEnd();
}

TEST_F(ClientTest, ACancelledWaiterIsAnsweredOnceAndLeavesTheQueue) {
  Client client(target_);
  vg_lease holder = 0;
  ASSERT_EQ(client.Try(Ask(1000), &holder), VG_OK);
  Asked waiter;
  ASSERT_EQ(client.Admit(Ask(1000), &waiter), VG_OK);
  ASSERT_TRUE(Settles(1, 1, 0));
  client.vg->cancel(client.client, waiter.lease);
  EXPECT_EQ(waiter.AwaitDecision(), VG_CANCELLED);
  waiter.AwaitEnd();
  EXPECT_TRUE(Settles(1, 0, 0));
  vg_lease polled = 0;
  const vg_admit_args args = Ask(1000);
  ASSERT_EQ(client.vg->admit_async(client.client, &args, nullptr, &polled), VG_OK);
  EXPECT_EQ(client.Poll(polled), VG_PENDING);
  client.Release(holder);
  EXPECT_TRUE(Soon([&] { return client.Poll(polled) == VG_OK; }));
  client.Release(polled);
}

TEST_F(ClientTest, ARevokedLeaseIsToldAndAcknowledged) {
  Client client(target_);
  Asked asked;
  ASSERT_EQ(client.Admit(Ask(1000), &asked), VG_OK);
  ASSERT_EQ(asked.AwaitDecision(), VG_OK);
  const auto operations = v1::OperatorService::NewStub(
      grpc::CreateChannel("unix:" + directory_.At("operator.sock"), grpc::InsecureChannelCredentials()));
  v1::RevokeLeaseRequest revoke;
  revoke.set_name(asked.decision().lease_name);
  revoke.set_reason("maintenance");
  revoke.mutable_grace()->set_seconds(60);
  grpc::ClientContext context;
  v1::RevokeLeaseResponse nothing;
  ASSERT_TRUE(operations->RevokeLease(&context, revoke, &nothing).ok());
  ASSERT_TRUE(asked.Await([&] { return !asked.revoked.empty(); }));
  EXPECT_STREQ(asked.revoked[0].reason, "LEASE_REVOKED");
  EXPECT_STREQ(asked.revoked[0].message, "maintenance");
  EXPECT_GT(asked.revoked[0].grace_ns, 0);
  EXPECT_EQ(client.Poll(asked.lease), VG_OK);
  EXPECT_TRUE(client.decision.flags & VG_FLAG_REVOKED);
  EXPECT_EQ(Reserved(), 1000 * kMiB + 1000 * 128) << "counted until the engine has stopped";
  client.vg->revoke_ack(client.client, asked.lease);
  asked.AwaitEnd();
  EXPECT_TRUE(Settles(0, 0, 0));
}

TEST_F(ClientTest, AnEnginesReportIsAnswered) {
  Client client(target_);
  ASSERT_TRUE(Back(client));
  const vg_progress ended{vg_string("leases/ffffffff00000001"), 1};
  vg_step_report report = VG_STEP_REPORT_INIT;
  report.model = vg_string("m");
  report.instance = vg_string("a");
  report.steps = 1;
  report.ended = &ended;
  report.ended_count = 1;
  struct Heard {
    std::mutex mutex;
    std::condition_variable changed;
    int answers = 0;
    std::string lost;
  } heard;
  ASSERT_EQ(client.vg->report_steps(
                client.client, &report,
                [](void* user, const vg_step_answer* answer) {
                  auto& to = *static_cast<Heard*>(user);
                  const std::lock_guard lock(to.mutex);
                  ++to.answers;
                  if (answer->lost_count == 1) to.lost.assign(answer->lost[0].data, answer->lost[0].size);
                  to.changed.notify_all();
                },
                &heard),
            VG_OK);
  {
    std::unique_lock lock(heard.mutex);
    EXPECT_TRUE(heard.changed.wait_for(lock, kWait, [&] { return heard.answers == 1; }));
    EXPECT_EQ(heard.lost, "leases/ffffffff00000001");
  }
  report.instance = vg_string("nobody");
  ASSERT_EQ(client.vg->report_steps(
                client.client, &report,
                [](void* user, const vg_step_answer* answer) {
                  auto& to = *static_cast<Heard*>(user);
                  const std::lock_guard lock(to.mutex);
                  to.answers += answer->code == VG_NOT_FOUND ? 1 : 100;
                  to.changed.notify_all();
                },
                &heard),
            VG_OK);
  std::unique_lock lock(heard.mutex);
  EXPECT_TRUE(heard.changed.wait_for(lock, kWait, [&] { return heard.answers == 2; }));
}

TEST_F(ClientTest, DestroyAnswersAndEndsWhatIsLeft) {
  Asked holder;
  Asked waiter;
  {
    Client client(target_);
    ASSERT_EQ(client.Admit(Ask(1000), &holder), VG_OK);
    ASSERT_EQ(holder.AwaitDecision(), VG_OK);
    ASSERT_EQ(client.Admit(Ask(1000), &waiter), VG_OK);
  }
  EXPECT_EQ(waiter.AwaitDecision(), VG_CANCELLED);
  holder.AwaitEnd();
  waiter.AwaitEnd();
}

TEST_F(ClientTest, CallsThatWaitAreRefusedInsideOfCallbacks) {
  struct Inside {
    Client* client;
    std::atomic<int> tried = -5;
    std::atomic<int> destroyed = -5;
    vg_lease next = 0;
  };
  Client client(target_);
  Inside inside{&client};
  vg_callbacks callbacks = VG_CALLBACKS_INIT;
  callbacks.user = &inside;
  callbacks.on_decision = [](void* user, vg_lease lease, const vg_decision*) {
    auto& in = *static_cast<Inside*>(user);
    const vg_admit_args args = Ask(1);
    vg_lease other = 0;
    in.tried = in.client->vg->try_admit(in.client->client, &args, 1, nullptr, &other);
    in.destroyed = in.client->vg->client_destroy(in.client->client);
    in.client->Release(lease);  // this may be
  };
  const vg_admit_args args = Ask(10);
  vg_lease lease = 0;
  ASSERT_EQ(client.vg->admit_async(client.client, &args, &callbacks, &lease), VG_OK);
  EXPECT_TRUE(Soon([&] { return inside.destroyed != -5; }));
  EXPECT_EQ(inside.tried, VG_FAILED_PRECONDITION);
  EXPECT_EQ(inside.destroyed, VG_FAILED_PRECONDITION);
}

TEST_F(ClientTest, AForksChildMakesAClientOfItsOwn) {
  Client client(target_);
  vg_lease lease = 0;
  ASSERT_EQ(client.Try(Ask(10), &lease), VG_OK);
  const pid_t child = fork();
  if (child == 0) {
    vg_lease other = 0;
    const bool refused = client.Try(Ask(10), &other) == VG_FAILED_PRECONDITION &&
                         client.vg->client_destroy(client.client) == VG_FAILED_PRECONDITION;
    client.Release(lease);
    _exit(refused ? 0 : 1);
  }
  int status = -1;
  waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(client.Poll(lease), VG_OK);
  client.Release(lease);
}

TEST_F(ClientTest, AKilledClientLingersUntilItsEngineIsIdle) {
  Client engine(target_);
  const pid_t child = fork();
  if (child == 0) {
    Client holder(target_);
    vg_lease lease = 0;
    if (holder.Try(Ask(500), &lease) != VG_OK) _exit(1);
    raise(SIGKILL);
  }
  waitpid(child, nullptr, 0);
  ASSERT_TRUE(Settles(0, 0, 1));
  EXPECT_EQ(Reserved(), 500 * kMiB + 500 * 128);
  vg_step_report idle = VG_STEP_REPORT_INIT;
  idle.model = vg_string("m");
  idle.instance = vg_string("a");
  ASSERT_TRUE(Back(engine));
  EXPECT_EQ(engine.vg->report_steps(engine.client, &idle, nullptr, nullptr), VG_OK);
  EXPECT_TRUE(Settles(0, 0, 0));
}

}  // namespace
}  // namespace vramgate
