// The plugin socket of a whole sidecar: what rpc Session and rpc ReportSteps do, frame by frame, and what hostile peers
// try.
#include <sys/stat.h>

#include <set>
#include <thread>

#include "admission/frame_reader.h"
#include "tests/e2e/plugin_peer.h"

namespace vramgate {
namespace {

grpc::StatusCode CodeOf(const v1::PluginResponse& response) {
  EXPECT_TRUE(response.has_status()) << response.ShortDebugString();
  return static_cast<grpc::StatusCode>(response.status().code());
}

TEST(PluginE2eTest, AStreamIsASession) {
  Sidecar sidecar;
  EXPECT_NE(sidecar.server().ReadyLine().find(" plugin=unix:"), std::string::npos);
  struct stat info{};
  ASSERT_EQ(stat((sidecar.directory() / "plugin.sock").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0660u);
  PluginPeer peer(sidecar);
  peer.Admit(7, Ask(600));
  const v1::Lease lease = peer.AwaitGrant(7);
  EXPECT_EQ(lease.instance(), "a");
  EXPECT_EQ(sidecar.Account("pool/m/a").reserved_bytes(), 600 << 20);
  v1::PluginRequest extend;
  extend.set_stream(7);
  extend.mutable_session()->mutable_extend()->set_tokens(1);
  peer.Send(extend);
  EXPECT_TRUE(peer.Read().session().has_extended());
  peer.Admit(8, Ask(600));  // waits
  EXPECT_EQ(peer.Read().session().queued().position(), 1);
  peer.End(7);
  std::set<uint64_t> heard;  // the end of the one and the grant of the other: either may come first
  for (int i = 0; i < 2; ++i) {
    const v1::PluginResponse response = peer.Read();
    heard.insert(response.stream());
    EXPECT_TRUE(response.has_status() ? response.status().code() == 0 : response.session().has_granted());
  }
  EXPECT_EQ(heard, (std::set<uint64_t>{7, 8}));
  peer.Admit(7, Ask(100));  // its number is free again
  EXPECT_NE(peer.AwaitGrant(7).name(), lease.name());
  peer.End(8);
  EXPECT_EQ(CodeOf(peer.Read()), grpc::OK);
  peer.End(7);
  EXPECT_EQ(CodeOf(peer.Read()), grpc::OK);
}

TEST(PluginE2eTest, ManyStreamsOnOneConnection) {
  Sidecar sidecar;
  PluginPeer peer(sidecar);
  for (uint64_t stream = 1; stream <= 500; ++stream) peer.Admit(stream, Ask(2));
  for (uint64_t stream = 1; stream <= 500; ++stream) EXPECT_TRUE(peer.Read().session().has_granted());
  EXPECT_EQ(sidecar.Account("pool/m/a").reserved_bytes(), 1000 << 20);
  for (uint64_t stream = 1; stream <= 500; ++stream) peer.End(stream);
  for (uint64_t stream = 1; stream <= 500; ++stream) EXPECT_EQ(CodeOf(peer.Read()), grpc::OK);
}

TEST(PluginE2eTest, ACancelledWaiterIsGoneACancelledHolderLingers) {
  Sidecar sidecar("leases: {abort_linger: 50ms}\n");
  PluginPeer peer(sidecar);
  peer.Admit(1, Ask(1000));
  (void)peer.AwaitGrant(1);
  peer.Admit(2, Ask(1000));
  EXPECT_TRUE(peer.Read().session().has_queued());
  peer.Cancel(2);
  EXPECT_EQ(CodeOf(peer.Read()), grpc::CANCELLED);
  EXPECT_EQ(sidecar.Status().waiting(), 0);
  peer.Cancel(1);
  EXPECT_EQ(CodeOf(peer.Read()), grpc::OK);
  EXPECT_TRUE(sidecar.Settles(0, 0, 0));
}

TEST(PluginE2eTest, ARevokedHolderIsToldAndItsBytesComeBackWithItsWord) {
  Sidecar sidecar;
  PluginPeer peer(sidecar);
  peer.Admit(1, Ask(1000));
  v1::RevokeLeaseRequest revoke;
  revoke.set_name(peer.AwaitGrant(1).name());
  revoke.set_reason("maintenance");
  revoke.mutable_grace()->set_seconds(60);
  grpc::ClientContext context;
  v1::RevokeLeaseResponse nothing;
  ASSERT_TRUE(sidecar.operations().RevokeLease(&context, revoke, &nothing).ok());
  EXPECT_EQ(peer.Read().session().revoke().reason(), "maintenance");
  EXPECT_EQ(sidecar.Account("pool/m/a").reserved_bytes(), 1000 << 20);
  v1::PluginRequest ack;
  ack.set_stream(1);
  ack.mutable_session()->mutable_revoke_ack();
  peer.Send(ack);
  const v1::PluginResponse end = peer.Read();
  EXPECT_EQ(CodeOf(end), grpc::ABORTED);
  EXPECT_EQ(DetailsOf(ToGrpc(end.status())).reason, "LEASE_REVOKED");
}

TEST(PluginE2eTest, RefusalsSayWhatGrpcsSay) {
  Sidecar sidecar;
  PluginPeer peer(sidecar);
  v1::AdmitRequest unknown = Ask(10);
  unknown.set_model("nobody");
  peer.Admit(1, unknown);
  const v1::PluginResponse refused = peer.Read();
  EXPECT_EQ(CodeOf(refused), grpc::NOT_FOUND);
  EXPECT_EQ(DetailsOf(ToGrpc(refused.status())).reason, "UNKNOWN_MODEL");
  peer.Admit(2, Ask(1000));
  (void)peer.AwaitGrant(2);
  v1::AdmitRequest now = Ask(1000);
  now.mutable_max_wait();
  peer.Admit(3, now);
  const v1::PluginResponse full = peer.Read();
  EXPECT_EQ(CodeOf(full), grpc::RESOURCE_EXHAUSTED);
  EXPECT_EQ(DetailsOf(ToGrpc(full.status())).reason, "BUDGET_EXHAUSTED");
  EXPECT_TRUE(DetailsOf(ToGrpc(full.status())).retry_after.has_value());
  peer.End(2);
  EXPECT_EQ(CodeOf(peer.Read()), grpc::OK);
}

TEST(PluginE2eTest, MisusedStreamsEndAndOthersGoOn) {
  Sidecar sidecar("leases: {abort_linger: 0s}\n");
  PluginPeer peer(sidecar);
  peer.Admit(1, Ask(100));
  (void)peer.AwaitGrant(1);
  peer.Admit(2, Ask(100));
  (void)peer.AwaitGrant(2);
  peer.Admit(2, Ask(100));  // twice
  EXPECT_EQ(DetailsOf(ToGrpc(peer.Read().status())).field, "admit");
  peer.Step(1, 1);  // a lease's number
  const v1::PluginResponse mixed = peer.Read();
  EXPECT_EQ(mixed.stream(), 1);
  EXPECT_EQ(DetailsOf(ToGrpc(mixed.status())).field, "stream");
  // Of streams that are not open, as when two ends cross: nothing happens.
  peer.End(99);
  peer.Cancel(98);
  v1::PluginRequest empty;
  empty.set_stream(97);
  peer.Send(empty);
  const v1::PluginResponse said = peer.Read();
  EXPECT_EQ(said.stream(), 97);
  EXPECT_EQ(CodeOf(said), grpc::INVALID_ARGUMENT);
  v1::PluginRequest negative;
  negative.set_stream(5);
  *negative.mutable_session()->mutable_admit() = Ask(100);
  negative.mutable_session()->mutable_admit()->mutable_demand()->set_prompt_tokens(-5);
  peer.Send(negative);
  EXPECT_EQ(DetailsOf(ToGrpc(peer.Read().status())).field, "demand.prompt_tokens");
}

TEST(PluginE2eTest, WhatIsNoFrameEndsTheConnectionWithAWord) {
  Sidecar sidecar;
  PluginPeer honest(sidecar);
  honest.Admit(1, Ask(100));
  (void)honest.AwaitGrant(1);
  const std::string wrong[] = {
      std::string(4, '\0'),                         // nothing
      std::string("\xff\xff\xff\xff", 4),           // 4 GiB
      std::string("\x01\0\0\x04", 4),               // a byte more than 64 MiB
      std::string("\x03\0\0\0\xff\xff\xff", 7),     // no message
      std::string("\x02\0\0\0\x22\0", 6),           // no stream
      "GET / HTTP/1.1\r\nhost: localhost\r\n\r\n",  // 542393671 bytes to come
  };
  for (const std::string& bytes : wrong) {
    PluginPeer hostile(sidecar);
    hostile.SendBytes(bytes);
    const v1::PluginResponse last = hostile.Read();
    EXPECT_EQ(last.stream(), 0);
    EXPECT_EQ(DetailsOf(ToGrpc(last.status())).field, "frame");
    EXPECT_TRUE(hostile.Over());
  }
  {
    PluginPeer torn(sidecar);
    torn.SendBytes(std::string_view("\x40\0\0\0half", 8));
  }
  honest.End(1);
  EXPECT_EQ(CodeOf(honest.Read()), grpc::OK);
}

TEST(PluginE2eTest, StreamsAreLimited) {
  Sidecar sidecar("limits: {streams: 2}\n");
  PluginPeer peer(sidecar);
  for (const uint64_t stream : {1, 2, 3}) peer.Admit(stream, Ask(10));
  (void)peer.AwaitGrant(1);
  (void)peer.AwaitGrant(2);
  const v1::PluginResponse refused = peer.Read();
  EXPECT_EQ(refused.stream(), 3);
  EXPECT_EQ(CodeOf(refused), grpc::RESOURCE_EXHAUSTED);
  for (const uint64_t stream : {1, 2}) {
    peer.End(stream);
    EXPECT_EQ(CodeOf(peer.Read()), grpc::OK);
  }
}

// Its answers pile up to a limit, nothing else waits for it, and in the end it is cut off.
TEST(PluginE2eTest, APeerThatDoesNotReadIsCutOff) {
  Sidecar sidecar;
  PluginPeer deaf(sidecar);
  deaf.Admit(1, Ask(500));
  std::string bytes;
  v1::PluginRequest steps;
  steps.set_stream(2);
  steps.mutable_steps()->set_model("m");
  steps.mutable_steps()->set_instance("a");
  for (int i = 0; i < 1000; ++i) steps.mutable_steps()->add_ended()->set_lease("leases/none");
  AppendFrameHead(steps.ByteSizeLong(), &bytes);
  bytes += steps.SerializeAsString();
  std::thread talker([&] {
    for (int i = 0; i < 2000; ++i) deaf.SendBytes(bytes);  // blocks until it is cut off
  });
  PluginPeer other(sidecar);
  other.Admit(1, Ask(500));
  (void)other.AwaitGrant(1);
  talker.join();
  EXPECT_TRUE(sidecar.Settles(1, 0, 0)) << "what it held has drained";
  other.End(1);
  EXPECT_EQ(CodeOf(other.Read()), grpc::OK);
}

TEST(PluginE2eTest, ADrainTellsItsWaiters) {
  Sidecar sidecar;
  PluginPeer peer(sidecar);
  peer.Admit(1, Ask(1000));
  (void)peer.AwaitGrant(1);
  peer.Admit(2, Ask(1000));
  EXPECT_TRUE(peer.Read().session().has_queued());
  grpc::ClientContext context;
  v1::DrainResponse drained;
  ASSERT_TRUE(sidecar.operations().Drain(&context, {}, &drained).ok());
  const v1::PluginResponse refused = peer.Read();
  EXPECT_EQ(refused.stream(), 2);
  EXPECT_EQ(DetailsOf(ToGrpc(refused.status())).reason, "DRAINING");
  peer.End(1);
  EXPECT_EQ(CodeOf(peer.Read()), grpc::OK);
}

}  // namespace
}  // namespace vramgate
