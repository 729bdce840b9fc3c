// Assurance above worst_case over real gRPC: a plugin reports an engine's steps, callers give way when told to.
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "tests/e2e/sidecar.h"
#include "tests/support/sidecar_yaml.h"

namespace vramgate {
namespace {

// Model `s` beside the others: 1000 tokens of KV; steps are reported by the TCP listener, where not counted by the
// clock.
std::string WithLevel(std::string_view level, std::string_view steps = "{report_within: 1h}") {
  return absl::StrCat(ModelYaml("s", 2000, R"(      - {name: a, devices: ["0"], kv_pool: 1000MiB}
    min_tokens_per_s: 10000)"),
                      "    assurance: ", std::string(level), "\n    steps: ", std::string(steps), "\n",
                      "trusted_cost: [\"127.0.0.1:0\"]\n");
}

v1::AdmitRequest Generate(const std::string& id, int64_t prompt, int64_t most) {
  v1::AdmitRequest request;
  request.set_model("s");
  request.set_request_id(id);
  request.mutable_demand()->set_prompt_tokens(prompt);
  request.mutable_demand()->set_max_output_tokens(most);
  request.set_revocable(true);
  return request;
}

// The engine's plugin.
class Plugin {
 public:
  explicit Plugin(v1::AdmissionService::Stub& stub) {
    context_.set_deadline(absl::ToChronoTime(absl::Now() + kPatience));
    stream_ = stub.ReportSteps(&context_);
  }
  ~Plugin() { (void)Finish(); }
  // Sends what was noted, and forgets it. False: the stream is over.
  bool Step(int64_t steps = 1) {
    report_.set_model("s");
    report_.set_instance("a");
    report_.set_steps(steps);
    const bool sent = stream_->Write(report_);
    report_.Clear();
    answer.Clear();
    return sent && stream_->Read(&answer);
  }
  void Ended(const std::string& lease, int64_t tokens) {
    report_.add_ended()->set_lease(lease);
    report_.mutable_ended(report_.ended_size() - 1)->set_output_tokens(tokens);
  }
  void Emitted(const std::string& lease, int64_t tokens) {
    report_.add_emitted()->set_lease(lease);
    report_.mutable_emitted(report_.emitted_size() - 1)->set_output_tokens(tokens);
  }
  grpc::Status Finish() {
    if (finished_) return grpc::Status::OK;
    finished_ = true;
    stream_->WritesDone();
    return stream_->Finish();
  }

  v1::StepAnswer answer;  // to the last report

