// A small model, all of it: every sequence of events up to a depth, each compared with the reference after its last
// event and then let settle. What a seed may miss, this cannot, within its size.
#include <algorithm>
#include <cstdint>
#include <iostream>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/sim/conformance.h"

namespace vramgate::sim {
namespace {

struct Step {
  enum class Kind : uint8_t { kAsk, kEnd, kVanish, kRenew, kRevoke, kReport, kShortTime, kLongTime, kCut, kRise };
  Kind kind = Kind::kAsk;
  size_t request = 0;
};

struct Scenario {
  std::string name;
  GateConfig config;
  std::vector<Request> requests;
  size_t depth = 6;
  std::vector<Step::Kind> kinds;  // what may happen
  size_t asks = 1;                // how often each may ask
};

// One path from the start, replayed.
class Run {
 public:
  explicit Run(const Scenario& scenario)
      : scenario_(scenario), both_(scenario.config), callers_(scenario.requests.size()) {}

  void Do(Step step, bool compare) {
    if (step.kind == Step::Kind::kShortTime) now_ = now_ + absl::Milliseconds(400);
    if (step.kind == Step::Kind::kLongTime) now_ = now_ + absl::Milliseconds(1100);
    Apply(OpOf(step), compare, step.request);
  }

  bool Enabled(Step step) const {
    const Caller& caller = callers_[step.request];
    switch (step.kind) {
      case Step::Kind::kAsk:
        return caller.asked < scenario_.asks;
      case Step::Kind::kEnd:
      case Step::Kind::kVanish:
      case Step::Kind::kRenew:
      case Step::Kind::kRevoke:
      case Step::Kind::kReport:
        return both_.gate().Find(caller.lease.id) != nullptr;
      case Step::Kind::kShortTime:
      case Step::Kind::kLongTime:
        return step.request == 0;
      case Step::Kind::kCut:
        return step.request == 0 && !cut_;
      case Step::Kind::kRise:
        return step.request == 0 && cut_;
    }
    return false;
  }

  // Everybody leaves, time passes.
  void Settle() {
    if (cut_) Do({Step::Kind::kRise}, false);
    for (const Caller& caller : callers_) Apply(Op::End(now_, caller.lease, Gate::EndKind::kCompleted), false, 0);
    while (both_.gate().NextTimer() != kNever) {
      now_ = std::max(now_, both_.gate().NextTimer());
      Apply(Op::Of(Op::Kind::kAdvance, now_), false, 0);
    }
    both_.CheckSettled();
  }

  const std::vector<std::string>& findings() const { return both_.findings(); }

 private:
  struct Caller {
    LeaseRef lease;
    size_t asked = 0;
  };

  Op OpOf(Step step) {
    Caller& caller = callers_[step.request];
    switch (step.kind) {
      case Step::Kind::kAsk:
        ++caller.asked;
        return Op::Admit(now_, scenario_.requests[step.request]);
      case Step::Kind::kEnd:
        return Op::End(now_, caller.lease, Gate::EndKind::kCompleted);
      case Step::Kind::kVanish:
        return Op::End(now_, caller.lease, Gate::EndKind::kClientGone);
      case Step::Kind::kRenew:
        return Op::Of(Op::Kind::kRenew, now_, caller.lease, scenario_.requests[step.request].caller);
      case Step::Kind::kRevoke: {
        Op op = Op::Of(Op::Kind::kRevoke, now_, caller.lease);
        op.grace = absl::Milliseconds(500);
        return op;
      }
      case Step::Kind::kReport: {
        Op op = Op::Of(Op::Kind::kProgress, now_, caller.lease);
        op.used.fill({scenario_.requests[step.request].costs[0].kv_bytes + 1, 0});
        return op;
      }
      case Step::Kind::kShortTime:
      case Step::Kind::kLongTime:
        return Op::Of(Op::Kind::kAdvance, now_);
      case Step::Kind::kCut:
      case Step::Kind::kRise: {
        cut_ = step.kind == Step::Kind::kCut;
        Op op = Op::Of(Op::Kind::kReading, now_);
        const DeviceSpec& device = scenario_.config.devices[0];
        op.reading.ceiling_bytes = device.ceiling_bytes;
        op.reading.capacity_bytes = device.capacity_bytes - (cut_ ? 1 : 0);
        return op;
      }
    }
    return {};
  }

