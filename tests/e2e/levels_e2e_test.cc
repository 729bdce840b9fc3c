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

// Model `s` beside the others: 1000 tokens of KV; steps are reported by the TCP listener.
std::string WithLevel(std::string_view level) {
  return absl::StrCat(ModelYaml("s", 2000, R"(      - {name: a, devices: ["0"], kv_pool: 1000MiB}
    min_tokens_per_s: 10000)"),
                      "    assurance: ", std::string(level), "\n    steps: {report_within: 1h}\n",
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
