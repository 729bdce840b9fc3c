// Plugins' processes that die, over the real socket: what becomes of their leases, and how they are taken up again.
#include "tests/e2e/plugin_peer.h"

namespace vramgate {
namespace {

// Drains of model `m` take a quarter of an hour and more: what comes back before has come back by other means.
v1::AdmitRequest Long(const std::string& request_id) {
  v1::AdmitRequest request = Ask(600, request_id);
  request.set_model("slow");
  return request;
}

class PluginDeathE2eTest : public testing::Test {
 protected:
  PluginDeathE2eTest()
      : sidecar_(
            "  - name: slow\n    shape: {parameters: 1000000, layers: 1, heads: 2, hidden: 64}\n"
            "    kv_bytes_per_token: 1MiB\n    block_tokens: 1\n    max_model_len: 2000\n"
            "    min_tokens_per_s: 0.001\n"
            "    instances: [{name: a, devices: [\"0\"], kv_pool: 1000MiB}]\n") {}

  static void Step(PluginPeer& engine, int64_t steps, const std::string& ended = "") {
    v1::PluginRequest request;
    request.set_stream(1);
    request.mutable_steps()->set_model("slow");
    request.mutable_steps()->set_instance("a");
    request.mutable_steps()->set_steps(steps);
    if (!ended.empty()) request.mutable_steps()->add_ended()->set_lease(ended);
    engine.Send(request);
    EXPECT_TRUE(engine.Read().has_steps());
  }

  Sidecar sidecar_;
};

TEST_F(PluginDeathE2eTest, AnIdleEngineEndsTheLinger) {
  PluginPeer engine(sidecar_);
  Step(engine, 0);
  {
    PluginPeer server(sidecar_);
    server.Admit(1, Long("a"));
    (void)server.AwaitGrant(1);
  }
  ASSERT_TRUE(sidecar_.Settles(0, 0, 1));
  Step(engine, 3);
  EXPECT_EQ(sidecar_.Status().lingering(), 1) << "the engine runs something";
  Step(engine, 0);
  EXPECT_EQ(sidecar_.Status().lingering(), 0);
}

TEST_F(PluginDeathE2eTest, TheEnginesWordAndItsDeathEndItToo) {
  PluginPeer engine(sidecar_);
  std::string first;
  {
    PluginPeer server(sidecar_);
    server.Admit(1, Long("first"));
    first = server.AwaitGrant(1).name();
  }
  ASSERT_TRUE(sidecar_.Settles(0, 0, 1));
  Step(engine, 1, first);
  EXPECT_EQ(sidecar_.Status().lingering(), 0);
  {
    PluginPeer server(sidecar_);
    server.Admit(1, Long("second"));
    (void)server.AwaitGrant(1);
  }
  ASSERT_TRUE(sidecar_.Settles(0, 0, 1));
  engine.Die();
  EXPECT_TRUE(sidecar_.Settles(0, 0, 0));
}

TEST_F(PluginDeathE2eTest, ANewConnectionTakesTheLeaseUpAgain) {
  std::string lease;
  {
    PluginPeer server(sidecar_);
    server.Admit(1, Long("mine"));
    lease = server.AwaitGrant(1).name();
  }
  ASSERT_TRUE(sidecar_.Settles(0, 0, 1));
  PluginPeer server(sidecar_);
  v1::AdmitRequest strange = Long("another");
  strange.mutable_demand()->set_prompt_tokens(100);
  strange.set_reattach_lease(lease);
  server.Admit(1, strange);
  EXPECT_NE(server.AwaitGrant(1).name(), lease) << "a lease's name is not enough: after a restart it is another's";
  v1::AdmitRequest mine = Long("mine");
  mine.set_reattach_lease(lease);
  server.Admit(2, mine);
  EXPECT_EQ(server.AwaitGrant(2).name(), lease);
  EXPECT_EQ(sidecar_.Status().lingering(), 0);
  for (const uint64_t stream : {1, 2}) {
    server.End(stream);
    EXPECT_EQ(server.Read().status().code(), 0);
  }
}

TEST_F(PluginDeathE2eTest, ADeadWaiterIsGoneAndIsNotGrantedWhatItsProcessHeld) {
  PluginPeer engine(sidecar_);
  Step(engine, 0);
  PluginPeer next(sidecar_);
  {
    PluginPeer server(sidecar_);
    server.Admit(1, Long("holds"));
    (void)server.AwaitGrant(1);
    server.Admit(2, Long("waits"));
    EXPECT_TRUE(server.Read().session().has_queued());
    next.Admit(1, Long("next"));
    EXPECT_TRUE(next.Read().session().has_queued());
  }
  ASSERT_TRUE(sidecar_.Settles(0, 1, 1));
  Step(engine, 0);
  (void)next.AwaitGrant(1);
  next.End(1);
  EXPECT_EQ(next.Read().status().code(), 0);
}

}  // namespace
}  // namespace vramgate
