#include "admission/gate/outlook.h"

#include <gtest/gtest.h>

#include <deque>
#include <memory>
#include <random>
#include <vector>

namespace vramgate {
namespace {

constexpr int64_t kBlockBytes = 1600;
constexpr int64_t kPoolBytes = 2'000 * kBlockBytes;

AssuranceSpec SpecOf(Assurance level) {
  AssuranceSpec spec;
  spec.level = level;
  spec.block_bytes = {kBlockBytes};
  return spec;
}

int64_t BlocksOf(int64_t tokens) {
  return (tokens + 15) / 16 * kBlockBytes;
}

// One outlook with its pool and the leases it has been asked about.
struct Bench {
  explicit Bench(const AssuranceSpec& spec) : lengths(1024, 1), outlook(spec, 0, kPoolBytes, lengths) {
    pool.capacity_bytes = pool.ceiling_bytes = kPoolBytes;
  }
  ~Bench() {
    while (!holders.empty()) End(holders.size() - 1, 1);
  }

  Lease& Make(int64_t prompt, int64_t most) {
    Lease& lease = leases.emplace_back();
    lease.id = {++serial};
    lease.state = LeaseState::kHeld;
    lease.prompt_tokens = prompt;
    lease.max_output_tokens = most;
    lease.start_costs[0].kv_bytes = BlocksOf(prompt);
    lease.costs[0].kv_bytes = BlocksOf(prompt + most);
    return lease;
  }
  bool Fits(const Lease& lease) const { return outlook.Fits(lease, pool); }
  void Hold(Lease& lease) {
    ASSERT_TRUE(Fits(lease));
    pool.reserved_bytes += outlook.StartBytes(lease);
    lease.used.kv_bytes = outlook.StartBytes(lease);
    outlook.Add(lease);
    holders.push_back(&lease);
  }
  void End(size_t i, int64_t tokens) {
    pool.reserved_bytes -= holders[i]->used.kv_bytes;
    outlook.Remove(*holders[i], {tokens});
    holders.erase(holders.begin() + static_cast<ptrdiff_t>(i));
  }
  // One step of all; who emits its first token now says so, who has emitted all it may ends.
  void Step() {
    outlook.Advance(1);
    for (Lease* lease : holders) {
      if (!lease->holder.prompt_done && outlook.step() > lease->holder.granted_step) {
        EXPECT_TRUE(outlook.Progress(*lease, 1));
      }
    }
    for (size_t i = holders.size(); ends && i-- > 0;) {
      if (outlook.emitted_tokens(*holders[i]) >= holders[i]->max_output_tokens) End(i, holders[i]->max_output_tokens);
    }
    outlook.Settle(
        [&](Lease& lease, int64_t bytes) {
          pool.reserved_bytes += std::max<int64_t>(0, bytes - lease.used.kv_bytes);
          lease.used.kv_bytes = std::max(bytes, lease.used.kv_bytes);
        },
        [&](Lease&) { ++lates; });
    outlook.EndWindows();
  }

