// The controller of the statistical level: how many deviations above the mean the future is judged by.
//
//   RiskControl control({.risk = 1e-3});
//   control.EndWindow(/*erred=*/false);    // every window in which a statistical lease was held
//   outlook.Fits(request, control.z());    // guaranteed_only(): z does not count, only what cannot fail is admitted
//
// After each window y += gamma x (err - risk), never below z_min; z = min(y, z_max). While y >= z_max nothing is
// admitted but what no course of events can make fail. So the rate of windows with an error tends to `risk` for any
// traffic: docs/admission.md has the bound and its proof, after Gibbs and Candes, "Adaptive Conformal Inference Under
// Distribution Shift", NeurIPS 2021. Lengths of outputs correlate, so no fixed number of deviations does.
//
// It keeps what the bound is made of: windows, errors, and D, the most windows there were between an admission that
// could fail and an error. Used by the Outlook. Thread rule: the Gate's thread.
#pragma once

#include <algorithm>
#include <cstdint>

namespace vramgate {

class RiskControl {
 public:
  struct Options {
    double risk = 1e-3;    // wanted: errors per window
    double gamma = 0.25;   // how far an error moves z
    double z_start = 2.5;  // y0
    double z_min = 0;
    double z_max = 6;
  };

  explicit RiskControl(const Options& options) : options_(options), y_(options.z_start) {}

  void EndWindow(bool erred) {
    ++windows_;
    ++since_admission_;
    if (erred) {
      ++errors_;
      delay_ = std::max(delay_, since_admission_);
    }
    y_ = std::max(options_.z_min, y_ + options_.gamma * ((erred ? 1.0 : 0.0) - options_.risk));
  }
  // Something was admitted that is not guaranteed.
  void Admitted() { since_admission_ = 0; }

  double z() const { return std::min(y_, options_.z_max); }
  bool guaranteed_only() const { return y_ >= options_.z_max; }

  int64_t windows() const { return windows_; }
  int64_t errors() const { return errors_; }
  int64_t delay() const { return delay_; }  // D [windows]
  double rate() const { return windows_ == 0 ? 0 : static_cast<double>(errors_) / static_cast<double>(windows_); }
  // rate() is never above this.
  double bound() const {
    if (windows_ == 0) return 1;
    const double excursion = options_.z_max - options_.z_start + options_.gamma * (1 + static_cast<double>(delay_));
    return options_.risk + excursion / (options_.gamma * static_cast<double>(windows_));
  }
  const Options& options() const { return options_; }

 private:
  const Options options_;
  double y_;
  int64_t windows_ = 0;
  int64_t errors_ = 0;
  int64_t since_admission_ = 0;
  int64_t delay_ = 0;
};

}  // namespace vramgate
