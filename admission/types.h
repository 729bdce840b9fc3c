// The words of the core: ids, and what a request asks for. What the gate answers is in decision.h, what a change of an
// account is in ledger_row.h.
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

// Where a request's prompt tokens come from.
enum class PromptSource : uint8_t {
  kNone,        // nobody says
  kGiven,       // counted: by the caller, or as token ids
  kBound,       // as many as its bytes could be
  kCalibrated,  // as many as nearly all prompts of its model and bytes have turned out to be
};
inline constexpr size_t kPromptSources = 4;
// `given`, `bound`, ...: the metric label; "" of kNone.
std::string_view PromptSourceName(PromptSource source);

// A request as the gate sees it: validated, priced, its names resolved. The views are read during the call only.
struct Request {
  std::string_view request_id;  // "": no idempotency
  uint32_t caller = 0;          // who asks: identity or listener; part of the key
  std::string_view log_id;      // where request_id is "": what the log calls it; never part of a key
  std::string_view trace;       // W3C traceparent, for the log
  std::string_view tenant;      // "" is a tenant like any other
  std::string_view route;       // what it is asked for by: a class of output lengths
  ModelId model{0};
  InstanceId instance = kAnyInstance;  // a pin, or any
  int32_t priority = 0;                // higher = sooner
  Costs costs;                         // to the end of the request: prompt + max_output_tokens
  Costs start_costs;                   // of the prompt alone; for the levels above worst_case
  PromptSource prompt_source = PromptSource::kNone;
  int64_t prompt_tokens = 0;      // of each sequence; 0: unknown, costs are held from the start
  int64_t max_output_tokens = 0;  // of each sequence
  bool revocable = false;         // its caller stops it when told to
  int64_t tokens = 0;             // prompt + max_output_tokens, all sequences: what the queue's token limit counts
  int32_t sequences = 1;          // for pricing what is used later on
  bool stream = false;            // the lease lives as long as a stream (Session, ext_proc); else until ttl
  absl::Duration max_wait = absl::InfiniteDuration();  // 0: decide now
  Instant deadline = kNever;                           // the caller's own
  absl::Duration ttl = absl::ZeroDuration();           // 0: the config's
  absl::Duration drain = absl::ZeroDuration();         // longest believable run: bounds a linger after an unseen end
};

}  // namespace vramgate
