// EASY backfill: who is first in line starts no later than it was told, whoever goes past it.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "tests/admission/gate/gate_fixture.h"

namespace vramgate {
namespace {

constexpr int64_t kBlock = 1000;
constexpr int64_t kPromptTokensPerStep = 512;

int64_t Blocks(int64_t tokens) {
  return (tokens + 15) / 16 * kBlock;
}

GateConfig Pool(Assurance level, int64_t blocks, int32_t max_bypass) {
  GateConfig config = OneDevice(blocks * kBlock);
  config.models[0].instances[0].pool_bytes = blocks * kBlock;
  AssuranceSpec& spec = config.models[0].assurance;
  spec.level = level;
  spec.typical_output_tokens = 400;
  spec.prompt_tokens_per_step = kPromptTokensPerStep;
  spec.max_sequences = 40;
  spec.block_bytes.assign(kMaxPriceClasses, kBlock);
  config.queue.max_bypass = max_bypass;
  config.queue.bypass_window = absl::ZeroDuration();  // what is asked of worst_case alone
  config.queue.max_wait = absl::InfiniteDuration();
  return config;
}

struct Job {
  int64_t prompt = 1;
  int64_t cap = 1;
  int64_t output = 1;
};

std::vector<Job> Jobs(uint64_t seed, int count, bool to_the_cap) {
  std::mt19937_64 random(seed);
  const auto below = [&](int64_t n) { return 1 + static_cast<int64_t>(random() % static_cast<uint64_t>(n)); };
  std::vector<Job> jobs;
  for (int i = 0; i < count; ++i) {
    Job job{.prompt = below(below(4) == 1 ? 900 : 200), .cap = below(below(3) == 1 ? 400 : 60)};
    job.output = to_the_cap ? job.cap : below(job.cap);
    jobs.push_back(job);
  }
  return jobs;
}

// An engine that does just what is declared of it, and a gate in front.
class Engine {
 public:
  Engine(const GateConfig& config, const std::vector<Job>& jobs) : gate_(config), jobs_(jobs) {
    gate_.Start(At(0), effects_);
    ids_.resize(jobs.size());
    for (size_t i = 0; i < jobs.size(); ++i) ids_[i] = std::to_string(i);
  }

  void Arrive() {
    const size_t i = arrived_++;
    Request request = Ask(ids_[i], Blocks(jobs_[i].prompt + jobs_[i].cap));
    request.start_costs.fill({.kv_bytes = Blocks(jobs_[i].prompt)});
    request.prompt_tokens = jobs_[i].prompt;
    request.max_output_tokens = jobs_[i].cap;
    request.revocable = true;
    const LeaseRef lease = gate_.Admit(request, Now(), effects_).lease;
    job_of_[lease.id.value] = i;
    Listen();
  }

  void Step() {
    std::vector<Gate::StepReport::Ended> ended;
    std::vector<Gate::StepReport::Emitted> first;
    int64_t prompt_tokens = kPromptTokensPerStep;
    for (Running& r : running_) {
      const int64_t taken = std::min(prompt_tokens, r.prompt_left);
      prompt_tokens -= taken;
      const bool in_prompt = r.prompt_left > 0;
      r.prompt_left -= taken;
      if (r.prompt_left > 0) continue;
      if (in_prompt) first.push_back({r.lease.id, 1});
      if (++r.emitted == jobs_[r.job].output) ended.push_back({r.lease, r.emitted});
    }
    std::erase_if(running_, [&](const Running& r) { return r.emitted == jobs_[r.job].output; });
    ended_ += std::ssize(ended);
    ++step_;
    gate_.Step(InstanceId{0}, {.steps = 1, .ended = ended, .emitted = first}, Now(), effects_);
    Listen();
  }

  bool done() const { return ended_ == std::ssize(jobs_); }
  bool all_arrived() const { return arrived_ == jobs_.size(); }
  int64_t step() const { return step_; }
  int64_t promised() const { return promised_; }
  int64_t passes() const { return passes_; }
  const Gate& gate() const { return gate_; }

 private:
  struct Running {
    size_t job = 0;
    LeaseRef lease;
    int64_t prompt_left = 0;
    int64_t emitted = 0;
  };
  Instant Now() const { return At(0.02 * static_cast<double>(step_)); }

  void Listen() {
    gate_.CheckInvariants();
    const Outlook& outlook = *gate_.outlook(InstanceId{0});
    for (const Decision& decision : effects_.decisions) {
      if (decision.kind != Decision::Kind::kAnswer) continue;
      ASSERT_EQ(decision.outcome, Outcome::kGranted);
      const size_t job = job_of_.at(decision.lease.id.value);
      if (decision.lease.id == first_) {
        ++promised_;
        EXPECT_LE(outlook.step(), first_step_) << "job " << job;
      } else if (gate_.Find(first_) != nullptr && gate_.Find(first_)->state == LeaseState::kWaiting) {
        ++passes_;
      }
      running_.push_back({.job = job, .lease = decision.lease, .prompt_left = jobs_[job].prompt});
    }
    effects_.Clear();
    if (outlook.promise().lease == first_) {
      EXPECT_EQ(outlook.promise().start_step, first_step_) << "told anew";
      return;
    }
    first_ = outlook.promise().lease;
    first_step_ = outlook.promise().start_step;
  }

  Gate gate_;
  Effects effects_;
  const std::vector<Job> jobs_;
  std::vector<std::string> ids_;
  std::map<uint64_t, size_t> job_of_;
  std::vector<Running> running_;
  size_t arrived_ = 0;
  int64_t ended_ = 0;
  int64_t step_ = 0;
  LeaseId first_;
  int64_t first_step_ = 0;
  int64_t promised_ = 0;
  int64_t passes_ = 0;
};

TEST(BackfillTest, TheHeadIsNeverLaterThanComputedWhenItBecameHead) {
  int64_t promised = 0;
  int64_t passes = 0;
  for (uint64_t seed = 1; seed <= 30; ++seed) {
    std::mt19937_64 random(seed);
    Engine engine(Pool(Assurance::kLockstep, 90 + static_cast<int64_t>(seed) * 10, 16), Jobs(seed, 300, seed % 3 == 0));
    while (!engine.done()) {
      for (uint64_t n = random() % 4; n > 1 && !engine.all_arrived(); --n) engine.Arrive();
      engine.Step();
      if (HasFatalFailure()) return;
      ASSERT_LT(engine.step(), 100'000);
    }
    EXPECT_EQ(engine.gate().budget().account(AccountId{1}).reserved_bytes, 0);
    promised += engine.promised();
    passes += engine.passes();
  }
  EXPECT_GT(promised, 500);
  EXPECT_GT(passes, 500);
}

TEST(BackfillTest, ItFillsWhatWouldStandIdle) {
  int64_t with = 0;
  int64_t without = 0;
  for (uint64_t seed = 1; seed <= 10; ++seed) {
    for (const int32_t max_bypass : {0, 16}) {
      Engine engine(Pool(Assurance::kLockstep, 120, max_bypass), Jobs(seed, 300, false));
      while (!engine.all_arrived()) engine.Arrive();
      while (!engine.done()) {
        engine.Step();
        if (HasFatalFailure()) return;
        ASSERT_LT(engine.step(), 100'000);
      }
      (max_bypass == 0 ? without : with) += engine.step();
    }
  }
  EXPECT_LT(static_cast<double>(with), 0.98 * static_cast<double>(without));
}

}  // namespace
}  // namespace vramgate
