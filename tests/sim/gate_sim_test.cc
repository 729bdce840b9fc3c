// The seeded simulation. By default, many short runs; to look at one:
//
//   gate_sim_test --seed=17 --events=2000
//   gate_sim_test --seeds=100000 --events=2000     # a night's worth
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <map>
#include <string>
#include <string_view>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/sim/simulation.h"

namespace vramgate::sim {
namespace {

struct Flags {
  int64_t seed = 0;     // the first
  int64_t seeds = 600;  // how many
  int64_t events = 2000;
};
Flags flags;

TEST(GateSimTest, EveryInvariantHoldsAfterEveryEvent) {
  std::map<Outcome, int64_t> outcomes;
  std::map<Op::Kind, int64_t> kinds;
  int64_t operations = 0;
  for (int64_t seed = flags.seed; seed < flags.seed + flags.seeds; ++seed) {
    Simulation simulation(static_cast<uint64_t>(seed));
    for (const std::string& finding : simulation.Run(flags.events)) {
      ADD_FAILURE() << finding << "\n(replay: gate_sim_test --seed=" << seed << " --events=" << flags.events << ")";
    }
    if (HasFailure()) return;
    for (const auto& [outcome, n] : simulation.outcomes()) outcomes[outcome] += n;
    for (const auto& [kind, n] : simulation.kinds()) kinds[kind] += n;
    operations += simulation.operations();
  }
  std::cout << "seeds " << flags.seed << ".." << flags.seed + flags.seeds - 1 << ", " << operations << " operations\n";
  for (const auto& [outcome, n] : outcomes) std::cout << "  " << OutcomeName(outcome) << " " << n << "\n";

  // A simulation that no longer reaches something checks nothing there. The server alone says kRejectedUnknownModel,
  // early rejection is off (workload.cc), and nothing is loaded or unloaded.
  if (flags.seeds < 100) return;
  for (int o = 0; o < kOutcomes; ++o) {
    const auto outcome = static_cast<Outcome>(o);
    if (outcome == Outcome::kRejectedUnknownModel || outcome == Outcome::kRejectedDeadlineInfeasible ||
        outcome == Outcome::kRejectedModelNotLoaded) {
      continue;
    }
    EXPECT_GT(outcomes[outcome], 0) << OutcomeName(outcome) << " never happened";
  }
  for (int k = 0; k <= static_cast<int>(Op::Kind::kDrain); ++k) EXPECT_GT(kinds[static_cast<Op::Kind>(k)], 0) << k;
}

TEST(GateSimTest, TheSameSeedIsTheSameRun) {
  Simulation first(7);
  Simulation second(7);
  EXPECT_THAT(first.Run(500), testing::IsEmpty());
  EXPECT_THAT(second.Run(500), testing::IsEmpty());
  EXPECT_EQ(first.outcomes(), second.outcomes());
  EXPECT_EQ(first.kinds(), second.kinds());
}

}  // namespace

// --name=N or --name N; false: it is not that flag.
bool ParseFlag(std::string_view name, int* i, int argc, char** argv, int64_t* value) {
  const std::string_view arg = argv[*i];
  if (arg == name && *i + 1 < argc) {
    *value = std::atoll(argv[++*i]);
    return true;
  }
  if (arg.substr(0, name.size()) != name || arg.size() == name.size() || arg[name.size()] != '=') return false;
  *value = std::atoll(arg.substr(name.size() + 1).data());
  return true;
}

int Main(int argc, char** argv) {
  testing::InitGoogleMock(&argc, argv);
  bool one = false;
  for (int i = 1; i < argc; ++i) {
    int64_t* const to[] = {&flags.seed, &flags.seeds, &flags.events};
    const std::string_view names[] = {"--seed", "--seeds", "--events"};
    bool known = false;
    for (int f = 0; f < 3 && !known; ++f) {
      known = ParseFlag(names[f], &i, argc, argv, to[f]);
      if (known && f == 0) one = true;
      if (known && f == 1) one = false;
    }
    if (!known) {
      std::cerr << "gate_sim_test: unknown flag " << argv[i] << "; it takes --seed N, --seeds N, --events N\n";
      return 2;
    }
  }
  if (one) flags.seeds = 1;
  return RUN_ALL_TESTS();
}

}  // namespace vramgate::sim

int main(int argc, char** argv) {
  return vramgate::sim::Main(argc, argv);
}
