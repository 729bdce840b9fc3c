// Counters of what the gate decided, kept by the Controller under its lock: plain numbers, so that counting costs no
// second lock. The metrics page is made from a copy.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "admission/decision.h"

namespace vramgate {

// Fixed buckets with upper bounds; the last bucket is +Inf.
template <size_t N>
struct BucketCounts {
  std::array<int64_t, N + 1> counts{};
  double sum = 0;
  void Add(const std::array<double, N>& bounds, double value) {
    size_t b = 0;
    while (b < N && value > bounds[b]) ++b;
    ++counts[b];
    sum += value;
  }
};

inline constexpr std::array<double, 14> kWaitBounds_s = {0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25,
                                                         0.5,   1,     2.5,  5,     10,   30,  60};
inline constexpr std::array<double, 12> kDecisionBounds_s = {1e-7, 2.5e-7, 5e-7, 1e-6, 2.5e-6, 5e-6,
                                                             1e-5, 2.5e-5, 1e-4, 1e-3, 1e-2,   1e-1};
// Waited / told, of those who waited and were granted.
inline constexpr std::array<double, 10> kWaitRatioBounds = {0.1, 0.25, 0.5, 0.8, 0.9, 1.1, 1.25, 2, 4, 10};

class Stats {
 public:
  explicit Stats(size_t models)
      : outcomes_(models + 1),
        revocations_(models),
        given_way_(models),
        lates_(models),
        prompt_sources_(models),
        wait_ratios_(models) {}

  void Count(const Decision& decision);
  // A refusal before the gate was asked. No model: counted as "other".
  void CountRefusal(Outcome outcome) { ++outcomes_.back()[static_cast<size_t>(outcome)]; }
  void CountDecisionTime(int64_t ns) { decision_time_.Add(kDecisionBounds_s, static_cast<double>(ns) * 1e-9); }

  struct WaitKey {
    int32_t model = 0;
    int32_t priority = 0;
    Outcome outcome = Outcome::kGranted;
    friend bool operator==(const WaitKey&, const WaitKey&) = default;
    template <typename H>
    friend H AbslHashValue(H h, const WaitKey& k) {
      return H::combine(std::move(h), k.model, k.priority, static_cast<int>(k.outcome));
    }
  };
  static constexpr int32_t kOtherPriority = INT32_MIN;  // beyond the first kMostWaitKeys
  static constexpr size_t kMostWaitKeys = 512;

  using Outcomes = std::array<int64_t, kOutcomes>;
  const std::vector<Outcomes>& outcomes() const { return outcomes_; }       // by model; the last: no model
  const std::vector<int64_t>& revocations() const { return revocations_; }  // an operator's
  const std::vector<int64_t>& given_way() const { return given_way_; }      // the policy's
  const std::vector<int64_t>& lates() const { return lates_; }
  using PromptSources = std::array<int64_t, kPromptSources>;
  const std::vector<PromptSources>& prompt_sources() const { return prompt_sources_; }  // of answers, by model
  const absl::flat_hash_map<WaitKey, BucketCounts<kWaitBounds_s.size()>>& waits() const { return waits_; }
  const std::vector<BucketCounts<kWaitRatioBounds.size()>>& wait_ratios() const { return wait_ratios_; }
  const BucketCounts<kDecisionBounds_s.size()>& decision_time() const { return decision_time_; }

 private:
  std::vector<Outcomes> outcomes_;
  std::vector<int64_t> revocations_;
  std::vector<int64_t> given_way_;
  std::vector<int64_t> lates_;
  std::vector<PromptSources> prompt_sources_;
  absl::flat_hash_map<WaitKey, BucketCounts<kWaitBounds_s.size()>> waits_;
  std::vector<BucketCounts<kWaitRatioBounds.size()>> wait_ratios_;  // by model
  BucketCounts<kDecisionBounds_s.size()> decision_time_;
};

}  // namespace vramgate
