// Session over real gRPC.
#include <gtest/gtest.h>

#include "tests/e2e/sidecar.h"

namespace vramgate {
namespace {

TEST(SessionE2eTest, GrantsAndFreesWithTheStream) {
  Sidecar sidecar;
  SessionClient session(sidecar.admission(), Ask(400));
  ASSERT_TRUE(session.AwaitGrant());
  EXPECT_EQ(session.lease.state(), v1::Lease::HELD);
  EXPECT_EQ(session.lease.instance(), "a");
  EXPECT_EQ(session.lease.model(), "m");
  EXPECT_EQ(session.lease.assurance(), "worst_case");
  EXPECT_FALSE(session.lease.has_expire_time()) << "it lives as long as the stream";
  ASSERT_EQ(session.lease.charges_size(), 1);
  EXPECT_EQ(session.lease.charges(0).device(), "0");
  EXPECT_EQ(session.lease.charges(0).vram_bytes(), (400 << 20) + 400 * 128) << "KV, and activation of 128 B a token";
  EXPECT_EQ(sidecar.Account("pool/m/a").reserved_bytes(), 400 << 20);
  EXPECT_TRUE(session.Release().ok());
  EXPECT_TRUE(sidecar.Settles(0, 0, 0));
}

// A clean end never lingers, however the caller words it. With an hour of linger this would not settle otherwise.
TEST(SessionE2eTest, ACleanEndFreesAtOnce) {
  Sidecar sidecar("leases: {abort_linger: 1h}\n");
  for (int i = 0; i < 20; ++i) {
    SessionClient session(sidecar.admission(), Ask(1000));
    ASSERT_TRUE(session.AwaitGrant());
    if (i % 2 == 0) {
      v1::SessionRequest end;
      end.mutable_end()->set_reason(v1::EndReport::COMPLETED);
      EXPECT_TRUE(session.Send(end));
      EXPECT_TRUE(session.Finish().ok());
    } else {
      EXPECT_TRUE(session.Release().ok());
    }
  }
}

TEST(SessionE2eTest, AResetLingersAndIsRevivedByAReattach) {
  Sidecar sidecar("leases: {abort_linger: 1h}\n");
  std::string lease;
  {
    SessionClient session(sidecar.admission(), Ask(1000));
    ASSERT_TRUE(session.AwaitGrant());
    lease = session.lease.name();
    session.Cancel();
    EXPECT_EQ(session.Finish().error_code(), grpc::StatusCode::CANCELLED);
  }
  EXPECT_TRUE(sidecar.Settles(0, 0, 1));
  EXPECT_EQ(sidecar.Account("pool/m/a").lingering_bytes(), 1000 << 20);
  v1::AdmitRequest again = Ask(1000);
  again.set_reattach_lease(lease);
  SessionClient session(sidecar.admission(), again);
  ASSERT_TRUE(session.AwaitGrant());
  EXPECT_EQ(session.lease.name(), lease);
  EXPECT_TRUE(sidecar.Settles(1, 0, 0));
}

TEST(SessionE2eTest, AReattachThatFindsNothingIsANewRequest) {
  Sidecar sidecar;
  v1::AdmitRequest request = Ask(10);
  request.set_reattach_lease("leases/00000001000003e8");
  SessionClient session(sidecar.admission(), request);
  EXPECT_TRUE(session.AwaitGrant());
}

TEST(SessionE2eTest, WaitsInLineAndIsGranted) {
  Sidecar sidecar;
  SessionClient first(sidecar.admission(), Ask(1000));
  ASSERT_TRUE(first.AwaitGrant());
  SessionClient second(sidecar.admission(), Ask(900));
  ASSERT_TRUE(second.AwaitQueued());
  EXPECT_EQ(second.position.position(), 1);
  EXPECT_EQ(second.position.ahead_total(), 0);
  SessionClient third(sidecar.admission(), Ask(900));
  ASSERT_TRUE(third.AwaitQueued());
  EXPECT_EQ(third.position.position(), 2);
  EXPECT_EQ(sidecar.Status().bottleneck(), "pool/m/a");
  EXPECT_EQ(sidecar.Account("pool/m/a").waiting(), 2);
  EXPECT_TRUE(first.Release().ok());
  ASSERT_TRUE(second.AwaitGrant());
  EXPECT_TRUE(second.Release().ok());
  EXPECT_TRUE(third.AwaitGrant());
}

// A head that waits for device 0 does not keep device 1 idle.
TEST(SessionE2eTest, AHeadThatWaitsForOneDeviceLeavesTheOtherOpen) {
  Sidecar sidecar("queue: {max_bypass: 0}\n");
  SessionClient holder(sidecar.admission(), Ask(1000, "", "a"));
  ASSERT_TRUE(holder.AwaitGrant());
  SessionClient head(sidecar.admission(), Ask(1000, "", "a"));
  ASSERT_TRUE(head.AwaitQueued());
  SessionClient other(sidecar.admission(), Ask(1000, "", "b"));
  ASSERT_TRUE(other.AwaitGrant());
  EXPECT_EQ(other.lease.charges(0).device(), "1");
  SessionClient behind(sidecar.admission(), Ask(2, "", "a"));
  ASSERT_TRUE(behind.AwaitQueued());
  EXPECT_TRUE(holder.Release().ok());
  EXPECT_TRUE(head.AwaitGrant());
}

TEST(SessionE2eTest, ATensorParallelLeaseIsChargedOnAllItsDevices) {
  Sidecar sidecar;
  v1::AdmitRequest request = Ask(100, "", "");
  request.set_model("t");
  SessionClient session(sidecar.admission(), request);
  ASSERT_TRUE(session.AwaitGrant());
  ASSERT_EQ(session.lease.charges_size(), 2);
  EXPECT_EQ(session.lease.charges(0).device(), "0");
  EXPECT_EQ(session.lease.charges(1).device(), "1");
}

TEST(SessionE2eTest, ANewerSessionWithTheKeyTakesOver) {
  Sidecar sidecar;
  SessionClient old(sidecar.admission(), Ask(800, "same"));
  ASSERT_TRUE(old.AwaitGrant());
  SessionClient young(sidecar.admission(), Ask(800, "same"));
  ASSERT_TRUE(young.AwaitGrant());
  EXPECT_EQ(young.lease.name(), old.lease.name());
  const grpc::Status ended = old.Finish();
  EXPECT_EQ(ended.error_code(), grpc::StatusCode::ABORTED);
  EXPECT_EQ(ReasonOf(ended), "SUPERSEDED");
  EXPECT_EQ(sidecar.Account("pool/m/a").reserved_bytes(), 800 << 20) << "nothing was released, nothing counted twice";
  EXPECT_TRUE(sidecar.Settles(1, 0, 0));
}

// The key is the listener's too: another listener's caller with the same id is somebody else.
TEST(SessionE2eTest, AnotherListenersKeyIsAnotherKey) {
  Sidecar sidecar;
  SessionClient by_unix(sidecar.admission(), Ask(400, "same"));
  ASSERT_TRUE(by_unix.AwaitGrant());
  SessionClient by_tcp(sidecar.tcp(), Ask(400, "same"));
  ASSERT_TRUE(by_tcp.AwaitGrant());
  EXPECT_NE(by_tcp.lease.name(), by_unix.lease.name());
  v1::AdmitRequest thief = Ask(200, "other");
  thief.set_reattach_lease(by_unix.lease.name());
  SessionClient stranger(sidecar.tcp(), thief);
  ASSERT_TRUE(stranger.AwaitGrant());
  EXPECT_NE(stranger.lease.name(), by_unix.lease.name());
}

TEST(SessionE2eTest, TheSameKeyWithOtherContentIsInvalid) {
  Sidecar sidecar;
  SessionClient first(sidecar.admission(), Ask(400, "same"));
  ASSERT_TRUE(first.AwaitGrant());
  SessionClient second(sidecar.admission(), Ask(401, "same"));
  const grpc::Status refused = second.Finish();
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(DetailsOf(refused).field, "request_id");
}

TEST(SessionE2eTest, ARevokeIsToldThenAcknowledged) {
  Sidecar sidecar;
  SessionClient session(sidecar.admission(), Ask(1000));
  ASSERT_TRUE(session.AwaitGrant());
  grpc::ClientContext context;
  v1::RevokeLeaseRequest revoke;
  revoke.set_name(session.lease.name());
  revoke.set_reason("maintenance");
  revoke.mutable_grace()->set_seconds(30);
  v1::RevokeLeaseResponse response;
  ASSERT_TRUE(sidecar.operations().RevokeLease(&context, revoke, &response).ok());
  const v1::SessionResponse told = session.Read();
  ASSERT_TRUE(told.has_revoke());
  EXPECT_EQ(told.revoke().grace().seconds(), 30);
  EXPECT_EQ(told.revoke().reason(), "maintenance");
  EXPECT_TRUE(sidecar.Settles(1, 0, 0));
  v1::SessionRequest ack;
  ack.mutable_revoke_ack();
  EXPECT_TRUE(session.Send(ack));
  const grpc::Status ended = session.Finish();
  EXPECT_EQ(ended.error_code(), grpc::StatusCode::ABORTED);
  EXPECT_EQ(ReasonOf(ended), "LEASE_REVOKED");
}

// --- Streams that break the protocol ---

TEST(SessionE2eTest, AHalfCloseWithoutAMessageIsInvalid) {
  Sidecar sidecar;
  SessionClient session(sidecar.admission());
  const grpc::Status status = session.Release();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(DetailsOf(status).field, "admit");
}

TEST(SessionE2eTest, TheFirstMessageMustBeAdmit) {
  Sidecar sidecar;
  for (const bool empty : {true, false}) {
    SessionClient session(sidecar.admission());
    v1::SessionRequest message;
    if (!empty) message.mutable_revoke_ack();
    session.Send(message);
    EXPECT_EQ(session.Finish().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  }
}

TEST(SessionE2eTest, AdmitTwiceIsInvalidAndLingers) {
  Sidecar sidecar("leases: {abort_linger: 100ms}\n");
  SessionClient session(sidecar.admission(), Ask(1000));
  ASSERT_TRUE(session.AwaitGrant());
  session.Send(Ask(1000));
  const grpc::Status status = session.Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(DetailsOf(status).field, "admit");
}

// Whatever comes after a refused first message, and however soon the stream is reset, the sidecar lives on.
TEST(SessionE2eTest, MessagesAfterARefusalAndEarlyResetsDoNoHarm) {
  Sidecar sidecar("leases: {abort_linger: 100ms}\n");
  for (int i = 0; i < 200; ++i) {
    SessionClient session(sidecar.admission());
    v1::AdmitRequest unknown = Ask(10);
    unknown.set_model("unknown");
    if (i % 2 == 0) session.Send(unknown);
    session.Send(Ask(10));
    session.Send(Ask(10));
    if (i % 4 >= 2) session.Cancel();
    EXPECT_FALSE(session.Finish().ok());
  }
  EXPECT_TRUE(sidecar.Settles(0, 0, 0));
}

TEST(SessionE2eTest, NegativeUsageIsInvalid) {
  Sidecar sidecar("leases: {abort_linger: 100ms}\n");
  SessionClient session(sidecar.admission(), Ask(10));
  ASSERT_TRUE(session.AwaitGrant());
  v1::SessionRequest message;
  message.mutable_usage()->set_output_tokens(-1);
  session.Send(message);
  EXPECT_EQ(session.Finish().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

// More tokens than were asked for are charged while they are reported, and counted.
TEST(SessionE2eTest, UsageBeyondTheReservationIsCharged) {
  Sidecar sidecar;
  SessionClient session(sidecar.admission(), Ask(100));
  ASSERT_TRUE(session.AwaitGrant());
  v1::SessionRequest message;
  message.mutable_usage()->set_prompt_tokens(99);
  message.mutable_usage()->set_output_tokens(51);
  session.Send(message);
  EXPECT_TRUE(Eventually([&] { return sidecar.Account("pool/m/a").reserved_bytes() == 150 << 20; }));
}

TEST(SessionE2eTest, AMessageOverTheLimitIsRefused) {
  Sidecar sidecar("limits: {message_bytes: 4KiB}\n");
  v1::AdmitRequest large = Ask(10);
  (*large.mutable_labels())["note"] = std::string(8192, 'x');
  v1::AdmitResponse response;
  EXPECT_EQ(sidecar.Admit(large, &response).error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  SessionClient session(sidecar.admission(), large);
  EXPECT_FALSE(session.AwaitGrant());
  EXPECT_FALSE(session.Finish().ok());
  EXPECT_TRUE(sidecar.Admit(Ask(10), &response).ok()) << "the next caller is served";
  sidecar.Release(response.lease().name());
}

TEST(SessionE2eTest, MoreStreamsThanTheLimitAreRefused) {
  Sidecar sidecar("limits: {streams: 2}\n");
  SessionClient first(sidecar.admission(), Ask(10));
  SessionClient second(sidecar.tcp(), Ask(10));
  ASSERT_TRUE(first.AwaitGrant());
  ASSERT_TRUE(second.AwaitGrant());
  SessionClient third(sidecar.tcp(), Ask(10));
  const grpc::Status refused = third.Finish();
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(ReasonOf(refused), "QUEUE_FULL");
  EXPECT_TRUE(DetailsOf(refused).retry_after.has_value());
}

TEST(SessionE2eTest, TheCallersDeadlineEndsItsWait) {
  Sidecar sidecar;
  SessionClient holder(sidecar.admission(), Ask(1000));
  ASSERT_TRUE(holder.AwaitGrant());
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(200));
  const auto stream = sidecar.admission().Session(&context);
  v1::SessionRequest request;
  *request.mutable_admit() = Ask(10);
  stream->Write(request);
  v1::SessionResponse response;
  while (stream->Read(&response)) {
  }
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_TRUE(sidecar.Settles(1, 0, 0));
}

}  // namespace
}  // namespace vramgate
