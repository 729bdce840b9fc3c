// How estimates of waits have compared with the waits they were made for: two quantiles of waited / estimated, each
// followed up and down in small steps, so that the newest some hundred waits count.
//
//   if (estimate) lease.estimate = *estimate;                      // as it was before any correction
//   errors.Over(lease.estimate, waited);                           // granted
//   errors.AtLeast(lease.estimate, waited);                        // gave up: it would have been longer
//   told = estimate * errors.median();  hopeless = estimate * errors.low() > time left;
//
// (A quantile by stochastic approximation: Robbins & Monro, 1951, as in Gibbs & Candes, 2021.) Used by the Gate, one a
// model. Thread rule: the Gate's thread. Nothing allocates.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "absl/time/time.h"

namespace vramgate {

class WaitErrors {
 public:
  static constexpr int64_t kFewest = 32;  // waits before anything is said of them

  void Over(absl::Duration estimated, absl::Duration waited) { Count(estimated, waited, /*over=*/true); }
  void AtLeast(absl::Duration estimated, absl::Duration waited) { Count(estimated, waited, /*over=*/false); }

  // Half of the waits were longer than that many times their estimate; nine in ten were. 1 and 0 while there were too
  // few.
  double median() const { return waits_ < kFewest ? 1 : std::exp2(median_.log); }
  double low() const { return waits_ < kFewest ? 0 : std::exp2(low_.log); }
  int64_t waits() const { return waits_; }

 private:
  static constexpr double kMostLog = 6;

  struct Quantile {
    double q = 0.5;
    double log = 0;
    void Count(double sample, double step) {
      log = std::clamp(log + step * (sample > log ? q : q - 1), -kMostLog, kMostLog);
    }
  };

  void Count(absl::Duration estimated, absl::Duration waited, bool over) {
    // Below a millisecond either is noise.
    const double ratio =
        std::max(1e-3, absl::ToDoubleSeconds(waited)) / std::max(1e-3, absl::ToDoubleSeconds(estimated));
    const double sample = std::log2(ratio);
    const double step = 0.1 + 1.0 / static_cast<double>(1 + waits_);
    // One that gave up says only of what is below it that it is too low.
    if (over || sample > median_.log) median_.Count(sample, step);
    if (over || sample > low_.log) low_.Count(sample, step);
    waits_ += over ? 1 : 0;
  }

  Quantile median_{.q = 0.5};
  Quantile low_{.q = 0.1};
  int64_t waits_ = 0;
};

}  // namespace vramgate
