// Tenants that wait share memory x time by weight: the rules of docs/admission.md, "Between tenants".
#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "tests/admission/gate/gate_fixture.h"

namespace vramgate {
namespace {

GateConfig Weights(double a, double b) {
  GateConfig config = OneDevice(GiB(100));
  config.tenants = {{.name = "a", .weight = a}, {.name = "b", .weight = b}};
  config.queue.bypass_window = absl::ZeroDuration();  // strictly one after the other
  return config;
}

// Has each of some tenants wait as many as it ever could, and what is granted end after its time.
class Backlog {
 public:
  struct Source {
    std::string tenant;
    int64_t bytes = 0;
    double hold_s = 1;
    int64_t granted = 0;
    double byte_s = 0;       // of what has ended and of what is held, until now
    double in_flight_s = 0;  // of one request
  };
  Backlog(const GateConfig& config, std::vector<Source> sources) : gate_(config), sources_(std::move(sources)) {
    for (size_t s = 0; s < sources_.size(); ++s) {
      for (int i = 0; i < kDeep; ++i) Ask(s);
    }
  }

  // Until `at_s`, calling `look` after every end.
  template <typename Look>
  void Run(double at_s, Look look) {
    for (;;) {
      const auto first = std::min_element(running_.begin(), running_.end(),
                                          [](const Running& a, const Running& b) { return a.end_s < b.end_s; });
      if (first == running_.end() || first->end_s > at_s) return;
      const Running done = *first;
      running_.erase(first);
      now_s_ = done.end_s;
      Hear(gate_.End(done.name, now_s_));
      look();
    }
  }

  // Byte-seconds, from grant to end, of all that was granted.
  double Given(size_t source) const {
    const Source& s = sources_[source];
    return static_cast<double>(s.granted) * static_cast<double>(s.bytes) * s.hold_s;
  }
  int64_t held_bytes() const { return gate_.reserved("device/0"); }
  const Source& source(size_t s) const { return sources_[s]; }

 private:
  static constexpr int kDeep = 40;
  struct Running {
    std::string name;
    size_t source = 0;
    double end_s = 0;
  };

  void Ask(size_t s) {
    const std::string name = std::to_string(s) + ":" + std::to_string(asked_++);
    Hear(gate_.Admit(Of(sources_[s].tenant, vramgate::Ask(name, sources_[s].bytes)), now_s_));
  }
  void Hear(const Said& said) {
    for (const std::string& name : NamesOf(said, Decision::Kind::kAnswer, Outcome::kGranted)) {
      const auto s = static_cast<size_t>(name[0] - '0');
      ++sources_[s].granted;
      running_.push_back({name, s, now_s_ + sources_[s].hold_s});
      Ask(s);
    }
  }

