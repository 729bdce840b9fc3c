#include "tests/bench/level_cost.h"

#include <chrono>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_format.h"
#include "admission/check.h"
#include "admission/gate/gate.h"
#include "tests/bench/counting_new.h"
#include "tests/bench/report.h"

namespace vramgate {
namespace {

double NowNs() {
  return static_cast<double>(std::chrono::steady_clock::now().time_since_epoch().count());
}

}  // namespace

LevelCost MeasureStatistical(size_t leases, int rounds) {
  constexpr int64_t kBlock = int64_t{1} << 20;
  const int64_t blocks = static_cast<int64_t>(leases) * 24;
  GateConfig config;
  config.devices = {{"0", blocks * kBlock, blocks * kBlock}};
  ModelSpec model{.name = "m"};
  model.instances = {{.name = "a", .devices = {0}, .pool_bytes = blocks * kBlock}};
  model.assurance.level = Assurance::kStatistical;
  model.assurance.block_bytes.assign(kMaxPriceClasses, kBlock);
  model.assurance.prompt_tokens_per_step = int64_t{1} << 40;
  config.models = {model};
  config.leases.max = 200'000;
  Gate gate(config);
  Effects effects;
  Instant now{1};
  std::mt19937_64 random(42);
  const auto below = [&](int64_t n) { return static_cast<int64_t>(random() % static_cast<uint64_t>(n)); };
  struct Running {
    LeaseRef lease;
    int64_t left;
    bool told;
  };
  std::vector<Running> running;
  int64_t serial = 0;
  std::vector<double> admit_ns;
  std::string id;
  int64_t allocations = 0;
  int64_t admits = 0;
  // Prompts of 1 to 16 blocks, outputs of 1 to 400 tokens, of 1,024 that they may have.
  const auto admit = [&](bool timed) {
    id = absl::StrFormat("request-%08d", serial++);
    const int64_t prompt = 16 * (1 + below(16));
    Request request;
    request.request_id = id;
    request.tenant = "team";
    request.costs[0].kv_bytes = (prompt + 1024) / 16 * kBlock;
    request.tokens = prompt + 1024;
    request.stream = true;
    request.start_costs[0].kv_bytes = prompt / 16 * kBlock;
    request.prompt_tokens = prompt;
    request.max_output_tokens = 1024;
    request.revocable = true;
    request.max_wait = absl::ZeroDuration();
    effects.Clear();
    const int64_t before = Allocations();
    const double t0 = NowNs();
    const LeaseRef lease = gate.Admit(request, now, effects).lease;
    const double ns = NowNs() - t0;
    const int64_t allocated = Allocations() - before;
    const Lease* found = gate.Find(lease.id);
    if (found == nullptr) return false;
    if (timed) {
      admit_ns.push_back(ns);
      allocations += allocated;
      ++admits;
    }
    running.push_back({lease, 1 + below(400), false});
    return true;
  };
  std::vector<Gate::StepReport::Ended> ended;
  std::vector<Gate::StepReport::Emitted> emitted;
  const auto step = [&] {
    ended.clear();
    emitted.clear();
    for (size_t i = 0; i < running.size();) {
      Running& one = running[i];
      if (--one.left > 0) {
        if (!one.told) emitted.push_back({one.lease.id, 1});
        one.told = true;
        ++i;
        continue;
      }
      ended.push_back({one.lease, -1});
      one = running.back();
      running.pop_back();
    }
    now.ns += 20'000'000;
    effects.Clear();
    const double t0 = NowNs();
    gate.Step(InstanceId{0}, {.steps = 1, .ended = ended, .emitted = emitted}, now, effects);
    return (NowNs() - t0) / 1000;
  };
  for (int i = 0; i < 1'500; ++i) {  // until lengths are known, and the pool is full of all ages
    (void)step();
    while (running.size() < leases && admit(false)) {
    }
  }
  std::vector<double> step_us;
  std::vector<double> judge_ns;
  const Outlook& outlook = *gate.outlook(InstanceId{0});
  const Account& pool = gate.budget().account(gate.fleet().instance(InstanceId{0}).pool);
  for (int r = 0; r < rounds; ++r) {
    step_us.push_back(step());
    const Lease& like = *gate.Find(running[static_cast<size_t>(below(std::ssize(running)))].lease.id);
    const double t0 = NowNs();
    const bool fits = outlook.Fits(like, pool);
    const double ns = NowNs() - t0;
    if (fits) judge_ns.push_back(ns);  // else it may have ended at the first bucket
    while (running.size() < leases && admit(true)) {
    }
  }
  CHECK(running.size() > leases * 9 / 10 && !judge_ns.empty(), "fewer leases than asked for");
  return {Median(judge_ns), Median(admit_ns), Median(step_us), static_cast<double>(allocations) / static_cast<double>(admits)};
}

}  // namespace vramgate
