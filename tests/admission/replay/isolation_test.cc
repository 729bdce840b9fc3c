// What one tenant does to another, over the replay: the real gate in front of the engine model.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "tests/admission/replay/inputs.h"

namespace vramgate {
namespace {

// Waits and holds of each tenant, from what the gate decided.
class Waits final : public Recorder {
 public:
  void OnAccount(AccountId id, const std::string& name) override {
    (void)id;
    (void)name;
  }
  void OnRow(const LedgerRow& row) override { (void)row; }
  void OnDecision(const Decision& decision, Instant now) override {
    if (decision.kind == Decision::Kind::kEnd) {
      holds_s_.push_back(absl::ToDoubleSeconds(now - granted_.at(decision.lease.id.value)));
    } else if (decision.outcome == Outcome::kGranted) {
      granted_[decision.lease.id.value] = now;
      waits_s_[std::string(decision.tenant.view())].push_back(absl::ToDoubleSeconds(decision.waited));
    }
  }

  double WaitP99_s(const std::string& tenant) { return P99(waits_s_[tenant]); }
  double HoldP99_s() { return P99(holds_s_); }

 private:
  static double P99(std::vector<double>& values) {
    EXPECT_FALSE(values.empty());
    std::sort(values.begin(), values.end());
    return values.at(static_cast<size_t>(std::ceil(0.99 * static_cast<double>(values.size()))) - 1);
  }

  absl::flat_hash_map<uint64_t, Instant> granted_;
  std::map<std::string, std::vector<double>> waits_s_;
  std::vector<double> holds_s_;
};

constexpr int64_t kPoolTokens = 40'000;
constexpr int64_t kMaxTokens = 400;

struct Figures {
  double wait_p99_s = 0;  // of "polite"
  double hold_p99_s = 0;
};

Figures Measure(Trace trace, int64_t kv_tokens, int64_t max_tokens, double speed) {
  ReplayInput input = InputOf(trace, kv_tokens, max_tokens, speed);
  input.engine.step_token = absl::ZeroDuration();  // memory is all that tenants share
  Waits waits;
  const ReplayResult result = Replayed("worst_case", input, &waits);
  EXPECT_EQ(result.completed, result.requests);
  return {waits.WaitP99_s("polite"), waits.HoldP99_s()};
}

// Poisson arrivals of one tenant that would hold `load` of the pool on average, with prompts up to `most_prompt`.
void AddTenant(Trace& trace, std::mt19937_64& random, const std::string& tenant, double load, double duration_s,
               int32_t most_prompt = 1000) {
  std::uniform_int_distribution<int32_t> prompt(50, most_prompt);
  std::uniform_int_distribution<int32_t> output(20, static_cast<int32_t>(kMaxTokens));
  const double mean_tokens = (50 + most_prompt) / 2.0 + kMaxTokens;
  constexpr double kMeanHold_s = 210 * 0.008;
  std::exponential_distribution<double> gap_s(load * kPoolTokens / mean_tokens / kMeanHold_s);
  const auto index = static_cast<int32_t>(trace.tenants.size());
  trace.tenants.push_back(tenant);
  for (double at_s = gap_s(random); at_s < duration_s; at_s += gap_s(random)) {
    trace.rows.push_back({static_cast<int64_t>(at_s * 1e9), prompt(random), output(random), index});
  }
  std::sort(trace.rows.begin(), trace.rows.end(), [](const TraceRow& a, const TraceRow& b) {
    return std::pair(a.arrival_ns, a.tenant) < std::pair(b.arrival_ns, b.tenant);
  });
}

// One that asks for most of its share, beside one that asks for ten times its own, in requests that each fit that
// share: its waits are those it would have alone on its share, and one request's time more.
TEST(IsolationTest, AFloodCostsAnotherTenantOneHold) {
  for (uint64_t seed = 1; seed <= 8; ++seed) {
    for (const auto& [load, most_prompt] : {std::pair{0.5, 1000}, {0.8, 1000}, {0.5, 19'000}, {0.8, 19'000}}) {
      SCOPED_TRACE(testing::Message() << "seed " << seed << " load " << load << " prompts up to " << most_prompt);
      Trace alone;
      std::mt19937_64 random(seed);
      AddTenant(alone, random, "polite", load / 2, 120);
      Trace both = alone;
      AddTenant(both, random, "flood", 5, 120, most_prompt);
      const Figures at_its_share = Measure(alone, kPoolTokens / 2, kMaxTokens, 1);
      const Figures beside_flood = Measure(both, kPoolTokens, kMaxTokens, 1);
      EXPECT_LE(beside_flood.wait_p99_s, at_its_share.wait_p99_s + beside_flood.hold_p99_s);
    }
  }
}

// First come first served has no such bound: the test above can fail.
TEST(IsolationTest, FirstComeFirstServedDoesNotIsolate) {
  Trace alone;
  std::mt19937_64 random(1);
  AddTenant(alone, random, "polite", 0.25, 120);
  Trace both = alone;
  AddTenant(both, random, "flood", 5, 120);
  const double alone_s = Measure(alone, kPoolTokens / 2, kMaxTokens, 1).wait_p99_s;
  ReplayInput input = InputOf(both, kPoolTokens, kMaxTokens, 1);
  input.fcfs = true;
  Waits waits;
  Replayed("worst_case", input, &waits);
  EXPECT_GT(waits.WaitP99_s("polite"), 10 * (alone_s + waits.HoldP99_s()));
}

// Those that mostly wait hold the same on average, which first come first served does not give them.
TEST(IsolationTest, TheFairnessGapOfATraceIsSmall) {
  ReplayInput input = InputOf(Slice("vtc_lmsys_arena_rescaled"), 6'000, 1024, 1);
  EXPECT_LT(Replayed("worst_case", input).fairness_gap.value_or(1), 0.2);
  input.fcfs = true;
  EXPECT_GT(Replayed("worst_case", input).fairness_gap.value_or(0), 0.8);
}

// The same with real lengths and arrivals: one tenant of the trace, and all others as one.
TEST(IsolationTest, OneTenantOfATraceBesideAllOthersAsOne) {
  const Trace arena = Slice("vtc_lmsys_arena_rescaled");
  for (const char* polite : {"m5", "m4", "m7"}) {
    SCOPED_TRACE(polite);
    Trace both;
    both.tenants = {"polite", "flood"};
    Trace alone = both;
    for (const TraceRow& row : arena.rows) {
      TraceRow renamed = row;
      renamed.tenant = arena.tenants[static_cast<size_t>(row.tenant)] == polite ? 0 : 1;
      both.rows.push_back(renamed);
      if (renamed.tenant == 0) alone.rows.push_back(renamed);
    }
    const Figures at_its_share = Measure(alone, 3'000, 1024, 2);
    const Figures beside_flood = Measure(both, 6'000, 1024, 2);
    EXPECT_LE(beside_flood.wait_p99_s, at_its_share.wait_p99_s + beside_flood.hold_p99_s);
  }
}

}  // namespace
}  // namespace vramgate