  void Apply(const Op& op, bool compare, size_t request) {
    OpResult result;
    compare ? both_.Apply(op, &result) : both_.ApplyQuietly(op, &result);
    if (op.kind == Op::Kind::kAdmit && result.lease.id.value != 0) callers_[request].lease = result.lease;
  }

  const Scenario& scenario_;
  Conformance both_;
  std::vector<Caller> callers_;
  Instant now_{1};
  bool cut_ = false;
};

class Explorer {
 public:
  explicit Explorer(const Scenario& scenario) : scenario_(scenario) {}

  void Explore() {
    Run run(scenario_);
    for (size_t i = 0; i < path_.size(); ++i) run.Do(path_[i], i + 1 == path_.size());
    ++sequences;
    std::vector<Step> next;
    for (Step::Kind kind : scenario_.kinds) {
      for (size_t r = 0; r < scenario_.requests.size(); ++r) {
        if (run.Enabled({kind, r})) next.push_back({kind, r});
      }
    }
    const bool last = path_.size() == scenario_.depth;
    if (last && run.findings().empty()) run.Settle();
    if (!run.findings().empty()) {
      found = run.findings().front();
      for (const Step& step : path_) {
        found +=
            "\n  step " + std::to_string(static_cast<int>(step.kind)) + " of request " + std::to_string(step.request);
      }
    }
    if (last) return;
    for (const Step& step : next) {
      path_.push_back(step);
      if (found.empty()) Explore();
      path_.pop_back();
    }
  }

  int64_t sequences = 0;
  std::string found;

