#include "admission/replay/sweep.h"

#include <algorithm>
#include <utility>

namespace vramgate {
namespace {

class Search {
 public:
  Search(const PolicyRun& run, const ReplayInput& input, double target_wait_s,
         const std::function<void(int64_t)>& progress)
      : run_(run), input_(input), progress_(progress) {
    out_.target_wait_s = target_wait_s;
  }

  // Whether the target is met; the result then goes to *best.
  bool Meets(const ReplayInput& input, bool refusals, ReplayResult* best) { return Meets(run_, input, refusals, best); }
  bool Meets(const PolicyRun& run, const ReplayInput& input, bool refusals, ReplayResult* best) {
    ReplayResult result = Replay(run, input, {});
    if (progress_) progress_(++out_.runs);
    const bool met = result.wait_p99_s <= out_.target_wait_s && (refusals || result.rejected == 0);
    if (met) *best = std::move(result);
    return met;
  }

  void Pool(const std::function<void(ReplayInput&, int64_t)>& resize) {
    ReplayInput input = input_;
    input.gate.queue.max_wait = absl::InfiniteDuration();
    input.gate.queue.max_requests = input.gate.queue.max_tokens = kUnlimitedBytes;
    const auto meets = [&](int64_t tokens) {
      resize(input, tokens);
      return Meets(input, /*refusals=*/false, &out_.with_pool);
    };
    const int64_t block = std::max<int64_t>(1, input.engine.curve.block_tokens());
    int64_t enough = block;
    while (!meets(enough)) {
      if (enough > kMostSweepTokens / 2) return;
      enough *= 2;
    }
    int64_t too_few = enough / 2;
    while (enough - too_few > std::max(block, enough / 256)) {
      const int64_t middle = too_few + (enough - too_few) / 2 / block * block;
      if (middle == too_few) break;
      (meets(middle) ? enough : too_few) = middle;
    }
    out_.kv_tokens = enough;
  }

  void Queue() {
    ReplayInput input = input_;
    const auto meets = [&](int64_t requests) {
      input.gate.queue.max_requests = requests;
      return Meets(input, /*refusals=*/true, &out_.with_queue);
    };
    if (!meets(0)) return;
    int64_t enough = 0;
    int64_t too_many = std::ssize(input_.jobs) + 1;
    if (meets(too_many)) {
      out_.queue_requests = too_many - 1;  // nobody more can wait
      return;
    }
    while (too_many - enough > 1) {
      const int64_t middle = enough + (too_many - enough) / 2;
      (meets(middle) ? enough : too_many) = middle;
    }
    out_.queue_requests = enough;
  }

  void Risk() {
    if (run_.kind->level != Assurance::kStatistical) return;
    ReplayInput input = input_;
    input.gate.queue.max_wait = absl::InfiniteDuration();
    input.gate.queue.max_requests = input.gate.queue.max_tokens = kUnlimitedBytes;
    for (const double risk : kSweepRisks) {
      if (!Meets({.kind = run_.kind, .risk = risk}, input, /*refusals=*/false, &out_.with_risk)) continue;
      out_.risk = risk;
      return;
    }
  }

  SweepResult Take() { return std::move(out_); }

 private:
  const PolicyRun& run_;
  const ReplayInput& input_;
  const std::function<void(int64_t)>& progress_;
  SweepResult out_;
};

}  // namespace

SweepResult Sweep(const PolicyRun& run, const ReplayInput& input, double target_wait_s,
                  const std::function<void(ReplayInput&, int64_t)>& resize,
                  const std::function<void(int64_t)>& progress) {
  Search search(run, input, target_wait_s, progress);
  search.Pool(resize);
  search.Queue();
  search.Risk();
  return search.Take();
}

}  // namespace vramgate
