#include "admission/replay/engine_model.h"

#include <algorithm>
#include <utility>

#include "admission/check.h"

namespace vramgate {

int32_t EngineModel::generated(int32_t job) const {
  const auto index = static_cast<size_t>(job);
  return index < generated_.size() ? generated_[index] : 0;
}

void EngineModel::SetBytes(Sequence& sequence, int64_t bytes, EngineEffects& out) {
  const int64_t delta = bytes - sequence.kv_bytes;
  if (delta == 0) return;
  sequence.kv_bytes = bytes;
  occupied_bytes_ += delta;
  CHECK(occupied_bytes_ >= 0 && occupied_bytes_ <= options_.pool_bytes, "EngineModel: more blocks than the pool has");
  out.kv.push_back({sequence.job, delta});
}

bool EngineModel::Start(int32_t job, const Work& work, EngineEffects& out) {
  if (std::ssize(running_) >= options_.max_sequences) return false;
  const int64_t bytes = options_.curve.bytes(int64_t{work.prompt_tokens} + work.generated_tokens);
  if (bytes > free_bytes()) return false;
  running_.push_back({.job = job,
                      .prompt_tokens = work.prompt_tokens,
                      .output_tokens = work.output_tokens,
                      .generated_tokens = work.generated_tokens});
  SetBytes(running_.back(), bytes, out);
  return true;
}

void EngineModel::Preempt(size_t index, EngineEffects& out) {
  Sequence& sequence = running_[index];
  const auto job = static_cast<size_t>(sequence.job);
  if (generated_.size() <= job) generated_.resize(std::max(job + 1, 2 * generated_.size()));
  generated_[job] = sequence.generated_tokens;
  recomputed_tokens_ += sequence.computed_tokens;
  ++preemptions_;
  SetBytes(sequence, 0, out);
  out.preempted.push_back(sequence.job);
  running_.erase(running_.begin() + static_cast<ptrdiff_t>(index));
}

void EngineModel::Stop(int32_t job, EngineEffects& out) {
  const auto it = std::find_if(running_.begin(), running_.end(), [job](const Sequence& s) { return s.job == job; });
  CHECK(it != running_.end() && !stepping_, "EngineModel: stopped what does not run, or amid a step");
  Preempt(static_cast<size_t>(it - running_.begin()), out);
}

size_t EngineModel::Victim() const {
  switch (victim_) {
    case VictimRule::kNewest:
      return running_.size() - 1;
    case VictimRule::kFewestGenerated: {
      const auto fewer = [](const Sequence& a, const Sequence& b) {
        return std::pair(a.generated_tokens, -a.prompt_tokens) < std::pair(b.generated_tokens, -b.prompt_tokens);
      };
      return static_cast<size_t>(std::min_element(running_.begin(), running_.end(), fewer) - running_.begin());
    }
  }
  return 0;
}

// Every sequence whose prompt is computed gets a place for one token more. Returns how many they are.
int64_t EngineModel::PlanDecodes(EngineEffects& out) {
  int64_t decodes = 0;
  for (size_t i = 0; i < running_.size();) {
    Sequence& sequence = running_[i];
    sequence.step_tokens = 0;
    if (sequence.pending_tokens() != 1 || sequence.computed_tokens == 0) {
      ++i;
      continue;
    }
    const int64_t bytes = options_.curve.bytes(int64_t{sequence.computed_tokens} + 1);
    if (bytes - sequence.kv_bytes > free_bytes()) {
      const size_t loser = Victim();
      if (running_[loser].step_tokens > 0) --decodes;
      Preempt(loser, out);
      if (loser < i) --i;
      continue;  // again with the room it left, or with the one that moved up where it was the victim itself
    }
    SetBytes(sequence, std::max(bytes, sequence.kv_bytes), out);
    sequence.step_tokens = 1;
    ++decodes;
    ++i;
  }
  return decodes;
}

absl::Duration EngineModel::BeginStep(EngineEffects& out) {
  CHECK(!running_.empty(), "EngineModel: a step of nothing");
  int64_t tokens = PlanDecodes(out);
  for (Sequence& sequence : running_) {
    if (sequence.step_tokens > 0 || tokens >= options_.step_tokens) continue;
    sequence.step_tokens = static_cast<int32_t>(std::min(sequence.pending_tokens(), options_.step_tokens - tokens));
    tokens += sequence.step_tokens;
  }
  ++steps_;
  stepping_ = true;
  computed_tokens_ += tokens;
  return options_.step_base + options_.step_token * tokens;
}

void EngineModel::EndStep(EngineEffects& out) {
  stepping_ = false;
  size_t kept = 0;
  for (size_t i = 0; i < running_.size(); ++i) {
    Sequence& sequence = running_[i];
    sequence.computed_tokens += sequence.step_tokens;
    const bool emits = sequence.step_tokens > 0 && sequence.pending_tokens() == 0;
    sequence.step_tokens = 0;
    if (emits && sequence.remaining_tokens() > 0) {
      ++sequence.generated_tokens;
      ++emitted_tokens_;
    }
    if (emits && sequence.remaining_tokens() <= 0) {
      SetBytes(sequence, 0, out);
      out.finished.push_back(sequence.job);
      continue;
    }
    if (kept != i) running_[kept] = sequence;
    ++kept;
  }
  running_.resize(kept);
}

}  // namespace vramgate