 private:
  const Scenario& scenario_;
  std::vector<Step> path_;
};

Request Ask(std::string_view id, int64_t bytes, int model = 0, std::string_view tenant = "") {
  Request r;
  r.request_id = id;
  r.caller = 1;
  r.tenant = tenant;
  r.model = ModelId{model};
  r.costs.fill({bytes, 0});
  r.tokens = bytes;
  r.stream = true;
  return r;
}

GateConfig Devices(int64_t devices, int64_t capacity_bytes) {
  GateConfig config;
  for (int64_t d = 0; d < devices; ++d) config.devices.push_back({std::to_string(d), capacity_bytes, capacity_bytes});
  config.queue.max_requests = 3;
  config.queue.max_bypass = 1;
  config.leases.abort_linger = absl::Milliseconds(500);
  config.leases.max = 5;
  return config;
}

// Sanitizers cost thirtyfold, and look for what shows on short sequences too.
#ifdef VRAMGATE_SANITIZED
constexpr size_t kMostDepth = 5;
constexpr int64_t kLeastSequences = 1'000;
#else
constexpr size_t kMostDepth = 8;
constexpr int64_t kLeastSequences = 150'000;
#endif

void ExpectNoFinding(Scenario scenario) {
  scenario.depth = std::min(scenario.depth, kMostDepth);
  Explorer explorer(scenario);
  explorer.Explore();
  EXPECT_EQ(explorer.found, "");
  EXPECT_GE(explorer.sequences, kLeastSequences);
  std::cout << explorer.sequences << " sequences of up to " << scenario.depth << " events\n";
}

using K = Step::Kind;

// One device, sizes 1 to 3, a capacity that moves: order, closing, one bypass, cancel.
TEST(GateExhaustiveTest, OneDevice) {
  Scenario scenario{.config = Devices(1, 3), .depth = 7};
  scenario.config.models = {{"m", {{.name = "a", .devices = {0}}}}};
  scenario.requests = {Ask("a", 3), Ask("b", 2), Ask("c", 1), Ask("d", 1)};
  scenario.kinds = {K::kAsk, K::kEnd, K::kLongTime, K::kCut, K::kRise};
  ExpectNoFinding(std::move(scenario));
}

// Two devices and a tensor-parallel instance over both: all or nothing, devices closed one by one.
TEST(GateExhaustiveTest, TwoDevices) {
  Scenario scenario{.config = Devices(2, 2), .depth = 8};
  scenario.config.models = {{"left", {{.name = "a", .devices = {0}}}},
                            {"right", {{.name = "a", .devices = {1}}}},
                            {"both", {{.name = "a", .devices = {0, 1}}}}};
  scenario.requests = {Ask("a", 2, 0), Ask("b", 1, 2), Ask("c", 1, 0), Ask("d", 2, 1)};
  scenario.kinds = {K::kAsk, K::kEnd, K::kLongTime};
  ExpectNoFinding(std::move(scenario));
}

// A tenant's share and two instances of one model: closing of the share alone, the most free of two.
TEST(GateExhaustiveTest, TenantsAndInstances) {
  Scenario scenario{.config = Devices(2, 2), .depth = 7};
  scenario.config.models = {
      {"m", {{.name = "a", .devices = {0}}, {.name = "b", .devices = {1}}, {.name = "c", .devices = {0, 1}}}}};
  scenario.config.tenants = {{"t", 2}};
  scenario.requests = {Ask("a", 1, 0, "t"), Ask("b", 2, 0, "t"), Ask("c", 2, 0, "u"), Ask("d", 1, 0, "u")};
  scenario.kinds = {K::kAsk, K::kEnd, K::kCut, K::kRise, K::kLongTime};
  ExpectNoFinding(std::move(scenario));
}

// Two tenants, the second with three times the weight, and two priorities: turns, lifts, charges and their correction.
TEST(GateExhaustiveTest, SharesOfTwoTenants) {
  Scenario scenario{.config = Devices(1, 3), .depth = 7};
  scenario.config.models = {{"m", {{.name = "a", .devices = {0}}}}};
  scenario.config.devices[0].capacity_bytes = scenario.config.devices[0].ceiling_bytes = 3 << 20;
  scenario.config.tenants = {{.name = "t", .weight = 1}, {.name = "u", .weight = 3}};
  scenario.config.queue.ageing = absl::Seconds(1);
  scenario.requests = {Ask("a", 2 << 20, 0, "t"), Ask("b", 1 << 20, 0, "t"), Ask("c", 1 << 20, 0, "u"),
                       Ask("d", 2 << 20, 0, "u"), Ask("e", 2 << 20, 0, "u")};
  scenario.requests[1].priority = 1;
  scenario.kinds = {K::kAsk, K::kEnd, K::kLongTime};
  ExpectNoFinding(std::move(scenario));
}

// A lease's whole life, with keys used again: join, take over, rejoin, linger, revive, expire, revoke, overuse.
TEST(GateExhaustiveTest, LivesOfTwoLeases) {
  Scenario scenario{.config = Devices(1, 2), .depth = 6, .asks = 2};
  scenario.config.models = {{"m", {{.name = "a", .devices = {0}}}}};
  scenario.config.leases.confirm_within = absl::Milliseconds(800);
  scenario.config.leases.ttl = absl::Seconds(1);
  scenario.config.queue.max_wait = absl::Seconds(1);
  scenario.requests = {Ask("a", 1), Ask("b", 2)};
  scenario.requests[0].stream = false;
  scenario.kinds = {K::kAsk, K::kEnd, K::kVanish, K::kRenew, K::kRevoke, K::kReport, K::kShortTime, K::kLongTime};
  ExpectNoFinding(std::move(scenario));
}

}  // namespace
}  // namespace vramgate::sim
