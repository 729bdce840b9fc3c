// The Outlook's third part: when a waiter will start. EASY backfill: who is first in line is told when it surely
// starts, and whoever is let in past it must leave it room from then on. (D. Lifka, The ANL/IBM SP scheduling system,
// 1995: as in batch systems, where run times are bounds too.)
#include <algorithm>

#include "admission/gate/outlook.h"

namespace vramgate {

std::optional<int64_t> Outlook::SureStart(const Lease& waiter) const {
  if (!foresees()) return std::nullopt;
  // Who waits for a place among the sequences, not for memory: the array knows nothing of these.
  if (spec_.max_sequences > 0 && sequences_ + waiter.sequences > spec_.max_sequences) return std::nullopt;
  const FutureUsage::Growth growth = StartOf(waiter, PromptSteps(waiter, prompt_tokens_));
  return future_.EarliestFit(future_.MakeLater(growth), 0, std::nullopt);
}

bool Outlook::KeepsPromise(const Lease& lease, const Lease& first) const {
  if (promise_.start_step <= step()) return false;  // it is due: something is not as declared
  if (judged_.growth.last_step < promise_.start_step) return true;
  const bool crowded = spec_.max_sequences > 0 && sequences_ + lease.sequences + first.sequences > spec_.max_sequences;
  if (crowded) return false;
  // Its prompt comes before the other's.
  const FutureUsage::Growth growth = StartOf(first, PromptSteps(first, prompt_tokens_ + lease.prompt_tokens));
  return future_.LeavesRoom(judged_.usage, future_.MakeLater(growth), promise_.start_step);
}

std::optional<absl::Duration> Outlook::TimeToStart(const Lease& waiter, int64_t ahead_bytes) const {
  if (!foresees() || step_time_ <= absl::ZeroDuration()) return std::nullopt;
  // Of their full sizes, those that wait will use such a part as those that are there do.
  const auto used = static_cast<double>(future_.MostBytes(step()));
  const double part = full_bytes_ > 0 ? std::min(1.0, used / static_cast<double>(full_bytes_)) : 1;
  const auto beside_bytes = static_cast<int64_t>(part * static_cast<double>(ahead_bytes));
  FutureUsage::Growth growth = StartOf(waiter, PromptSteps(waiter, prompt_tokens_));
  std::optional<double> z;
  if (spec_.level == Assurance::kStatistical) {
    z = control_.z();
    growth.last_step = growth.since;  // later on, as little is known of it as of the others
  }
  const std::optional<int64_t> start = future_.EarliestFit(future_.MakeLater(growth), beside_bytes, z);
  if (!start) return std::nullopt;
  return static_cast<double>(*start - step()) * step_time_;
}

void Outlook::Took(absl::Duration step_time) {
  constexpr double kNewest = 0.05;
  step_time_ = step_time_ > absl::ZeroDuration() ? step_time_ + kNewest * (step_time - step_time_) : step_time;
}

}  // namespace vramgate
