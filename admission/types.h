// The words of the core: ids, what a request asks for, what the gate answers, and what a change of an account is.
//
// Everything here is a plain value: no thread rule, no lifetime rule but the one of Request's string views.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "admission/clock.h"

namespace vramgate {

// Dense indices, given by the order of the config (accounts: by the Budget).
enum class AccountId : int32_t {};
enum class ModelId : int32_t {};
enum class InstanceId : int32_t {};  // counted over all models
inline constexpr InstanceId kAnyInstance{-1};

constexpr size_t Index(AccountId id) {
  return static_cast<size_t>(id);
}
constexpr size_t Index(ModelId id) {
  return static_cast<size_t>(id);
}
constexpr size_t Index(InstanceId id) {
  return static_cast<size_t>(id);
}

// One id from arrival to end. 0 is no lease. An id is never used twice within a run.
struct LeaseId {
  uint64_t value = 0;
  friend auto operator<=>(const LeaseId&, const LeaseId&) = default;
};

// A lease and which attachment to it: a newer caller with the same key makes older references stale.
struct LeaseRef {
  LeaseId id;
  uint32_t attachment = 0;
};

// "leases/00000001000003e8" and back; nullopt for anything else.
std::string LeaseName(LeaseId id);
std::optional<LeaseId> ParseLeaseName(std::string_view name);

// Limits of shape, fixed at compile time so that a lease needs no memory of its own.
inline constexpr int kMaxDevicesPerInstance = 16;
inline constexpr int kMaxPriceClasses = 4;
inline constexpr int32_t kMaxPriority = 1'000'000;

// What a request costs on one rank (one device of an instance) [B]. KV goes to the instance's pool, or to the device
// where the pool is dynamic; activation (`activation: resident`) always goes to the device.
struct RankCost {
  int64_t kv_bytes = 0;
  int64_t activation_bytes = 0;
  friend bool operator==(const RankCost&, const RankCost&) = default;
};

// A request's cost in each price class of its model. Instances of a model that split it over the same number of devices
// share a class, so one request is priced a handful of times whatever the number of instances.
using Costs = std::array<RankCost, kMaxPriceClasses>;

// A request as the gate sees it: validated, priced, its names resolved. The views are read during the call only.
struct Request {
  std::string_view request_id;  // "": no idempotency
  uint32_t caller = 0;          // who asks: identity or listener; part of the key
  std::string_view tenant;      // "" is a tenant like any other
  ModelId model{0};
  InstanceId instance = kAnyInstance;  // a pin, or any
  int32_t priority = 0;                // higher = sooner
  Costs costs;                         // to the end of the request: prompt + max_output_tokens
  int64_t tokens = 0;                  // prompt + max_output_tokens, all sequences: what the queue's token limit counts
  int32_t sequences = 1;               // for pricing what is used later on
  bool stream = false;                 // the lease lives as long as a stream (Session, ext_proc); else until ttl
  absl::Duration max_wait = absl::InfiniteDuration();  // 0: decide now
  Instant deadline = kNever;                           // the caller's own
  absl::Duration ttl = absl::ZeroDuration();           // 0: the config's
  absl::Duration drain = absl::ZeroDuration();         // longest believable run: bounds a linger after an unseen end
};

// The one named end of a request; also the metric label. Every Admit gets one of the answers; every lease that was
// granted one of the ends.
enum class Outcome : uint8_t {
  // Answers.
  kGranted,
  kRejectedQueueFull,
  kRejectedQueueTimeout,
  kRejectedBudgetExhausted,
  kRejectedTenantQuota,
  kRejectedNeverFits,
  kRejectedUnknownModel,
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
    kAnswer,  // to the Admit of `lease.attachment`
    kEnd,     // a granted lease is gone, its bytes are back
    kStop,    // to the holder: revoked or superseded; its bytes are still counted
  };
  Kind kind = Kind::kAnswer;
  Outcome outcome = Outcome::kGranted;
  LeaseRef lease;  // id 0: rejected before a lease was made
  ModelId model{0};
  InstanceId instance = kAnyInstance;  // kGranted: which copy
  RankCost cost;                       // kGranted: held on each device of the instance
  int32_t priority = 0;
  absl::Duration waited;                      // from arrival to this answer
  std::optional<absl::Duration> retry_after;  // known only where the gate has seen bytes come back
  absl::Duration grace;                       // kStop by revocation
  bool grace_over = false;                    // kStop by revocation, again: the bytes linger from here on
  ShortText<48> note;                         // kStop by revocation: the operator's reason
  ShortText<48> request_id;                   // for the log
  ShortText<32> tenant;
};

// Where a waiter stands.
struct QueuePosition {
  int32_t position = 0;     // 1-based, within its tenant
  int32_t ahead_total = 0;  // waiters before it that may need the same devices
  std::optional<absl::Duration> estimated_wait;
};

// Why an account changed. Names as in the ledger file.
enum class LedgerEvent : uint8_t {
  kStart,
  kCapacity,
  kFixed,
  kInherit,
  kGrant,
  kExtend,
  kShrink,
  kLinger,
  kRevoke,
  kOveruse,
  kRelease,
  kExpire,
  kLost,
  kStop
};
std::string_view LedgerEventName(LedgerEvent event);

// One change of one account: a row of the ledger file.
struct LedgerRow {
  Instant time;
  LeaseId lease;  // 0: none. kLost: how many rows were lost
  AccountId account{0};
  LedgerEvent event = LedgerEvent::kStart;
  int64_t delta_bytes = 0;
  int64_t used_bytes = 0;      // after the row, fixed bytes included
  int64_t capacity_bytes = 0;  // as known then
};

}  // namespace vramgate
