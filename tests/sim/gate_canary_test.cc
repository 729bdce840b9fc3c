// Gates that are wrong on purpose: each must be found out by the same checks that the simulation runs. A check that
// stops finding its canary has stopped checking.
#include <algorithm>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/sim/simulation.h"

namespace vramgate::sim {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

// The findings of the first seed that has one with `wanted` in it.
std::vector<std::string> FindingsOf(const Sabotage& sabotage, const std::string& wanted = "") {
  for (uint64_t seed = 0; seed < 60; ++seed) {
    std::vector<std::string> findings = Simulation(seed, sabotage).Run(1500);
    for (const std::string& text : findings) {
      if (text.find(wanted) != std::string::npos) return findings;
    }
  }
  return {};
}

bool IsGrant(const Decision& d) {
  return d.kind == Decision::Kind::kAnswer && d.outcome == Outcome::kGranted;
}

TEST(GateCanaryTest, TheGateAsItIsHasNoFindings) {
  EXPECT_THAT(FindingsOf({}), IsEmpty());
}

TEST(GateCanaryTest, OneByteBeyondTheCapacity) {
  Sabotage sabotage;
  sabotage.config = [](GateConfig& config) { ++config.devices[0].capacity_bytes; };
  // It believes in its byte, and shows it nowhere.
  sabotage.tamper = [](const Op&, Effects& effects) {
    for (LedgerRow& row : effects.rows) {
      if (Index(row.account) == 0) --row.capacity_bytes;
    }
  };
  EXPECT_THAT(FindingsOf(sabotage, "I2: overrun of account 0"), Not(IsEmpty()));
}

TEST(GateCanaryTest, AnOverrunInTheRows) {
  Sabotage sabotage;
  sabotage.tamper = [](const Op&, Effects& effects) {
    for (LedgerRow& row : effects.rows) {
      if (row.event == LedgerEvent::kGrant) row.capacity_bytes = row.used_bytes - 1;
    }
  };
  EXPECT_THAT(FindingsOf(sabotage), Contains(HasSubstr("I2: overrun")));
}

TEST(GateCanaryTest, ALostWakeUp) {
  Sabotage sabotage;  // of several that a release lets go, only the first hears of it
  sabotage.tamper = [](const Op& op, Effects& effects) {
    if (op.kind == Op::Kind::kAdmit) return;
    const auto first = std::find_if(effects.decisions.begin(), effects.decisions.end(), IsGrant);
    if (first == effects.decisions.end()) return;
    effects.decisions.erase(std::remove_if(first + 1, effects.decisions.end(), IsGrant), effects.decisions.end());
  };
  EXPECT_THAT(FindingsOf(sabotage), Contains(HasSubstr("decisions differ")));
}

TEST(GateCanaryTest, AnAnswerGivenTwice) {
  Sabotage sabotage;
  sabotage.tamper = [](const Op&, Effects& effects) {
    const auto grant = std::find_if(effects.decisions.begin(), effects.decisions.end(), IsGrant);
    if (grant != effects.decisions.end()) effects.decisions.push_back(Decision(*grant));
  };
  EXPECT_THAT(FindingsOf(sabotage), Contains(HasSubstr("I3: an answer to no open call")));
}

TEST(GateCanaryTest, AnAnswerNeverGiven) {
  Sabotage sabotage;
  sabotage.tamper = [](const Op& op, Effects& effects) {
    if (op.kind == Op::Kind::kAdmit) effects.decisions.clear();
  };
  EXPECT_THAT(FindingsOf(sabotage), Contains(HasSubstr("I3: ")));
}

TEST(GateCanaryTest, BytesNotGivenBack) {
  Sabotage sabotage;
  sabotage.tamper = [](const Op&, Effects& effects) {
    const auto released = [](const LedgerRow& row) { return row.event == LedgerEvent::kRelease; };
    effects.rows.erase(std::remove_if(effects.rows.begin(), effects.rows.end(), released), effects.rows.end());
  };
  EXPECT_THAT(FindingsOf(sabotage), Contains(HasSubstr("I1: lease")));
}

TEST(GateCanaryTest, ARunningSumThatIsWrong) {
  Sabotage sabotage;
  sabotage.tamper = [](const Op&, Effects& effects) {
    if (!effects.rows.empty()) ++effects.rows.back().used_bytes;
  };
  EXPECT_THAT(FindingsOf(sabotage), Contains(HasSubstr("where its rows sum to")));
}

TEST(GateCanaryTest, AReleaseNotHeard) {
  Sabotage sabotage;
  sabotage.deaf = [](const Op& op) { return op.kind == Op::Kind::kEnd && op.end == Gate::EndKind::kCompleted; };
  EXPECT_THAT(FindingsOf(sabotage), Contains(HasSubstr("decisions differ")));
}

TEST(GateCanaryTest, ATimerThatNeverRings) {
  Sabotage sabotage;
  sabotage.deaf = [](const Op& op) { return op.kind == Op::Kind::kAdvance; };
  EXPECT_THAT(FindingsOf(sabotage), Contains(HasSubstr("decisions differ")));
}

// Fair shares: the gate is right, and the reference leaves something out.
struct Flaw {
  std::string name;
  bool ReferenceGate::Flaws::* flag;
};
class GateCanaryShareTest : public testing::TestWithParam<Flaw> {};

TEST_P(GateCanaryShareTest, IsFoundInWhoGoesNext) {
  Sabotage sabotage;
  sabotage.flaws.*GetParam().flag = true;
  sabotage.shares_unseen = true;
  EXPECT_THAT(FindingsOf(sabotage, "decisions differ"), Not(IsEmpty()));
}

INSTANTIATE_TEST_SUITE_P(All, GateCanaryShareTest,
                         testing::Values(Flaw{"NobodyIsLifted", &ReferenceGate::Flaws::no_lift},
                                         Flaw{"NothingIsCharged", &ReferenceGate::Flaws::no_charge},
                                         Flaw{"NoCorrectionAtTheEnd", &ReferenceGate::Flaws::no_correction},
                                         Flaw{"NoWeights", &ReferenceGate::Flaws::no_weights},
                                         Flaw{"NoMean", &ReferenceGate::Flaws::no_mean},
                                         Flaw{"AgeBeyondTheHighest", &ReferenceGate::Flaws::no_bound}),
                         [](const auto& info) { return info.param.name; });

// Each limit of the policy, one off.
struct OneOff {
  std::string name;
  void (*apply)(GateConfig&);
};
class GateCanaryLimitTest : public testing::TestWithParam<OneOff> {};

TEST_P(GateCanaryLimitTest, IsFound) {
  Sabotage sabotage;
  sabotage.config = GetParam().apply;
  EXPECT_THAT(FindingsOf(sabotage), Not(IsEmpty()));
}

INSTANTIATE_TEST_SUITE_P(
    All, GateCanaryLimitTest,
    testing::Values(OneOff{"MaxBypass", [](GateConfig& c) { ++c.queue.max_bypass; }},
                    OneOff{"BypassWindow", [](GateConfig& c) { c.queue.bypass_window += absl::Milliseconds(50); }},
                    OneOff{"Ageing", [](GateConfig& c) { c.queue.ageing += absl::Seconds(1); }},
                    OneOff{"FirstComeFirstServed", [](GateConfig& c) { c.queue.fair = false; }},
                    OneOff{"TenantWeight",
                           [](GateConfig& c) {
                             for (TenantSpec& t : c.tenants) t.weight *= 2;
                           }},
                    OneOff{"DefaultTenantWeight", [](GateConfig& c) { c.default_tenant_weight *= 2; }},
                    OneOff{"QueueRequests", [](GateConfig& c) { ++c.queue.max_requests; }},
                    OneOff{"QueueTokens", [](GateConfig& c) { ++c.queue.max_tokens; }},
                    OneOff{"MaxWait", [](GateConfig& c) { c.queue.max_wait += absl::Nanoseconds(1); }},
                    OneOff{"RejoinWindow", [](GateConfig& c) { c.queue.rejoin_window += absl::Nanoseconds(1); }},
                    OneOff{"Ttl", [](GateConfig& c) { c.leases.ttl += absl::Nanoseconds(1); }},
                    OneOff{"ConfirmWithin", [](GateConfig& c) { c.leases.confirm_within += absl::Nanoseconds(1); }},
                    OneOff{"AbortLinger", [](GateConfig& c) { c.leases.abort_linger += absl::Nanoseconds(1); }},
                    OneOff{"MaxLeases", [](GateConfig& c) { ++c.leases.max; }},
                    OneOff{"Ceiling",
                           [](GateConfig& c) {
                             for (DeviceSpec& d : c.devices) --d.ceiling_bytes;
                           }},
                    OneOff{"TenantLimit",
                           [](GateConfig& c) {
                             for (TenantSpec& t : c.tenants) t.limit_bytes -= t.limit_bytes != kUnlimitedBytes;
                           }},
                    OneOff{"DefaultTenantLimit",
                           [](GateConfig& c) {
                             c.default_tenant_limit_bytes -= c.default_tenant_limit_bytes != kUnlimitedBytes;
                           }}),
    [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace vramgate::sim
