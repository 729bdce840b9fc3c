// What `vramgate replay` was asked: its flags, read and checked, and the input they make.
//
// Confined to one thread; a question owns all it needs.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "admission/cli/command.h"
#include "admission/replay/policy_table.h"
#include "admission/replay/replay.h"

namespace vramgate {

// The flags as they were typed; "" is absent.
struct ReplayFlags {
  std::string trace;
  std::string config, model, instance;
  std::string kv_tokens, max_tokens, speed, seed, first, order, target_wait;
  std::string max_queue, max_wait;
  std::string block_tokens, step_tokens, max_sequences, step_base, step_token;
  std::vector<std::string> policies, risks;
  bool compare = false;
  bool sweep = false;
  std::string ledger, plot;
  std::string format = "text";
};

struct ReplayQuestion {
  ReplayInput input;
  std::vector<PolicyRun> policies;
  double speed = 1;
  double target_wait_s = 0;  // of a sweep
  int64_t skipped_lines = 0;
  std::vector<std::string> warnings;
};

// What the command line fills `f` by, in help's order.
std::vector<Flag> FlagsOf(ReplayFlags& f);

// INVALID_ARGUMENT begins with the flag, or with file and line.
absl::StatusOr<ReplayQuestion> ReadReplayQuestion(const ReplayFlags& f);

// Gives `input` a pool of `kv_tokens`, in the engine and in the gate, and the device room for it.
void ResizePool(ReplayInput& input, int64_t kv_tokens);

}  // namespace vramgate