  TestGate gate_;
  std::vector<Source> sources_;
  std::vector<Running> running_;
  double now_s_ = 0;
  int64_t asked_ = 0;
};

// At any time after the first round, two tenants that always wait have been given by their weights, but for one request
// of each where holds are as long as expected, and otherwise but for what is in flight.
void ExpectSharedByWeight(double weight_a, double weight_b, int64_t bytes_a, int64_t bytes_b, double hold_a_s,
                          double hold_b_s) {
  Backlog backlog(Weights(weight_a, weight_b), {{"a", bytes_a, hold_a_s}, {"b", bytes_b, hold_b_s}});
  backlog.Run(20, [] {});
  const double a0 = backlog.Given(0);
  const double b0 = backlog.Given(1);
  double most = 0;
  backlog.Run(400, [&] {
    most = std::max(most, std::abs((backlog.Given(0) - a0) / weight_a - (backlog.Given(1) - b0) / weight_b));
  });
  const double ratio = (backlog.Given(1) - b0) / (backlog.Given(0) - a0);
  EXPECT_NEAR(ratio, weight_b / weight_a, 0.05 * weight_b / weight_a);
  const double one_each =
      static_cast<double>(bytes_a) * hold_a_s / weight_a + static_cast<double>(bytes_b) * hold_b_s / weight_b;
  const double in_flight = static_cast<double>(GiB(100)) * std::max(hold_a_s, hold_b_s) / std::min(weight_a, weight_b);
  EXPECT_LE(most, hold_a_s == hold_b_s ? one_each : in_flight);
}

TEST(GateFairTest, TwoThatAlwaysWaitShareByWeight) {
  ExpectSharedByWeight(1, 3, GiB(10), GiB(10), 1, 1);
  ExpectSharedByWeight(1, 1, GiB(10), GiB(10), 1, 1);
  ExpectSharedByWeight(2, 0.5, GiB(7), GiB(7), 1, 1);
}

// Large and small, long and short: what counts is memory x time, not requests.
TEST(GateFairTest, LargeAndLongRequestsCountForWhatTheyHold) {
  ExpectSharedByWeight(1, 1, GiB(30), GiB(3), 1, 1);
  ExpectSharedByWeight(1, 3, GiB(5), GiB(10), 1, 1);
  ExpectSharedByWeight(1, 1, GiB(10), GiB(10), 4, 0.5);
  ExpectSharedByWeight(3, 1, GiB(10), GiB(5), 0.25, 2);
}

// Whoever waits, the memory that fits somebody is not left idle.
TEST(GateFairTest, NothingIsLeftIdleForFairness) {
  Backlog backlog(Weights(1, 1000), {{"a", GiB(10), 1}, {"b", GiB(10), 1}});
  backlog.Run(100, [&] { EXPECT_EQ(backlog.held_bytes(), GiB(100)); });
  Backlog alone(Weights(0.001, 1), {{"a", GiB(10), 1}});
  alone.Run(100, [&] { EXPECT_EQ(alone.held_bytes(), GiB(100)); });
}

// A tenant that was away takes turns from where the others are: its time off buys it nothing.
TEST(GateFairTest, IdlingBanksNothing) {
  GateConfig config = Weights(1, 1);
  config.devices[0] = {"0", GiB(10), GiB(10)};
  TestGate gate(config);
  std::vector<std::string> order;
  double now_s = 0;
  std::string holder = "a0";
  gate.Admit(Of("a", Ask("a0", GiB(10))), now_s);
  for (int i = 1; i < 30; ++i) gate.Admit(Of("a", Ask("a" + std::to_string(i), GiB(10))), now_s);
  const auto turn = [&] {
    const Said said = gate.End(holder, ++now_s);
    holder = NamesOf(said, Decision::Kind::kAnswer, Outcome::kGranted).at(0);
    order.push_back(holder.substr(0, 1));
  };
  for (int i = 0; i < 10; ++i) turn();  // alone
  order.clear();
  for (int i = 0; i < 6; ++i) gate.Admit(Of("b", Ask("b" + std::to_string(i), GiB(10))), now_s);
  for (int i = 0; i < 8; ++i) turn();
  EXPECT_EQ(std::count(order.begin(), order.end(), "b"), 4);
  EXPECT_LE(std::count(order.begin(), order.begin() + 4, "b"), 3) << "it has banked what it did not use";
}

// Whoever comes to a flood of requests that take everything waits for the one that runs, and not for the next.
TEST(GateFairTest, ANewcomerGoesBeforeTheNextOfAFlood) {
  TestGate gate(Weights(1, 1));
  for (const char* name : {"a1", "a2", "a3"}) gate.Admit(Of("a", Ask(name, GiB(100))), 0);
  gate.Admit(Of("b", Ask("b1", GiB(1))), 0.5);
  EXPECT_THAT(gate.End("a1", 1), Grants("b1"));
  EXPECT_THAT(gate.End("b1", 2), Grants("a2"));
  gate.Admit(Of("b", Ask("b2", GiB(1))), 2.5);
  EXPECT_THAT(gate.End("a2", 3), Grants("b2"));
}

// Nor does leaving for a moment shed what one has had too much.
TEST(GateFairTest, LeavingForAMomentShedsNothing) {
  GateConfig config = OneDevice(GiB(10));
  config.queue.bypass_window = absl::ZeroDuration();
  TestGate gate(config);
  for (const char* name : {"a1", "a2"}) gate.Admit(Of("a", Ask(name, GiB(5))), 0);
  gate.Admit(Of("b", Ask("b1", GiB(10))), 0);
  for (const char* name : {"a3", "a4", "a5", "a6"}) gate.Admit(Of("a", Ask(name, GiB(5))), 0);
  EXPECT_THAT(gate.End("a1", 1), Grants());  // b1 is next, and needs all of it
  EXPECT_THAT(gate.End("a2", 1), Grants("b1"));
  EXPECT_THAT(gate.End("b1", 9), Grants("a3", "a4"));  // b is gone, and not listed
  gate.Admit(Of("b", Ask("b2", GiB(10))), 9);
  EXPECT_THAT(gate.End("a3", 10), Grants("a5"));  // a is still far behind b
  EXPECT_THAT(gate.End("a4", 10), Grants("a6"));
}

// A charge is an estimate: the first before any end is for a second, and what was held in the end counts.
TEST(GateFairTest, AChargeIsCorrectedAtTheEnd) {
  TestGate gate(Weights(1, 1));
  const auto had_gib_s = [&](std::string_view lease) {
    const Tenant& tenant = gate.gate().tenants().tenant(gate.lease(lease)->tenant);
    return static_cast<double>(tenant.shares[0].had) / 1024 / 1e9 / static_cast<double>(int64_t{1} << 30);
  };
  gate.Admit(Of("a", Ask("long", GiB(10))), 0);
  gate.Admit(Of("a", Ask("other", GiB(1))), 0);
  EXPECT_NEAR(had_gib_s("other"), 11, 1e-6);
  gate.End("long", 4);
  EXPECT_NEAR(had_gib_s("other"), 41, 1e-6);
  gate.Admit(Of("b", Ask("b", GiB(2))), 4);  // now four seconds are expected; and nobody waits: it begins where a did
  EXPECT_NEAR(had_gib_s("b"), 10 + 8, 1e-6);
  gate.Vanish("other", 5);
  gate.Admit(Of("a", Ask("third", 0)), 6);
  EXPECT_NEAR(had_gib_s("third"), 41, 1e-6);  // it lingers
  gate.Advance(7);
  EXPECT_NEAR(had_gib_s("third"), 47, 1e-6);  // held for seven seconds, lingering included
}

TEST(GateFairTest, WhatALeaseGrowsByCountsFromThenOn) {
  TestGate gate(Weights(1, 1));
  gate.Admit(Of("a", Ask("a", GiB(10))), 0);
  gate.Admit(Of("a", Ask("stays", 0)), 0);
  gate.Progress("a", GiB(15), 2);
  gate.End("a", 4);
  const Tenant& tenant = gate.gate().tenants().tenant(gate.lease("stays")->tenant);
  EXPECT_NEAR(static_cast<double>(tenant.use.At(At(9))) / 1e9 / static_cast<double>(GiB(1)), 50, 1e-6);
  EXPECT_NEAR(static_cast<double>(tenant.shares[0].had) / 1024 / 1e9 / static_cast<double>(int64_t{1} << 30), 50, 1e-6);
}

// A tenant's urgent request goes before its patient ones, and not before those of another.
TEST(GateFairTest, ADeadlineOrdersOnesOwnRequests) {
  TestGate gate(Weights(1, 1));
  gate.Admit(Of("a", Ask("holder", GiB(100))), 0);
  gate.Admit(Of("b", Ask("b1", GiB(60))), 0);
  gate.Admit(Of("a", Ask("patient", GiB(60))), 0);
  Request urgent = Of("a", Ask("urgent", GiB(60)));
  urgent.deadline = At(20);
  gate.Admit(urgent, 1);
  EXPECT_THAT(gate.End("holder", 2), Grants("b1"));  // a has had the holder
  EXPECT_THAT(gate.End("b1", 3), Grants("urgent"));
  EXPECT_THAT(gate.End("urgent", 4), Grants("patient"));
}

// One that asks to be told at once goes behind its tenant's waiters.
TEST(GateFairTest, WhoDoesNotWaitPassesNobody) {
  TestGate gate(Weights(1, 1));
  gate.Admit(Of("a", Ask("holder", GiB(50))), 0);
  gate.Admit(Of("a", Ask("large", GiB(60))), 0);
  Request now = Of("a", Ask("now", GiB(10)));
  now.max_wait = absl::ZeroDuration();
  EXPECT_THAT(gate.Admit(now, 1), Refuses(Outcome::kRejectedBudgetExhausted, "now"));
}

// A retry takes up its kept place: before those who came after it.
TEST(GateFairTest, AKeptPlaceIsKept) {
  GateConfig config = Weights(1, 1);
  config.queue.max_wait = absl::Seconds(3);
  TestGate gate(config);
  gate.Admit(Of("a", Ask("holder", GiB(100))), 0);
  gate.Admit(Of("a", Ask("first", GiB(60))), 0);
  gate.Admit(Of("a", Ask("second", GiB(60))), 2);
  gate.Advance(3);
  EXPECT_EQ(gate.state("first"), LeaseState::kPlaceKept);
  gate.Admit(Of("a", Ask("first", GiB(60))), 4);
  EXPECT_THAT(gate.End("holder", 4.5), Grants("first"));
}

}  // namespace
}  // namespace vramgate
