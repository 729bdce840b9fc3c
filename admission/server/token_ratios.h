// How many tokens a model's prompts have per byte, learned from what engines report: an estimate for requests of which
// only the bytes are known, tighter than the bound of one token a byte, and without its guarantee.
//
//   ratios.Learn(model, {.prompt_bytes = 4000, .charged_tokens = 4000, .prompt_tokens = 930});
//   if (std::optional<int64_t> tokens = ratios.TokensFor(model, 5200)) ...   // nullopt: too little is known yet
//
// Prompts are told apart by size, since a template's own tokens weigh more in short ones. Of each class a histogram of
// tokens per byte is kept, in which older prompts count for less (half as much with every kWindow new ones). The
// estimate is the ratio that kQuantile of them did not exceed, and kMargin on top, once there are kLeastSamples.
//
// Used by the Converter (whose clamp keeps an estimate within the bound) and whoever hears of usage. Thread rule:
// TokensFor takes no lock; Learn takes one of its own, off the decision's path. No lifetime rule.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "admission/gate/stats.h"
#include "admission/mutex.h"
#include "admission/types.h"

namespace vramgate {

// Tokens that the engine counted, of those that were charged: above 1, too few were.
inline constexpr std::array<double, 9> kPromptRatioBounds = {0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1, 1.25, 2};

class TokenRatios {
 public:
  static constexpr double kQuantile = 0.995;
  static constexpr double kMargin = 1.1;
  static constexpr int64_t kLeastSamples = 300;
  static constexpr int64_t kWindow = 5000;
  // Prompts of up to so many bytes; the last class is of all above.
  static constexpr std::array<int64_t, 4> kClassBytes = {256, 1024, 4096, 32768};
  static constexpr size_t kClasses = kClassBytes.size() + 1;

  struct Sample {
    PromptSource source = PromptSource::kBound;
    int64_t prompt_bytes = 0;
    int64_t charged_tokens = 0;
    int64_t prompt_tokens = 0;  // as the engine counted them
  };
  struct View {
    std::array<double, kClasses> tokens_per_byte{};                              // with the margin; 0: not known yet
    std::array<BucketCounts<kPromptRatioBounds.size()>, kPromptSources> ratios;  // by source
  };

  explicit TokenRatios(size_t models);

  // Counts that cannot be are left out.
  void Learn(ModelId model, const Sample& sample);
  // Above 0. REQUIRES: prompt_bytes >= 0.
  std::optional<int64_t> TokensFor(ModelId model, int64_t prompt_bytes) const;
  View ViewOf(ModelId model) const;

 private:
  // Ratios from 1/64 to 16 tokens a byte, each bin about 4 % wide: bin b ends at 2^(b/16 - 6).
  static constexpr size_t kBins = 161;
  struct Class {
    std::array<double, kBins> counts{};
    double total = 0;
    int64_t seen = 0;
    int64_t until_halved = kWindow;
  };
  struct Model {
    mutable Mutex mutex;
    std::array<Class, kClasses> classes ABSL_GUARDED_BY(mutex);
    std::array<BucketCounts<kPromptRatioBounds.size()>, kPromptSources> ratios ABSL_GUARDED_BY(mutex);
    std::array<std::atomic<double>, kClasses> tokens_per_byte{};  // 0: not known yet
  };

  static size_t ClassOf(int64_t prompt_bytes);
  static size_t BinOf(double ratio);
  static double EndOf(size_t bin);
  static double Estimate(const Class& of);

  const std::vector<std::unique_ptr<Model>> models_;
};

}  // namespace vramgate
