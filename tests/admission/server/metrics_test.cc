// The metrics page: the names others rely on, figures that agree with the gate's, and labels that stay bounded.
#include "admission/server/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "absl/strings/str_cat.h"
#include "tests/admission/server/exposition.h"
#include "tests/admission/server/small_gate.h"

namespace vramgate {
namespace {

class NobodyHears final : public Holder {
 public:
  void OnDecision(const Decision&) override {}
  void OnQueued(const LeaseRef&, const QueuePosition&) override {}
};

class MetricsTest : public ::testing::Test {
 protected:
  void Start(const GateConfig& config) { controller_ = std::make_unique<Controller>(config, clock_, nullptr); }
  Controller::Answer Admit(const Request& request) {
    return controller_->Admit(request, std::make_shared<NobodyHears>());
  }
  Exposition Scrape() const {
    return Exposition(
        MetricsText(Metrics(*controller_, {.build = {{"version", "1.2.3"}, {"commit", "abc"}},
                                           .log_dropped = [] { return 7; },
                                           .drifts = [this] { return drifts_; },
                                           .prompts = [this](ModelId m) { return ratios_.ViewOf(m); },
                                           .gateways =
                                               [this] {
                                                 return std::vector<std::shared_ptr<const GatewayCounters>>{
                                                     gateways_.begin(), gateways_.end()};
                                               }})));
  }

