#include "admission/server/token_ratios.h"

#include <algorithm>
#include <cmath>

namespace vramgate {
namespace {

constexpr int64_t kMostCount = int64_t{1} << 40;
constexpr double kBinsPerOctave = 16;
constexpr double kLowestOctave = -6;

template <typename Model>
std::vector<std::unique_ptr<Model>> Made(size_t count) {
  std::vector<std::unique_ptr<Model>> models(count);
  for (auto& model : models) model = std::make_unique<Model>();
  return models;
}

}  // namespace

TokenRatios::TokenRatios(size_t models) : models_(Made<Model>(models)) {}

size_t TokenRatios::ClassOf(int64_t prompt_bytes) {
  return static_cast<size_t>(std::lower_bound(kClassBytes.begin(), kClassBytes.end(), prompt_bytes) -
                             kClassBytes.begin());
}

size_t TokenRatios::BinOf(double ratio) {
  const double bin = std::ceil((std::log2(ratio) - kLowestOctave) * kBinsPerOctave);
  return static_cast<size_t>(std::clamp(bin, 0.0, static_cast<double>(kBins - 1)));
}

double TokenRatios::EndOf(size_t bin) {
  return std::exp2(static_cast<double>(bin) / kBinsPerOctave + kLowestOctave);
}

double TokenRatios::Estimate(const Class& of) {
  if (of.seen < kLeastSamples) return 0;
  const double wanted = of.total * kQuantile;
  double below = 0;
  size_t bin = 0;
  while (bin + 1 < kBins && (below += of.counts[bin]) < wanted) ++bin;
  return EndOf(bin) * kMargin;
}

void TokenRatios::Learn(ModelId model, const Sample& sample) {
  const auto possible = [](int64_t count) { return count > 0 && count <= kMostCount; };
  if (!possible(sample.prompt_bytes) || !possible(sample.prompt_tokens) || !possible(sample.charged_tokens)) return;
  const double tokens = static_cast<double>(sample.prompt_tokens);
  const size_t c = ClassOf(sample.prompt_bytes);
  Model& of = *models_[Index(model)];
  MutexLock lock(of.mutex);
  of.ratios[static_cast<size_t>(sample.source)].Add(kPromptRatioBounds,
                                                    tokens / static_cast<double>(sample.charged_tokens));
  Class& learned = of.classes[c];
  learned.counts[BinOf(tokens / static_cast<double>(sample.prompt_bytes))] += 1;
  learned.total += 1;
  learned.seen = std::min(learned.seen + 1, kLeastSamples);
  if (--learned.until_halved == 0) {
    learned.until_halved = kWindow;
    for (double& count : learned.counts) count /= 2;
    learned.total /= 2;
  }
  of.tokens_per_byte[c].store(Estimate(learned), std::memory_order_relaxed);
}

std::optional<int64_t> TokenRatios::TokensFor(ModelId model, int64_t prompt_bytes) const {
  const double ratio = models_[Index(model)]->tokens_per_byte[ClassOf(prompt_bytes)].load(std::memory_order_relaxed);
  if (ratio <= 0 || prompt_bytes > kMostCount) return std::nullopt;
  return std::max<int64_t>(1, static_cast<int64_t>(std::ceil(static_cast<double>(prompt_bytes) * ratio)));
}

TokenRatios::View TokenRatios::ViewOf(ModelId model) const {
  const Model& of = *models_[Index(model)];
  View view;
  for (size_t c = 0; c < kClasses; ++c) view.tokens_per_byte[c] = of.tokens_per_byte[c].load(std::memory_order_relaxed);
  MutexLock lock(of.mutex);
  view.ratios = of.ratios;
  return view;
}

}  // namespace vramgate
