// Admit, RenewLeases, ReleaseLease and Estimate over real gRPC.
#include <gtest/gtest.h>

#include <thread>

#include "tests/e2e/sidecar.h"

namespace vramgate {
namespace {

TEST(UnaryE2eTest, AGrantIsKeptByRenewalAndEndedByRelease) {
  Sidecar sidecar;
  v1::AdmitResponse response;
  ASSERT_TRUE(sidecar.Admit(Ask(600, "r"), &response).ok());
  const v1::Lease& lease = response.lease();
  EXPECT_TRUE(lease.has_expire_time());
  EXPECT_GT(lease.renew_interval().seconds() + lease.renew_interval().nanos(), 0);
  v1::AdmitResponse same;
  ASSERT_TRUE(sidecar.Admit(Ask(600, "r"), &same).ok()) << "the same id again is the same lease";
  EXPECT_EQ(same.lease().name(), lease.name());
  EXPECT_FALSE(sidecar.Release(lease.name()).already_released());
  EXPECT_TRUE(sidecar.Release(lease.name()).already_released());
  EXPECT_TRUE(sidecar.Release("leases/00000001000003e8").already_released());
}

TEST(UnaryE2eTest, AReleaseOfAMalformedNameIsInvalid) {
  Sidecar sidecar;
  for (const char* name : {"", "lease", "leases/", "leases/zzz", "leases/-1"}) {
    grpc::ClientContext context;
    v1::ReleaseLeaseRequest request;
    request.set_name(name);
    v1::ReleaseLeaseResponse response;
    EXPECT_EQ(sidecar.admission().ReleaseLease(&context, request, &response).error_code(),
              grpc::StatusCode::INVALID_ARGUMENT)
        << name;
  }
}

TEST(UnaryE2eTest, AnotherListenersLeaseCannotBeReleased) {
  Sidecar sidecar;
  v1::AdmitResponse response;
  ASSERT_TRUE(sidecar.Admit(Ask(600), &response).ok());
  grpc::ClientContext context;
  v1::ReleaseLeaseRequest request;
  request.set_name(response.lease().name());
  v1::ReleaseLeaseResponse released;
  ASSERT_TRUE(sidecar.tcp().ReleaseLease(&context, request, &released).ok());
  EXPECT_TRUE(released.already_released());
  EXPECT_TRUE(sidecar.Settles(1, 0, 0));
  EXPECT_FALSE(sidecar.Release(response.lease().name()).already_released());
}

TEST(UnaryE2eTest, AGrantThatNobodyConfirmsLingersThenGoes) {
  Sidecar sidecar("leases: {confirm_within: 200ms, abort_linger: 1s}\n");
  v1::AdmitResponse response;
  ASSERT_TRUE(sidecar.Admit(Ask(600), &response).ok());
  EXPECT_TRUE(Eventually([&] { return sidecar.Status().lingering() == 1; }));
  EXPECT_TRUE(sidecar.Settles(0, 0, 0));
  EXPECT_TRUE(sidecar.Release(response.lease().name()).already_released());
}

TEST(UnaryE2eTest, ZeroMaxWaitDecidesNow) {
  Sidecar sidecar;
  SessionClient holder(sidecar.admission(), Ask(1000));
  ASSERT_TRUE(holder.AwaitGrant());
  v1::AdmitRequest request = Ask(10);
  request.mutable_max_wait();
  v1::AdmitResponse response;
  const grpc::Status refused = sidecar.Admit(request, &response);
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(ReasonOf(refused), "BUDGET_EXHAUSTED");
  EXPECT_TRUE(DetailsOf(refused).retry_after.has_value());
}

TEST(UnaryE2eTest, TheRpcDeadlineEndsTheWait) {
  Sidecar sidecar;
  SessionClient holder(sidecar.admission(), Ask(1000));
  ASSERT_TRUE(holder.AwaitGrant());
  v1::AdmitResponse response;
  EXPECT_EQ(sidecar.Admit(Ask(10), &response, absl::Milliseconds(200)).error_code(),
            grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_TRUE(sidecar.Settles(1, 0, 0));
}

TEST(UnaryE2eTest, WhoTimedOutFindsItsPlaceKept) {
  Sidecar sidecar("queue: {rejoin_window: 1h}\n");
  SessionClient holder(sidecar.admission(), Ask(1000));
  ASSERT_TRUE(holder.AwaitGrant());
  v1::AdmitRequest early = Ask(900, "early");
  early.mutable_max_wait()->set_seconds(1);
  v1::AdmitResponse response;
  std::thread caller([&] {
    const grpc::Status refused = sidecar.Admit(early, &response);
    EXPECT_EQ(refused.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
    EXPECT_EQ(ReasonOf(refused), "QUEUE_TIMEOUT");
  });
  EXPECT_TRUE(Eventually([&] { return sidecar.Status().waiting() == 1; }));
  SessionClient later(sidecar.admission(), Ask(900, "later"));
  caller.join();
  ASSERT_TRUE(later.AwaitQueued());
  SessionClient again(sidecar.admission(), Ask(900, "early"));
  ASSERT_TRUE(again.AwaitQueued());
  EXPECT_EQ(again.position.ahead_total(), 0) << "before the one that came after it";
  EXPECT_TRUE(holder.Release().ok());
  EXPECT_TRUE(again.AwaitGrant());
}

TEST(UnaryE2eTest, ValidateOnlyPricesAndHoldsNothing) {
  Sidecar sidecar;
  v1::AdmitRequest request = Ask(600);
  request.set_validate_only(true);
  v1::AdmitResponse response;
  ASSERT_TRUE(sidecar.Admit(request, &response).ok());
  EXPECT_EQ(response.lease().name(), "");
  EXPECT_EQ(response.lease().charges(0).vram_bytes(), (600 << 20) + 600 * 128);
  EXPECT_EQ(sidecar.Account("pool/m/a").reserved_bytes(), 0);
  request.set_model("unknown");
  EXPECT_EQ(sidecar.Admit(request, &response).error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST(UnaryE2eTest, EstimateExplainsAndHoldsNothing) {
  Sidecar sidecar;
  const auto estimate = [&](int64_t tokens) {
    grpc::ClientContext context;
    v1::EstimateRequest request;
    *request.mutable_admit() = Ask(tokens);
    v1::EstimateResponse response;
    EXPECT_TRUE(sidecar.admission().Estimate(&context, request, &response).ok());
    return response;
  };
  v1::EstimateResponse free = estimate(600);
  EXPECT_EQ(free.vram_bytes(), (600 << 20) + 600 * 128);
  EXPECT_TRUE(free.fits_now());
  EXPECT_TRUE(free.fits_ever());
  EXPECT_GT(free.terms_size(), 0);
  EXPECT_FALSE(free.quality().empty());
  EXPECT_FALSE(estimate(1001).fits_ever());
  SessionClient holder(sidecar.admission(), Ask(1000));
  ASSERT_TRUE(holder.AwaitGrant());
  EXPECT_FALSE(estimate(600).fits_now());
  EXPECT_TRUE(estimate(600).fits_ever());
  EXPECT_TRUE(sidecar.Settles(1, 0, 0));
}

TEST(UnaryE2eTest, RefusalsSayWhatIsWrong) {
  Sidecar sidecar;
  v1::AdmitResponse response;
  EXPECT_EQ(ReasonOf(sidecar.Admit(Ask(1001), &response)), "NEVER_FITS");
  v1::AdmitRequest request = Ask(10);
  request.mutable_demand()->set_prompt_tokens(-5);
  const grpc::Status negative = sidecar.Admit(request, &response);
  EXPECT_EQ(negative.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(DetailsOf(negative).field, "demand.prompt_tokens");
  request = Ask(10, std::string(257, 'x'));
  EXPECT_EQ(DetailsOf(sidecar.Admit(request, &response)).field, "request_id");
  request = Ask(10, "\xff\xfe");
  EXPECT_FALSE(sidecar.Admit(request, &response).ok()) << "not UTF-8";
}

// --- RenewLeases ---

class RenewE2eTest : public testing::Test {
 protected:
  v1::RenewLeasesResponse Renew(const v1::RenewLeasesRequest& request) {
    grpc::ClientContext context;
    const auto stream = sidecar_.admission().RenewLeases(&context);
    v1::RenewLeasesResponse response;
    EXPECT_TRUE(stream->Write(request));
    EXPECT_TRUE(stream->Read(&response));
    stream->WritesDone();
    EXPECT_TRUE(stream->Finish().ok());
    return response;
  }
  std::string Granted() {
    v1::AdmitResponse response;
    EXPECT_TRUE(sidecar_.Admit(Ask(100), &response).ok());
    return response.lease().name();
  }

  Sidecar sidecar_{"leases: {confirm_within: 1h, ttl: 1h, abort_linger: 1h}\n"};
};

TEST_F(RenewE2eTest, ABatchSaysWhatIsKeptLostAndRevoked) {
  const std::string kept = Granted();
  const std::string revoked = Granted();
  {
    grpc::ClientContext context;
    v1::RevokeLeaseRequest revoke;
    revoke.set_name(revoked);
    revoke.mutable_grace()->set_seconds(3600);
    v1::RevokeLeaseResponse response;
    ASSERT_TRUE(sidecar_.operations().RevokeLease(&context, revoke, &response).ok());
  }
  v1::RenewLeasesRequest request;
  for (const std::string& name : {kept, revoked, std::string("leases/00000001000003e8"), std::string("nonsense")}) {
    request.add_renewals()->set_name(name);
  }
  const v1::RenewLeasesResponse response = Renew(request);
  ASSERT_EQ(response.leases_size(), 2);
  EXPECT_EQ(response.leases(0).name(), kept);
  EXPECT_TRUE(response.leases(0).has_expire_time());
  ASSERT_EQ(response.revoked_size(), 1);
  EXPECT_EQ(response.revoked(0), revoked);
  ASSERT_EQ(response.lost_size(), 2);
  EXPECT_EQ(response.lost(0), "leases/00000001000003e8");
  EXPECT_EQ(response.lost(1), "nonsense");

  v1::RenewLeasesRequest ack;
  ack.add_renewals()->set_name(revoked);
  ack.mutable_renewals(0)->set_revoke_ack(true);
  Renew(ack);
  EXPECT_TRUE(sidecar_.Settles(1, 0, 0));
  EXPECT_FALSE(sidecar_.Release(kept).already_released());
}

TEST_F(RenewE2eTest, ARenewalRevivesALingeringLease) {
  const std::string lease = Granted();
  sidecar_.Release(lease, v1::EndReport::CLIENT_GONE);
  EXPECT_TRUE(sidecar_.Settles(0, 0, 1));
  v1::RenewLeasesRequest request;
  request.add_renewals()->set_name(lease);
  EXPECT_EQ(Renew(request).leases_size(), 1);
  EXPECT_TRUE(sidecar_.Settles(1, 0, 0));
  sidecar_.Release(lease, v1::EndReport::BACKEND_ERROR);
}

TEST_F(RenewE2eTest, ManyBatchesOnOneStream) {
  const std::string lease = Granted();
  grpc::ClientContext context;
  const auto stream = sidecar_.admission().RenewLeases(&context);
  v1::RenewLeasesRequest request;
  for (int i = 0; i < 100; ++i) request.add_renewals()->set_name(lease);
  for (int i = 0; i < 10; ++i) {
    v1::RenewLeasesResponse response;
    ASSERT_TRUE(stream->Write(request));
    ASSERT_TRUE(stream->Read(&response));
    EXPECT_EQ(response.leases_size(), 100);
  }
  for (int i = 100; i <= 10'000; ++i) request.add_renewals()->set_name(lease);
  stream->Write(request);
  v1::RenewLeasesResponse response;
  EXPECT_FALSE(stream->Read(&response));
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  sidecar_.Release(lease);
}

}  // namespace
}  // namespace vramgate
