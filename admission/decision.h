// What the gate says to a request or holder: a Decision, whose Outcome is the one named end of a request.
//
// Used by the gate, which makes them, and by whatever tells them on: answers, metrics, the log. A plain value: no
// thread rule, no lifetime rule.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "absl/time/time.h"
#include "admission/types.h"

namespace vramgate {

// The one named end of a request; also the metric label. Every Admit gets one of the answers; every lease that was
// granted one of the ends.
enum class Outcome : uint8_t {
  // Answers.
  kGranted,
  kRejectedQueueFull,
  kRejectedQueueTimeout,
  kRejectedBudgetExhausted,
  kRejectedTenantQuota,
  kRejectedDeadlineInfeasible,  // its caller's deadline comes before its turn
  kRejectedNeverFits,
  kRejectedUnknownModel,
  kRejectedModelNotLoaded,
  kRejectedDraining,
  kRejectedTelemetryStale,
  kRejectedInvalidRequest,
  kCancelled,  // the caller left while waiting
  kDeadline,   // the caller's own deadline passed while waiting
  // Answer of a call, or end of a holder's stream: a newer call with the same key took the lease over.
  kSuperseded,
  // Ends.
  kCompleted,
  kAborted,  // the holder went away; its bytes lingered
  kExpired,  // not renewed, or a grant never confirmed; its bytes lingered
  kRevoked,  // also an answer: an operator revoked a waiter
};
inline constexpr int kOutcomes = static_cast<int>(Outcome::kRevoked) + 1;

// `granted`, `rejected_queue_full`, ...: the metric label.
std::string_view OutcomeName(Outcome outcome);
// `QUEUE_FULL`, `NEVER_FITS`, ...: ErrorInfo.reason; "" where the outcome is no error of vramgate's (granted,
// completed, ...).
std::string_view OutcomeReason(Outcome outcome);

// The start of a text, cut at N - 1 bytes: what a Decision carries to the log without allocating.
template <size_t N>
class ShortText {
 public:
  ShortText() = default;
  void Assign(std::string_view text) {
    size_ = static_cast<uint8_t>(text.size() < N - 1 ? text.size() : N - 1);
    text.copy(text_.data(), size_);
  }
  std::string_view view() const { return {text_.data(), size_}; }

 private:
  static_assert(N <= 256);
  uint8_t size_ = 0;
  std::array<char, N - 1> text_;
};

// What the gate decided about one lease (model -1: refused before the gate was asked). Exactly one `answer` per Admit.
struct Decision {
  enum class Kind : uint8_t {
    kAnswer,    // to the Admit of `lease.attachment`
    kEnd,       // a granted lease is gone, its bytes are back
    kStop,      // to the holder: revoked or superseded; its bytes are still counted
    kLate,      // to nobody: a holder was seen outside of what its model's assurance declares
    kExtended,  // to the holder: its reservation covers what it asked for (Extend)
  };
  Kind kind = Kind::kAnswer;
  Outcome outcome = Outcome::kGranted;
  LeaseRef lease;  // id 0: rejected before a lease was made
  ModelId model{0};
  InstanceId instance = kAnyInstance;  // kGranted: which copy
  RankCost cost;                       // kGranted: held on each device of the instance
  int64_t granted_tokens = 0;          // of output, of each sequence, that `cost` covers; 0: all
  bool revocable = false;              // may be told to give way
  int32_t priority = 0;
  absl::Duration waited;  // from arrival to this answer
  // kAnswer to one that waited: how long it was told, when it came, that it would.
  std::optional<absl::Duration> estimated_wait;
  std::optional<absl::Duration> retry_after;  // known only where the gate has seen bytes come back
  absl::Duration grace;                       // kStop by revocation
  bool grace_over = false;                    // kStop by revocation, again: the bytes linger from here on
  bool by_policy = false;                     // kStop by revocation: so that others can go on
  ShortText<48> note;                         // kStop by revocation: the operator's reason
  ShortText<48> request_id;                   // for the log, as all below
  ShortText<32> tenant;
  ShortText<56> trace;  // W3C traceparent
  PromptSource prompt_source = PromptSource::kNone;
  int64_t prompt_tokens = 0;  // of each sequence, as charged
};

// Where a waiter stands.
struct QueuePosition {
  int32_t position = 0;     // 1-based, within its tenant
  int32_t ahead_total = 0;  // waiters of the same island that go before it, at most, as things are
  std::optional<absl::Duration> estimated_wait;
};

}  // namespace vramgate
