#include "admission/replay/oracle_policy.h"

#include <algorithm>
#include <utility>

namespace vramgate {

// Steps until so many tokens of prompts are computed, beside a decode of everybody.
int64_t OraclePolicy::PrefillSteps(int64_t tokens) const {
  const EngineOptions& options = scene_.engine.options();
  const int64_t decodes = std::ssize(scene_.engine.running());
  const int64_t each = std::max<int64_t>(1, options.step_tokens - decodes);
  return (tokens + each - 1) / each;
}

void OraclePolicy::BeginPass(Instant now) {
  (void)now;
  prompt_tokens_ = 0;
  std::vector<Growth> growths;
  growths.reserve(scene_.engine.running().size() + 1);
  for (const Sequence& s : scene_.engine.running()) {
    // Computed by the step under way; what is left of a prompt waits for its turn.
    const int64_t pending = s.pending_tokens() - s.step_tokens;
    int64_t steps = pending > 0 ? 1 : 0;
    if (pending > 1) {
      prompt_tokens_ += pending;
      steps = PrefillSteps(prompt_tokens_);
    }
    const int64_t last = std::max<int64_t>(0, steps + s.remaining_tokens() - 1);
    growths.push_back({.held_tokens = s.length(), .grow_step = std::min(steps, last), .last_step = last});
  }
  future_.Set(std::move(growths));
}

Growth OraclePolicy::GrowthOf(int32_t index) const {
  const int64_t steps = PrefillSteps(prompt_tokens_ + start_tokens(index));
  const int64_t left = job(index).output_tokens - scene_.engine.generated(index);
  const int64_t last = std::max<int64_t>(0, steps + left - 1);
  return {.held_tokens = start_tokens(index), .grow_step = std::min(steps, last), .last_step = last};
}

bool OraclePolicy::Fits(int32_t index) {
  candidate_ = GrowthOf(index);
  return future_.Fits(candidate_);
}

void OraclePolicy::Started(int32_t index) {
  prompt_tokens_ += start_tokens(index);
  future_.Add(candidate_);
}

void OraclePolicy::PassHead(Instant now) {
  if (queue().size() < 2) return;
  Growth head = GrowthOf(queue().front());
  const int64_t start = future_.EarliestStart(head);
  head.grow_step += start;
  head.last_step += start;
  head.first_step += start;
  future_.Add(head);
  size_t position = 1;
  for (size_t tried = 0; tried < kDepth && position < queue().size(); ++tried) {
    if (!TryStart(position, now)) ++position;
  }
}

}  // namespace vramgate
