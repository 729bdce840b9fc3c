// The Outlook's third part: EASY backfill. Who is first in line is told when it surely starts, and whoever is let in
// past it must leave it room from then on. (D. Lifka, The ANL/IBM SP scheduling system, 1995: as in batch systems, where
// run times are bounds too.)
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

}  // namespace vramgate
