// A model of an engine that batches continuously: what it runs, which KV it occupies, and how long a step takes.
//
// Every step each running sequence computes one token, or a chunk of its prompt; decodes go first, chunks share what is
// left of the step's tokens, in the order of starting. A sequence takes the blocks of its prompt when it starts and
// those of its output as they fill. Where the pool has no block left, a running sequence is preempted: it loses its
// blocks, and computes its prompt and what it had generated anew when it is started again (recomputation, as vLLM
// does). A step takes step_base + step_token x tokens: weights are read once a step, and compute grows with the tokens.
//
//   EngineModel engine(options, VictimRule::kNewest);
//   engine.Start(job, {.prompt_tokens = 900, .output_tokens = 100}, effects);
//   while (engine.running()) { now = now + engine.BeginStep(effects); engine.EndStep(effects); }
//
// Used by the replay. Confined to one thread; pure: knows no clock, only lengths of steps.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/time/time.h"
#include "admission/replay/kv_curve.h"

namespace vramgate {

struct EngineOptions {
  KvCurve curve = KvCurve::Linear(131072, 16);  // an 8B model with 8 KV heads of 128 in 32 layers, bf16
  int64_t pool_bytes = 0;
  int64_t step_tokens = 8192;    // most of one step: what is left beside decodes goes to prompts, in chunks
  int64_t max_sequences = 1024;  // most that run at once
  // Of an 8B model in bf16 on an H100: 16 GB of weights at 3.35 TB/s and launch overhead; 16 GFLOP a token at about
  // 500 TFLOP/s. docs/replay.md says what they change.
  absl::Duration step_base = absl::Milliseconds(8);
  absl::Duration step_token = absl::Microseconds(30);
};

// Which of the running sequences gives way where the pool is full.
enum class VictimRule : uint8_t {
  kNewest,           // that started last: vLLM, LightLLM
  kFewestGenerated,  // with the fewest generated tokens, of these the one with the longest prompt: SGLang
};

// A running sequence.
struct Sequence {
  int32_t job = 0;
  int32_t prompt_tokens = 0;
  int32_t output_tokens = 0;     // after which it ends
  int32_t generated_tokens = 0;  // emitted; not lost by a preemption
  int32_t computed_tokens = 0;   // whose KV is there
  int32_t step_tokens = 0;       // that it computes in the step under way
  int64_t kv_bytes = 0;          // of the pool

  int64_t length() const { return int64_t{prompt_tokens} + generated_tokens; }
  // Tokens to compute before it emits the next.
  int64_t pending_tokens() const { return length() - computed_tokens; }
  int64_t remaining_tokens() const { return int64_t{output_tokens} - generated_tokens; }
};

// What happened, in order. Appended to; the caller clears it.
struct EngineEffects {
  struct KvChange {
    int32_t job = 0;
    int64_t delta_bytes = 0;
  };
  std::vector<KvChange> kv;
  std::vector<int32_t> finished;
  std::vector<int32_t> preempted;
};

class EngineModel {
 public:
  EngineModel(const EngineOptions& options, VictimRule victim) : options_(options), victim_(victim) {}

  struct Work {
    int32_t prompt_tokens = 0;
    int32_t output_tokens = 0;
    int32_t generated_tokens = 0;  // before it was preempted
  };
  // Takes the blocks of what it computes first. False: they are not there, or max_sequences run: nothing was taken.
  [[nodiscard]] bool Start(int32_t job, const Work& work, EngineEffects& out);

  // Plans a step, makes room for it, and says how long it takes. REQUIRES: something is running, no step is under way.
  absl::Duration BeginStep(EngineEffects& out);
  // Tokens are emitted; those that are done leave.
  void EndStep(EngineEffects& out);

  // Takes all of `job`'s blocks. REQUIRES: it is running, no step is under way.
  void Stop(int32_t job, EngineEffects& out);

  std::span<const Sequence> running() const { return running_; }  // in the order of starting
  // Tokens that `job` had generated when it was preempted last; of a job that is not running.
  int32_t generated(int32_t job) const;
  int64_t occupied_bytes() const { return occupied_bytes_; }
  int64_t free_bytes() const { return options_.pool_bytes - occupied_bytes_; }
  const EngineOptions& options() const { return options_; }

  int64_t steps() const { return steps_; }
  int64_t completed_steps() const { return stepping_ ? steps_ - 1 : steps_; }
  int64_t emitted_tokens() const { return emitted_tokens_; }
  int64_t computed_tokens() const { return computed_tokens_; }      // all that steps were made of
  int64_t recomputed_tokens() const { return recomputed_tokens_; }  // lost by preemptions
  int64_t preemptions() const { return preemptions_; }

 private:
  void SetBytes(Sequence& sequence, int64_t bytes, EngineEffects& out);
  void Preempt(size_t index, EngineEffects& out);
  size_t Victim() const;
  int64_t PlanDecodes(EngineEffects& out);

  const EngineOptions options_;
  const VictimRule victim_;
  std::vector<Sequence> running_;
  std::vector<int32_t> generated_;  // by job
  int64_t occupied_bytes_ = 0;
  int64_t steps_ = 0;
  bool stepping_ = false;  // one of them is under way
  int64_t emitted_tokens_ = 0;
  int64_t computed_tokens_ = 0;
  int64_t recomputed_tokens_ = 0;
  int64_t preemptions_ = 0;
};

}  // namespace vramgate