 private:
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::StepReport, v1::StepAnswer>> stream_;
  v1::StepReport report_;
  bool finished_ = false;
};

TEST(LevelsE2eTest, OnlyATrustedListenerReportsSteps) {
  Sidecar sidecar(WithLevel("lockstep"));
  Plugin stranger(sidecar.admission());
  EXPECT_FALSE(stranger.Step());
  EXPECT_EQ(stranger.Finish().error_code(), grpc::StatusCode::PERMISSION_DENIED);
  Plugin plugin(sidecar.tcp());
  plugin.Ended("leases/00000001000003e8", 1);
  plugin.Emitted("no lease", 1);
  ASSERT_TRUE(plugin.Step());
  EXPECT_EQ(plugin.answer.lost_size(), 2);
  EXPECT_EQ(sidecar.Status().assurances(0).in_force(), "lockstep");
  EXPECT_TRUE(plugin.Finish().ok());
  EXPECT_TRUE(Eventually([&] { return sidecar.Status().assurances(0).silent(); })) << "nobody reports any more";
  EXPECT_EQ(sidecar.Status().assurances(0).in_force(), "worst_case");
}

TEST(LevelsE2eTest, AReservationGrowsAheadOfTheTokens) {
  Sidecar sidecar(WithLevel("lockstep"));
  Plugin plugin(sidecar.tcp());
  ASSERT_TRUE(plugin.Step(0));
  SessionClient session(sidecar.admission(), Generate("a", 10, 200));
  ASSERT_TRUE(session.AwaitGrant());
  EXPECT_EQ(session.lease.assurance(), "lockstep");
  EXPECT_TRUE(session.lease.revocable());
  EXPECT_EQ(session.lease.granted_tokens(), 16) << "steps.lookahead_tokens";
  EXPECT_EQ(sidecar.Account("pool/s/a").reserved_bytes(), 26 << 20);
  v1::SessionRequest extend;
  extend.mutable_extend()->set_tokens(8);
  ASSERT_TRUE(session.Send(extend));
  plugin.Emitted(session.lease.name(), 1);
  ASSERT_TRUE(plugin.Step());
  ASSERT_TRUE(plugin.Step(20));
  const v1::SessionResponse response = session.Read();
  ASSERT_TRUE(response.has_extended()) << response.ShortDebugString();
  EXPECT_EQ(response.extended().name(), session.lease.name());
  EXPECT_GE(response.extended().granted_tokens(), 24);
  v1::SessionRequest end;
  end.mutable_end()->mutable_usage()->set_output_tokens(21);
  ASSERT_TRUE(session.Send(end));
  EXPECT_TRUE(session.Finish().ok());
}

// Nobody reports: the clock counts, and a holder that is still there after all its steps is late, never forgotten.
TEST(LevelsE2eTest, StepsAreCountedByTheClockWhereTheConfigSaysHowMany) {
  Sidecar sidecar(WithLevel("lockstep", "{per_s: 500, prompt_tokens: 1000}"));
  EXPECT_EQ(sidecar.Status().assurances(0).in_force(), "lockstep") << "it waits for no plugin";
  SessionClient session(sidecar.admission(), Generate("a", 10, 100));
  ASSERT_TRUE(session.AwaitGrant());
  EXPECT_EQ(session.lease.assurance(), "lockstep");
  const auto reserved_mib = [&] { return sidecar.Account("pool/s/a").reserved_bytes() >> 20; };
  EXPECT_TRUE(Eventually([&] { return reserved_mib() == 110; })) << reserved_mib() << " of 110 MiB after 0.2 s";
  EXPECT_TRUE(Eventually([&] { return sidecar.Status().assurances(0).late() == 1; }));
  EXPECT_EQ(sidecar.Status().assurances(0).in_force(), "worst_case");
  EXPECT_EQ(reserved_mib(), 110);
  EXPECT_TRUE(session.Release().ok());
  EXPECT_EQ(sidecar.Status().assurances(0).in_force(), "lockstep");
}

// A caller without a Session says what it has used and wants covered as it renews.
TEST(LevelsE2eTest, ARenewalExtendsAndSaysWhatIsCovered) {
  Sidecar sidecar(WithLevel("lockstep"));
  Plugin plugin(sidecar.tcp());
  ASSERT_TRUE(plugin.Step(0));
  v1::AdmitResponse granted;
  ASSERT_TRUE(sidecar.Admit(Generate("a", 10, 200), &granted).ok());
  EXPECT_EQ(granted.lease().granted_tokens(), 16);
  plugin.Emitted(granted.lease().name(), 1);
  ASSERT_TRUE(plugin.Step());
  ASSERT_TRUE(plugin.Step(20));
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(absl::Now() + kPatience));
  const auto stream = sidecar.admission().RenewLeases(&context);
  const auto renew = [&](int64_t emitted_tokens, int64_t extend_tokens) {
    v1::RenewLeasesRequest request;
    v1::Renewal& renewal = *request.add_renewals();
    renewal.set_name(granted.lease().name());
    renewal.mutable_usage()->set_output_tokens(emitted_tokens);
    if (extend_tokens > 0) renewal.mutable_extend()->set_tokens(extend_tokens);
    v1::RenewLeasesResponse response;
    EXPECT_TRUE(stream->Write(request) && stream->Read(&response));
    return response;
  };
  const v1::RenewLeasesResponse first = renew(21, 0);
  ASSERT_EQ(first.leases_size(), 1) << first.ShortDebugString();
  EXPECT_GE(first.leases(0).granted_tokens(), 21) << "what the steps have made of it";
  const v1::RenewLeasesResponse second = renew(21, 8);
  ASSERT_EQ(second.leases_size(), 1) << second.ShortDebugString();
  EXPECT_GE(second.leases(0).granted_tokens(), 29);
  EXPECT_EQ(sidecar.Account("pool/s/a").reserved_bytes() >> 20, 10 + second.leases(0).granted_tokens());
  stream->WritesDone();
  EXPECT_TRUE(stream->Finish().ok());
  EXPECT_FALSE(sidecar.Release(granted.lease().name()).already_released());
}

// Outputs were short, so more are let in than may fit; then they turn long, and somebody gives way and comes again.
TEST(LevelsE2eTest, WhoGivesWayComesAgainAndNoByteIsLost) {
  Sidecar sidecar(absl::StrCat(WithLevel("statistical\n    risk: 0.1"), "queue: {rejoin_window: 60s}\n"));
  Plugin plugin(sidecar.tcp());
  ASSERT_TRUE(plugin.Step(0));
  for (int i = 0; i < 300; ++i) {
    v1::AdmitResponse response;
    ASSERT_TRUE(sidecar.Admit(Generate("", 16, 400), &response).ok());
    plugin.Ended(response.lease().name(), 2);
    ASSERT_TRUE(plugin.Step());
  }
  std::vector<std::unique_ptr<SessionClient>> holders;
  while (true) {
    const std::string id = absl::StrCat("long", holders.size());
    auto session = std::make_unique<SessionClient>(sidecar.admission(), Generate(id, 16, 400));
    const v1::SessionResponse first = session->Read();
    if (!first.has_granted()) break;
    session->lease = first.granted();
    EXPECT_EQ(session->lease.assurance(), "statistical");
    plugin.Emitted(session->lease.name(), 1);
    holders.push_back(std::move(session));
  }
  ASSERT_GT(holders.size(), 4u) << "worst_case lets in 2";
  ASSERT_TRUE(plugin.Step());
  for (int i = 0; i < 400 && plugin.answer.stop_size() == 0; ++i) ASSERT_TRUE(plugin.Step());
  ASSERT_GT(plugin.answer.stop_size(), 0);
  const auto victim = std::find_if(holders.begin(), holders.end(),
                                   [&](const auto& s) { return s->lease.name() == plugin.answer.stop(0); });
  ASSERT_NE(victim, holders.end());
  const v1::SessionResponse told = (*victim)->Read();
  ASSERT_TRUE(told.has_revoke());
  EXPECT_EQ(told.revoke().reason(), "its KV pool is full");
  EXPECT_GT(told.revoke().grace().seconds(), 0);
  v1::SessionRequest ack;
  ack.mutable_revoke_ack();
  ASSERT_TRUE((*victim)->Send(ack));
  EXPECT_EQ((*victim)->Finish().error_code(), grpc::StatusCode::ABORTED);
  SessionClient again(sidecar.admission(), Generate(absl::StrCat("long", victim - holders.begin()), 16, 400));
  for (const auto& session : holders) {
    if (session != *victim) plugin.Ended(session->lease.name(), 100);
  }
  ASSERT_TRUE(plugin.Step());
  EXPECT_TRUE(again.AwaitGrant());
  EXPECT_EQ(again.lease.name(), (*victim)->lease.name()) << "its place was kept";
  EXPECT_TRUE(again.Release().ok());
}

}  // namespace
}  // namespace vramgate