  FakeClock clock_;
  std::unique_ptr<Controller> controller_;
  TokenRatios ratios_{1};
  std::vector<std::shared_ptr<GatewayCounters>> gateways_ = {std::make_shared<GatewayCounters>(),
                                                             std::make_shared<GatewayCounters>()};
  std::vector<Metrics::DriftView> drifts_ = {{"llama", "a", 0.97}};
};

TEST_F(MetricsTest, ShowsWhatEnginesHaveOfWhatWasPredicted) {
  Start(SmallGate());
  drifts_ = {{"llama", "a", 0.97}, {"llama", "b", 1.5}};
  Exposition page = Scrape();
  EXPECT_EQ(page["vramgate_estimate_drift_ratio{model=\"llama\",instance=\"a\"}"], 0.97);
  EXPECT_EQ(page["vramgate_estimate_drift_ratio{model=\"llama\",instance=\"b\"}"], 1.5);
}

TEST_F(MetricsTest, HasTheNamesThatOthersRelyOn) {
  Start(SmallGate());
  Admit(Asks("r", kGiB));
  const std::map<std::string, std::string> expected = {
      {"vramgate_admissions_total", "counter"},
      {"vramgate_queue_wait_seconds", "histogram"},
      {"vramgate_queue_size", "gauge"},
      {"vramgate_queue_tokens", "gauge"},
      {"vramgate_budget_bytes", "gauge"},
      {"vramgate_reserved_bytes", "gauge"},
      {"vramgate_fixed_bytes", "gauge"},
      {"vramgate_lingering_bytes", "gauge"},
      {"vramgate_foreign_bytes", "gauge"},
      {"vramgate_leases", "gauge"},
      {"vramgate_decision_seconds", "histogram"},
      {"vramgate_queue_wait_estimate_ratio", "histogram"},
      {"vramgate_overuse_total", "counter"},
      {"vramgate_plugin_connections", "gauge"},
      {"vramgate_revocations_total", "counter"},
      {"vramgate_telemetry_age_seconds", "gauge"},
      {"vramgate_log_dropped_total", "counter"},
      {"vramgate_build_info", "gauge"},
      {"vramgate_estimate_drift_ratio", "gauge"},
      {"vramgate_assurance_info", "gauge"},
      {"vramgate_tenant_byte_seconds_total", "counter"},
      {"vramgate_late_leases", "gauge"},
      {"vramgate_assurance_fallbacks_total", "counter"},
      {"vramgate_risk_wanted", "gauge"},
      {"vramgate_risk_rate", "gauge"},
      {"vramgate_risk_rate_bound", "gauge"},
      {"vramgate_risk_deviations", "gauge"},
      {"vramgate_risk_windows_total", "counter"},
      {"vramgate_prompt_tokens_source_total", "counter"},
      {"vramgate_prompt_tokens_ratio", "histogram"},
      {"vramgate_prompt_tokens_per_byte", "gauge"},
      {"vramgate_gateway_requests_total", "counter"},
      {"vramgate_gateway_headers_total", "counter"},
  };
  EXPECT_EQ(Scrape().types(), expected);
}

TEST_F(MetricsTest, SaysWherePromptTokensComeFromAndHowWrongTheyWere) {
  Start(SmallGate());
  Request request = Asks("r", kGiB);
  request.prompt_source = PromptSource::kBound;
  Admit(request);
  ratios_.Learn(ModelId{0}, {PromptSource::kCalibrated, 1000, 200, 300});
  for (int i = 0; i < TokenRatios::kLeastSamples; ++i)
    ratios_.Learn(ModelId{0}, {PromptSource::kBound, 4000, 4000, 1000});
  Exposition page = Scrape();
  EXPECT_EQ(page["vramgate_prompt_tokens_source_total{model=\"llama\",source=\"bound\"}"], 1);
  EXPECT_EQ(page["vramgate_prompt_tokens_source_total{model=\"llama\",source=\"given\"}"], 0);
  EXPECT_EQ(page["vramgate_prompt_tokens_ratio_count{model=\"llama\",source=\"calibrated\"}"], 1);
  EXPECT_EQ(page["vramgate_prompt_tokens_ratio_sum{model=\"llama\",source=\"calibrated\"}"], 1.5);
  EXPECT_EQ(page["vramgate_prompt_tokens_ratio_bucket{model=\"llama\",source=\"calibrated\",le=\"1\"}"], 0);
  EXPECT_NEAR(page["vramgate_prompt_tokens_per_byte{model=\"llama\",up_to_bytes=\"4096\"}"], 0.275, 0.001);
}

TEST_F(MetricsTest, SumsWhatListenersHaveMadeOfRequests) {
  Start(SmallGate());
  gateways_[0]->Count(Endpoint::kChat);
  gateways_[1]->Count(Endpoint::kChat);
  gateways_[1]->Count(GatewayCounters::Header::kTenant, GatewayCounters::Use::kUntrusted);
  Exposition page = Scrape();
  EXPECT_EQ(page["vramgate_gateway_requests_total{endpoint=\"chat\"}"], 2);
  EXPECT_EQ(page["vramgate_gateway_requests_total{endpoint=\"unpriced\"}"], 0);
  EXPECT_EQ(page["vramgate_gateway_headers_total{header=\"tenant\",use=\"untrusted\"}"], 1);
}

TEST_F(MetricsTest, FollowsALeaseFromGrantToEnd) {
  Start(SmallGate());
  const Controller::Answer held = Admit(Asks("r", 4 * kGiB));
  Admit(Asks("next", 6 * kGiB));  // waits: 9 GiB are there beside the fixed one
  Exposition page = Scrape();
  EXPECT_EQ(page["vramgate_budget_bytes{account=\"device/0\"}"], 10.0 * kGiB);
  EXPECT_EQ(page["vramgate_fixed_bytes{account=\"device/0\"}"], 1.0 * kGiB);
  EXPECT_EQ(page["vramgate_reserved_bytes{account=\"device/0\"}"], 4.0 * kGiB);
  EXPECT_EQ(page["vramgate_leases{model=\"llama\",state=\"held\"}"], 1);
  EXPECT_EQ(page["vramgate_leases{model=\"llama\",state=\"waiting\"}"], 1);
  EXPECT_EQ(page["vramgate_queue_size{model=\"llama\",priority=\"0\"}"], 1);
  EXPECT_EQ(page["vramgate_queue_tokens{model=\"llama\",priority=\"0\"}"], 100);
  EXPECT_EQ(page["vramgate_admissions_total{model=\"llama\",outcome=\"granted\"}"], 1);
  EXPECT_EQ(page["vramgate_decision_seconds_count"], 2);

  clock_.Advance(absl::Seconds(3));
  controller_->End(held.lease, Gate::EndKind::kClientGone);
  page = Scrape();
  EXPECT_EQ(page["vramgate_lingering_bytes{account=\"device/0\"}"], 4.0 * kGiB);
  EXPECT_EQ(page["vramgate_leases{model=\"llama\",state=\"lingering\"}"], 1);

  clock_.Advance(absl::Seconds(2));
  controller_->Advance();
  page = Scrape();
  EXPECT_EQ(page["vramgate_lingering_bytes{account=\"device/0\"}"], 0);
  EXPECT_EQ(page["vramgate_reserved_bytes{account=\"device/0\"}"], 6.0 * kGiB);
  EXPECT_EQ(page["vramgate_queue_size{model=\"llama\",priority=\"0\"}"], 0);
  EXPECT_EQ(page["vramgate_admissions_total{model=\"llama\",outcome=\"aborted\"}"], 1);
  const std::string granted = "{model=\"llama\",priority=\"0\",outcome=\"granted\"";
  EXPECT_EQ(page["vramgate_queue_wait_seconds_bucket" + granted + ",le=\"0.001\"}"], 1);
  EXPECT_EQ(page["vramgate_queue_wait_seconds_bucket" + granted + ",le=\"2.5\"}"], 1);
  EXPECT_EQ(page["vramgate_queue_wait_seconds_bucket" + granted + ",le=\"5\"}"], 2);
  EXPECT_EQ(page["vramgate_queue_wait_seconds_sum" + granted + "}"], 5);
}

TEST_F(MetricsTest, CountsRevocationsAndOveruses) {
  Start(SmallGate());
  const Controller::Answer held = Admit(Asks("r", kGiB));
  Costs used;
  used[0] = {.kv_bytes = 20 * kGiB};
  controller_->Progress(held.lease.id, 0, used);
  controller_->Revoke(held.lease.id, absl::Seconds(5), "maintenance");
  const Exposition page = Scrape();
  EXPECT_EQ(page["vramgate_overuse_total{model=\"llama\",reason=\"progress\"}"], 1);
  EXPECT_EQ(page["vramgate_revocations_total{model=\"llama\",reason=\"operator\"}"], 1);
}

TEST_F(MetricsTest, ShowsTheAssuranceInForceAndItsRisk) {
  GateConfig config = SmallGate();
  config.models[0].instances[0].pool_bytes = kGiB;
  AssuranceSpec& assurance = config.models[0].assurance;
  assurance.level = Assurance::kStatistical;
  assurance.risk = 0.01;
  assurance.block_bytes = {16 * kMiB};
  assurance.report_within = absl::Seconds(1);
  Start(config);
  const std::string a = "model=\"llama\",instance=\"a\"";
  EXPECT_EQ(Scrape()["vramgate_assurance_info{" + a + ",level=\"statistical\",in_force=\"worst_case\"}"], 1)
      << "nobody has reported";
  std::vector<LeaseId> stop;
  std::vector<LeaseId> lost;
  controller_->Step(InstanceId{0}, {}, &stop, &lost);
  Request request = Asks("r", 64 * kMiB);
  request.start_costs[0] = {.kv_bytes = 16 * kMiB};
  request.prompt_tokens = 16;
  request.max_output_tokens = 48;
  Admit(request);
  Exposition page = Scrape();
  EXPECT_EQ(page["vramgate_assurance_info{" + a + ",level=\"statistical\",in_force=\"statistical\"}"], 1);
  EXPECT_EQ(page["vramgate_reserved_bytes{account=\"pool/llama/a\"}"], 16.0 * kMiB);
  EXPECT_EQ(page["vramgate_risk_wanted{" + a + "}"], 0.01);
  EXPECT_EQ(page["vramgate_risk_rate{" + a + "}"], 0);
  EXPECT_EQ(page["vramgate_risk_rate_bound{" + a + "}"], 1);
  EXPECT_EQ(page["vramgate_assurance_fallbacks_total{model=\"llama\"}"], 0);
  clock_.Advance(absl::Seconds(1));
  controller_->Advance();
  page = Scrape();
  EXPECT_EQ(page["vramgate_assurance_info{" + a + ",level=\"statistical\",in_force=\"worst_case\"}"], 1);
  EXPECT_EQ(page["vramgate_reserved_bytes{account=\"pool/llama/a\"}"], 64.0 * kMiB);
  EXPECT_EQ(page["vramgate_late_leases{" + a + "}"], 1);
  EXPECT_EQ(page["vramgate_assurance_fallbacks_total{model=\"llama\"}"], 1);
}

TEST_F(MetricsTest, ShowsDevicesAsTheyWereRead) {
  Start(SmallGate());
  EXPECT_EQ(Scrape().Count("vramgate_telemetry_age_seconds"), 0);
  controller_->SetReading(AccountId{0}, {.capacity_bytes = 7 * kGiB,
                                         .ceiling_bytes = 10 * kGiB,
                                         .foreign_bytes = 3 * kGiB,
                                         .total_bytes = 11 * kGiB,
                                         .read_at = clock_.Now()});
  clock_.Advance(absl::Milliseconds(1500));
  const Exposition page = Scrape();
  EXPECT_EQ(page["vramgate_telemetry_age_seconds{device=\"0\"}"], 1.5);
  EXPECT_EQ(page["vramgate_foreign_bytes{account=\"device/0\"}"], 3.0 * kGiB);
  EXPECT_EQ(page["vramgate_budget_bytes{account=\"device/0\"}"], 7.0 * kGiB);
}

TEST_F(MetricsTest, SaysWhatRunsAndWhatTheLogLacks) {
  Start(SmallGate());
  const Exposition page = Scrape();
  EXPECT_EQ(page["vramgate_build_info{commit=\"abc\",version=\"1.2.3\"}"], 1);
  EXPECT_EQ(page["vramgate_log_dropped_total"], 7);
}

TEST_F(MetricsTest, AnAccountWithoutALimitHasNoBudget) {
  GateConfig config = SmallGate();
  config.tenants = {{.name = "free"}, {.name = "bound", .limit_bytes = 2 * kGiB}};
  Start(config);
  Admit(Asks("r", kGiB, "free"));
  const Exposition page = Scrape();
  EXPECT_TRUE(std::isnan(page["vramgate_budget_bytes{account=\"tenant/free\"}"]));
  EXPECT_EQ(page["vramgate_budget_bytes{account=\"tenant/bound\"}"], 2.0 * kGiB);
  EXPECT_EQ(page["vramgate_reserved_bytes{account=\"tenant/free\"}"], 1.0 * kGiB);
}

TEST_F(MetricsTest, TenantsBeyondTheCapAreSummed) {
  GateConfig config = SmallGate();
  config.default_tenant_limit_bytes = kGiB;
  Start(config);
  for (int i = 0; i < 150; ++i) Admit(Asks("r", kMiB, absl::StrCat("tenant \"", i, "\"\n")));
  const Exposition page = Scrape();
  EXPECT_EQ(page.Count("vramgate_reserved_bytes", "tenant/"), 100);
  EXPECT_EQ(page["vramgate_reserved_bytes{account=\"other\"}"], 50.0 * kMiB);
  EXPECT_EQ(page.Sum("vramgate_reserved_bytes"), 2 * 150.0 * kMiB);  // on the device, and of the tenants
}

TEST_F(MetricsTest, CountsWhatTenantsHaveHeld) {
  GateConfig config = SmallGate();
  config.tenants = {{.name = "listed"}};
  Start(config);
  const LeaseRef ended = Admit(Asks("r", kGiB, "a b")).lease;
  clock_.Advance(absl::Seconds(2));
  controller_->End(ended, Gate::EndKind::kCompleted);
  Admit(Asks("r", 2 * kGiB, "a b"));
  clock_.Advance(absl::Seconds(3));
  const Exposition page = Scrape();
  EXPECT_DOUBLE_EQ(page["vramgate_tenant_byte_seconds_total{tenant=\"a%20b\"}"], 8.0 * kGiB);
  EXPECT_EQ(page["vramgate_tenant_byte_seconds_total{tenant=\"listed\"}"], 0);
}

TEST_F(MetricsTest, WhatManyTenantsHaveHeldIsSummed) {
  Start(SmallGate());
  for (int i = 0; i < 500; ++i) {  // more than are remembered
    const LeaseRef lease = Admit(Asks("r", kMiB, absl::StrCat("t", i))).lease;
    clock_.Advance(absl::Seconds(1));
    controller_->End(lease, Gate::EndKind::kCompleted);
  }
  const Exposition page = Scrape();
  EXPECT_EQ(page.Count("vramgate_tenant_byte_seconds_total"), 101);
  EXPECT_NEAR(page.Sum("vramgate_tenant_byte_seconds_total"), 500.0 * kMiB, 1);
}

TEST_F(MetricsTest, ATenantThatCameBackIsShownOnce) {
  GateConfig config = SmallGate();
  config.default_tenant_limit_bytes = 4 * kGiB;
  Start(config);
  const LeaseRef a = Admit(Asks("r", kGiB, "a")).lease;
  const LeaseRef b = Admit(Asks("r", kGiB, "b")).lease;
  controller_->End(a, Gate::EndKind::kCompleted);
  controller_->End(b, Gate::EndKind::kCompleted);
  Admit(Asks("r", kGiB, "a"));  // may now have the account that was b's
  Admit(Asks("r", 2 * kGiB, "c"));
  const Exposition page = Scrape();
  EXPECT_EQ(page["vramgate_reserved_bytes{account=\"tenant/a\"}"], 1.0 * kGiB);
  EXPECT_EQ(page["vramgate_budget_bytes{account=\"tenant/a\"}"], 4.0 * kGiB);
}

TEST_F(MetricsTest, PrioritiesBeyondTheCapAreSummed) {
  Start(SmallGate());
  Admit(Asks("holder", 9 * kGiB));
  for (int i = 0; i < 150; ++i) {
    const std::string id = absl::StrCat(i);
    Request request = Asks(id, kGiB);
    request.priority = 1000 * (i + 1);
    Admit(request);
  }
  const Exposition page = Scrape();
  EXPECT_EQ(page.Sum("vramgate_queue_size"), 150);
  EXPECT_EQ(page.Sum("vramgate_queue_tokens"), 150 * 100);
  EXPECT_EQ(page["vramgate_queue_size{model=\"llama\",priority=\"other\"}"], 50);
  EXPECT_EQ(page.Count("vramgate_queue_size"), 102);  // and the 0
}

TEST_F(MetricsTest, RefusalsBeforeAModelShareARowWithAModelOfTheSameName) {
  GateConfig config = SmallGate();
  config.models[0].name = "other";
  Start(config);
  Admit(Asks("large", 20 * kGiB));
  controller_->CountRefusal(Outcome::kRejectedUnknownModel, "r-1", "team-a");
  controller_->CountRefusal(Outcome::kRejectedNeverFits, "", "");
  const Exposition page = Scrape();
  EXPECT_EQ(page["vramgate_admissions_total{model=\"other\",outcome=\"rejected_unknown_model\"}"], 1);
  EXPECT_EQ(page["vramgate_admissions_total{model=\"other\",outcome=\"rejected_never_fits\"}"], 2);
}

TEST_F(MetricsTest, NamesThatWouldBreakALineAreEscaped) {
  GateConfig config = SmallGate();
  config.models[0].name = "ll\"am\\a\n";
  Start(config);
  Admit(Asks("r", kGiB));
  EXPECT_EQ(Scrape()[R"(vramgate_admissions_total{model="ll\"am\\a\n",outcome="granted"})"], 1);
}

}  // namespace
}  // namespace vramgate
