// What a Gate is built from: devices, models with their instances, tenants, and its limits. Plain values, already
// validated: the server makes them from the config file, tests by hand.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/time/time.h"
#include "admission/gate/budget.h"

namespace vramgate {

// Account `device/<id>`.
struct DeviceSpec {
  std::string id;
  int64_t capacity_bytes = 0;  // total - headroom - own context - foreign use
  int64_t ceiling_bytes = 0;   // the same without foreign use
};

// How far a reservation may stay below the worst case: docs/admission.md has each level's promise.
enum class Assurance : uint8_t {
  kWorstCase,    // prompt + max_output_tokens, from the start
  kLockstep,     // what is used now; the future peak of all holders fits
  kStatistical,  // what is used now; the future fits but for a stated risk
};
std::string_view AssuranceName(Assurance level);
// Of the statistical level: more is no promise, less is never seen.
inline constexpr double kLeastRisk = 1e-6;
inline constexpr double kMostRisk = 0.2;

// What the levels above worst_case need to know of the engine. Its pool is preallocated.
struct AssuranceSpec {
  Assurance level = Assurance::kWorstCase;
  double risk = 1e-3;                    // statistical: windows with a revocation, of all
  int64_t typical_output_tokens = 1024;  // outputs up to here are told apart by the step, or nearly
  int64_t block_tokens = 16;
  std::vector<int64_t> block_bytes;       // by price class: what a sequence's next block takes at most, on each device
  int64_t max_sequences = 0;              // that the engine runs at once; 0: any number
  int64_t prompt_tokens_per_step = 2048;  // that it computes at least, beside all decodes, first come first served
  int64_t start_steps = 0;                // at most, from a grant until the engine begins with the prompt
  double min_tokens_per_step = 1;         // of a sequence, once its prompt is computed
  double max_tokens_per_step = 1;
  double steps_per_s = 0;        // 0: the engine reports its steps (Gate::Step); else they are counted by the clock
  int64_t lookahead_tokens = 0;  // bytes are granted for so many tokens ahead of those that are assumed
  // An engine that reports its steps does so within it, while requests run; else, and until the first report, it is
  // silent: requests hold all of their cost and are judged as at worst_case. Infinite: it is never thought silent.
  absl::Duration report_within = absl::InfiniteDuration();
};

// One running copy of a model. Account `pool/<model>/<name>` where its pool is preallocated.
struct InstanceSpec {
  std::string name;
  std::vector<int> devices;           // indices into GateConfig::devices, 1 to kMaxDevicesPerInstance, no duplicates
  int64_t fixed_bytes = 0;            // on each device: weights, overhead, a batched engine's activation peak
  std::optional<int64_t> pool_bytes;  // preallocated KV pool, on each device; absent: requests charge the devices
  int price_class = 0;                // which of Request::costs is this instance's
  bool loaded = true;                 // false: its fixed bytes and pool are charged when it is loaded (Gate::Load)
};

struct ModelSpec {
  std::string name;
  std::vector<InstanceSpec> instances;
  AssuranceSpec assurance;
};

// Account `tenant/<name>`. A tenant's limit bounds the bytes of its leases summed over all devices. Tenants that wait
// share memory x time by their weights, between 0.001 and 1e6.
struct TenantSpec {
  std::string name;
  int64_t limit_bytes = kUnlimitedBytes;
  double weight = 1;
};

struct GateConfig {
  std::vector<DeviceSpec> devices;
  std::vector<ModelSpec> models;
  std::vector<TenantSpec> tenants;
  int64_t default_tenant_limit_bytes = kUnlimitedBytes;  // of each tenant not listed
  double default_tenant_weight = 1;

  struct Queue {
    int64_t max_requests = 1000;
    int64_t max_tokens = 10'000'000;
    absl::Duration max_wait = absl::Seconds(30);
    absl::Duration ageing = absl::Seconds(10);        // waiting this long is worth one step of priority
    int32_t max_bypass = 16;                          // later waiters granted past one that does not fit
    absl::Duration bypass_window = absl::Seconds(1);  // and none once it has waited this long
    absl::Duration rejoin_window = absl::Seconds(5);  // how long a timed-out waiter's place is kept for its retry
    // A request that must wait and whose caller's deadline nine in ten such waits would have missed is refused at once.
    bool early_rejection = true;
    bool fair = true;  // false: all tenants as one, first come first served
  } queue;

  struct Leases {
    absl::Duration ttl = absl::Seconds(60);
    absl::Duration confirm_within = absl::Seconds(10);  // first renewal or release of a unary grant
    absl::Duration abort_linger = absl::Seconds(2);
    int64_t max = 100'000;  // leases in any state
  } leases;

  bool ledger = true;  // produce ledger rows
};

}  // namespace vramgate