  LengthClasses lengths;
  Outlook outlook;
  Account pool;
  std::deque<Lease> leases;
  std::vector<Lease*> holders;
  uint64_t serial = 0;
  bool ends = true;
  int lates = 0;
};

// The same holders, the same step: what worst_case lets in, lockstep does, and what lockstep does, statistical does.
TEST(OutlookTest, NoLevelIsStricterThanTheOneBelow) {
  std::mt19937_64 random(7);
  const auto below = [&](int64_t n) { return static_cast<int64_t>(random() % static_cast<uint64_t>(n)); };
  int worst_case = 0, lockstep = 0, statistical = 0;
  for (int run = 0; run < 40; ++run) {
    Bench a(SpecOf(Assurance::kLockstep));
    Bench b(SpecOf(Assurance::kStatistical));
    for (int i = 0; i < 300; ++i) b.lengths.Ended(0, 1 + below(400), OutputLengths::End::kStopped);
    for (int step = 0; step < 400; ++step) {
      const int64_t prompt = 1 + below(1500);
      const int64_t most = 1 + below(1000);
      Lease& in_a = a.Make(prompt, most);
      Lease& in_b = b.Make(prompt, most);
      int64_t full = BlocksOf(prompt + most);
      for (const Lease* lease : a.holders) full += lease->costs[0].kv_bytes;
      const bool worst_fits = full <= kPoolBytes;
      const bool lockstep_fits = a.Fits(in_a);
      const bool statistical_fits = b.Fits(in_b);
      ASSERT_LE(worst_fits, lockstep_fits) << "run " << run << " step " << step;
      ASSERT_LE(lockstep_fits, statistical_fits) << "run " << run << " step " << step;
      worst_case += worst_fits;
      lockstep += lockstep_fits;
      statistical += statistical_fits;
      if (lockstep_fits) {
        a.Hold(in_a);
        b.Hold(in_b);
      } else {
        a.leases.pop_back();
        b.leases.pop_back();
      }
      if (!a.holders.empty() && below(8) == 0) {
        const auto i = static_cast<size_t>(below(std::ssize(a.holders)));
        const int64_t tokens = 1 + below(100);
        a.End(i, tokens);
        b.End(i, tokens);
      }
      a.Step();
      b.Step();
      ASSERT_LE(a.pool.reserved_bytes, kPoolBytes) << "what lockstep lets in can always grow";
    }
    EXPECT_EQ(a.lates, 0);
  }
  EXPECT_LT(worst_case, lockstep);
  EXPECT_LT(lockstep, statistical);
}

TEST(OutlookTest, AHolderThatIsNotDoneWhenDeclaredIsLateAndAllIsJudgedAsAtWorstCase) {
  Bench bench(SpecOf(Assurance::kLockstep));
  bench.ends = false;
  Lease& slow = bench.Make(100, 50);
  bench.Hold(slow);
  for (int i = 0; i < 49; ++i) bench.Step();
  EXPECT_EQ(bench.lates, 0);
  EXPECT_EQ(bench.outlook.effective_level(), Assurance::kLockstep);
  for (int i = 0; i < 3; ++i) bench.Step();
  EXPECT_EQ(bench.lates, 1);
  EXPECT_EQ(bench.outlook.effective_level(), Assurance::kWorstCase);
  EXPECT_EQ(slow.used.kv_bytes, slow.costs[0].kv_bytes) << "it counts, and holds, in full";
  Lease& large = bench.Make(16 * 1'980, 100);
  EXPECT_TRUE(bench.Fits(large)) << "their sum fits";
  bench.Hold(large);
  EXPECT_FALSE(bench.Fits(bench.Make(100, 50)));
  bench.End(0, 60);
  EXPECT_EQ(bench.outlook.effective_level(), Assurance::kLockstep);
}

TEST(OutlookTest, APromptThatTakesLongerThanDeclaredIsLate) {
  Bench bench(SpecOf(Assurance::kLockstep));
  bench.Hold(bench.Make(3000, 50));  // two steps of 2048, and one that it came in the middle of
  for (int i = 0; i < 4; ++i) {
    bench.outlook.Advance(1);
    bench.outlook.Settle([](Lease&, int64_t) {}, [&](Lease&) { ++bench.lates; });
    EXPECT_EQ(bench.lates, i < 2 ? 0 : 1) << i;
  }
}

// Nobody is late who is still on the way to the engine.
TEST(OutlookTest, TheWayToTheEngineMayTakeTheStepsThatAreDeclared) {
  AssuranceSpec spec = SpecOf(Assurance::kLockstep);
  spec.start_steps = 5;
  Bench bench(spec);
  Lease& lease = bench.Make(100, 10);
  bench.Hold(lease);
  const auto none = [](Lease&) {};
  const auto step = [&](int64_t steps) {
    bench.outlook.Advance(steps);
    bench.outlook.Settle([](Lease&, int64_t) {}, none);
  };
  step(6);  // five for the way, one for the prompt
  EXPECT_EQ(bench.outlook.late(), 0);
  EXPECT_TRUE(bench.outlook.Progress(lease, 1));
  step(8);
  EXPECT_EQ(bench.outlook.late(), 0);
  EXPECT_EQ(bench.outlook.emitted_tokens(lease), 9);
  bench.End(0, 10);  // with its last token, in the step to come

  Lease& lost = bench.Make(100, 10);
  bench.Hold(lost);
  step(7);
  EXPECT_EQ(bench.outlook.late(), 1) << "the seventh step without a token";
}

TEST(OutlookTest, WhoIsAheadOfWhatIsDeclaredIsLateToo) {
  Bench bench(SpecOf(Assurance::kLockstep));
  Lease& fast = bench.Make(100, 500);
  bench.Hold(fast);
  bench.Step();
  EXPECT_TRUE(bench.outlook.Progress(fast, 1));
  bench.Step();
  EXPECT_FALSE(bench.outlook.Progress(fast, 40));
  EXPECT_EQ(bench.outlook.late(), 1);
}

TEST(OutlookTest, NoMoreSequencesThanTheEngineRuns) {
  AssuranceSpec spec = SpecOf(Assurance::kLockstep);
  spec.max_sequences = 3;
  Bench bench(spec);
  for (int i = 0; i < 3; ++i) {
    Lease& lease = bench.Make(10, 10);
    ASSERT_TRUE(bench.Fits(lease));
    bench.Hold(lease);
  }
  EXPECT_FALSE(bench.Fits(bench.Make(10, 10)));
}

TEST(OutlookTest, GivesWayByPriorityThenYouthThenSize) {
  Bench bench(SpecOf(Assurance::kStatistical));
  EXPECT_EQ(bench.outlook.Victim(), nullptr);
  Lease& old = bench.Make(100, 500);
  Lease& young = bench.Make(300, 500);
  Lease& small = bench.Make(200, 500);
  Lease& important = bench.Make(50, 500);
  important.priority = 1;
  for (Lease* lease : {&old, &young, &small, &important}) lease->revocable = true;
  bench.Hold(old);
  for (int i = 0; i < 40; ++i) bench.Step();
  for (Lease* lease : {&young, &small, &important}) bench.Hold(*lease);
  EXPECT_EQ(bench.outlook.Victim(), &small);
  small.holder.revocations = Outlook::kMostRevocations;
  EXPECT_EQ(bench.outlook.Victim(), &young);
  young.revocable = false;
  EXPECT_EQ(bench.outlook.Victim(), &old);
  old.revoking = true;
  EXPECT_EQ(bench.outlook.Victim(), &important);
}

}  // namespace
}  // namespace vramgate
