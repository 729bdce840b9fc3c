#include "admission/gate/output_lengths.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace vramgate {
namespace {

constexpr double kWindowEnds = 1000;
constexpr double kPriorWeight = 4;       // ends that the prior is worth
constexpr double kLikenessWeight = 8;    // those at risk that likeness to shorter lengths is worth, at each length
constexpr double kLately = 1 - 1.0 / 8;  // of what was seen up to a bucket, what counts in the next
constexpr double kLargestWeight = 1e100;

}  // namespace

int OutputLengths::Bucket(int64_t tokens) {
  if (tokens < kExact) return static_cast<int>(tokens);
  const int octave = std::bit_width(static_cast<uint64_t>(tokens)) - 1;  // >= 4
  const auto part = static_cast<int>((tokens >> (octave - 3)) & (kPerOctave - 1));
  return std::min(kBuckets - 1, kExact + (octave - 4) * kPerOctave + part);
}

int64_t OutputLengths::FirstOf(int bucket) {
  if (bucket < kExact) return bucket;
  const int octave = (bucket - kExact) / kPerOctave + 4;
  return (int64_t{kPerOctave} + (bucket - kExact) % kPerOctave) << (octave - 3);
}

OutputLengths::OutputLengths(int64_t cap_tokens) {
  Count& prior = counts_[static_cast<size_t>(Bucket(std::max<int64_t>(1, cap_tokens / 2)))];
  prior.stopped = kPriorWeight / 2;
  prior.cut = kPriorWeight / 2;
}

void OutputLengths::Scale(double factor) {
  for (Count& count : counts_) {
    count.stopped *= factor;
    count.cut *= factor;
  }
  weight_ *= factor;
}

void OutputLengths::Ended(int64_t tokens, End end) {
  weight_ *= 1 + 1 / kWindowEnds;
  if (weight_ > kLargestWeight) Scale(1 / weight_);
  Count& count = counts_[static_cast<size_t>(Bucket(tokens))];
  (end == End::kStopped ? count.stopped : count.cut) += weight_;
  ++samples_;
}

void OutputLengths::Tabulate(int64_t width, std::span<float> table) const {
  double at_risk = 0;
  const auto alive = [this](size_t b) { return counts_[b].cut + weight_ * static_cast<double>(running_[b]); };
  for (size_t b = 0; b < counts_.size(); ++b) at_risk += counts_[b].stopped + alive(b);
  const double likeness = kLikenessWeight * weight_;
  // Of the last octave: who stopped, and the tokens that they and the others went through.
  double stopped_lately = 0;
  double tokens_lately = likeness;
  double survival = 1;  // S just before the bucket: P(longer than all before it)
  size_t k = 0;
  for (int b = 0; b < kBuckets && k < table.size(); ++b) {
    const Count& count = counts_[static_cast<size_t>(b)];
    const int64_t first = FirstOf(b);
    const int64_t next = b + 1 < kBuckets ? FirstOf(b + 1) : first + first / kPerOctave;
    const auto tokens = static_cast<double>(next - first);
    // Those cut within a bucket were at risk for half of it; in a bucket of one token they outlived it.
    const double cut = alive(static_cast<size_t>(b));
    const double exposed = std::max(count.stopped, at_risk - (b < kExact ? 0 : cut / 2));
    const double stops_by_likeness = likeness * -std::expm1(-tokens * stopped_lately / tokens_lately);
    const double after = survival * (1 - (count.stopped + stops_by_likeness) / (exposed + likeness));
    // S falls evenly over the bucket's tokens; P(longer than x) has fallen for x itself.
    for (; k < table.size() && static_cast<int64_t>(k) * width < next; ++k) {
      const auto past = static_cast<double>(static_cast<int64_t>(k) * width + 1 - first);
      table[k] = static_cast<float>(survival + (after - survival) * past / tokens);
    }
    survival = after;
    at_risk -= count.stopped + cut;
    stopped_lately = kLately * stopped_lately + count.stopped;
    tokens_lately = kLately * tokens_lately + exposed * tokens;
  }
  std::fill(table.begin() + static_cast<std::ptrdiff_t>(k), table.end(), static_cast<float>(survival));
}

}  // namespace vramgate
