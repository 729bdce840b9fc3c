// How long outputs get: what is learned from the requests of one class that have ended, as a survival function
// S(x) = P(an output is longer than x tokens).
//
//   OutputLengths lengths(/*cap_tokens=*/1024);
//   lengths.Ended(211, OutputLengths::End::kStopped);   // the model stopped
//   lengths.Ended(1024, OutputLengths::End::kCut);      // it might have gone on: its cap, a revocation, a client gone
//   lengths.Enter(40); ... lengths.Leave(40);             // one that runs, and has emitted so many so far
//   lengths.Tabulate(/*width=*/1, table);               // table[k] = S(k * width)
//
// The product-limit estimator of Kaplan and Meier (J. Amer. Statist. Assoc. 53, 1958) over buckets of an eighth of an
// octave, exact up to 16 tokens. Those that run were at risk too: without them the first ends, which are of short
// outputs, would say that all are short. Ends count in an exponential window of about a thousand: an end counts 1/e
// once a thousand more have come, so a shift in the traffic is learned within a few hundred ends. Before anything has
// ended a weak prior says: half of the outputs stop at half of the cap, the others go on. Where few were seen as long
// as x, outputs are thought to stop there as often, token by token, as in the octave before: so what is learned of the
// first hundred tokens says something of the next thousand before anybody has got there.
//
// Used by the Outlook. Thread rule: the Gate's thread. Nothing allocates after construction.
#pragma once

#include <array>
#include <cstdint>
#include <span>

namespace vramgate {

class OutputLengths {
 public:
  enum class End : uint8_t {
    kStopped,  // it was this long
    kCut,      // it was at least this long
  };

  // REQUIRES: cap_tokens >= 1.
  explicit OutputLengths(int64_t cap_tokens);

  // REQUIRES: tokens >= 0.
  void Ended(int64_t tokens, End end);
  // One more, or one less, that runs and has emitted so many.
  void Enter(int64_t tokens) { ++running_[static_cast<size_t>(Bucket(tokens))]; }
  void Leave(int64_t tokens) { --running_[static_cast<size_t>(Bucket(tokens))]; }
  // table[k] = S(k * width), not rising, table[0] = 1. REQUIRES: width >= 1.
  void Tabulate(int64_t width, std::span<float> table) const;
  // Ends so far.
  int64_t samples() const { return samples_; }

 private:
  static constexpr int kExact = 16;     // one bucket a token below this
  static constexpr int kPerOctave = 8;  // and so many for each doubling above
  static constexpr int kBuckets = kExact + kPerOctave * 18;
  static int Bucket(int64_t tokens);
  static int64_t FirstOf(int bucket);

  struct Count {
    double stopped = 0;
    double cut = 0;
  };
  void Scale(double factor);

  std::array<Count, kBuckets> counts_{};
  std::array<int64_t, kBuckets> running_{};
  double weight_ = 1;  // of the next end: grows, so that earlier ones count less beside it
  int64_t samples_ = 0;
};

}  // namespace vramgate
