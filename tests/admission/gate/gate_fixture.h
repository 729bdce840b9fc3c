// What the gate's tests are written in: small configs, requests by name, and what the gate said, by name.
//
//   TestGate gate(OneDevice(GiB(10)));
//   gate.Admit(Ask("large", GiB(9)), 0);
//   EXPECT_THAT(gate.End("large", 2), Grants("a", "b", "c"));
//
// Times are seconds from the start. The gate's own invariants are checked after every call; a test that ends with
// `AllGone(gate)` has the budget as it began.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "admission/gate/gate.h"
#include "admission/units.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace vramgate {

inline int64_t GiB(int64_t n) {
  return n * kGiB;
}
inline Instant At(double seconds) {
  return Instant{1'000'000'000} + absl::Seconds(seconds);
}

// Devices "0", "1", ... of `gib` GiB each, without models.
inline GateConfig Devices(std::vector<int64_t> gib) {
  GateConfig config;
  for (int64_t n : gib) config.devices.push_back({std::to_string(config.devices.size()), GiB(n), GiB(n)});
  return config;
}

// One model "m" with one dynamic instance on one device: KV is charged to device/0.
inline GateConfig OneDevice(int64_t capacity_bytes) {
  GateConfig config;
  config.devices = {{"0", capacity_bytes, capacity_bytes}};
  config.models = {{"m", {{.name = "a", .devices = {0}}}}};
  return config;
}

// A streamed request of `bytes` of KV on each device, whichever the price class.
inline Request Ask(std::string_view id, int64_t bytes, int model = 0) {
  Request request;
  request.request_id = id;
  request.caller = 1;
  request.model = ModelId{model};
  request.costs.fill({.kv_bytes = bytes});
  request.tokens = 1;
  request.stream = true;
  return request;
}

// A unary one.
inline Request AskUnary(std::string_view id, int64_t bytes, int model = 0) {
  Request request = Ask(id, bytes, model);
  request.stream = false;
  return request;
}

// The same request of another tenant.
inline Request Of(std::string_view tenant, Request request) {
  request.tenant = tenant;
  return request;
}

// One device of 100 bytes; tenant "small" may have 30 of them, the others all.
inline GateConfig TwoTenants() {
  GateConfig config = OneDevice(100);
  config.tenants = {{"small", 30}};
  return config;
}

// What one call had the gate say.
struct Said {
  struct Word {
    std::string name;
    Decision decision;
  };
  std::vector<Word> words;
};

class TestGate {
 public:
  explicit TestGate(const GateConfig& config) : gate_(config) {
    gate_.Start(At(0), effects_);
    Listen("");
  }

  // `name` where the request has no id, or where two have the same.
  Said Admit(const Request& request, double at_s, std::string name = "") {
    if (name.empty()) name = request.request_id;
    admission_ = gate_.Admit(request, At(at_s), effects_);
    if (admission_.lease.id.value != 0) {
      refs_[name] = admission_.lease;
      names_[{admission_.lease.id.value, admission_.lease.attachment}] = name;
    }
    return Listen(name);
  }
  Said End(std::string_view name, double at_s) { return EndAs(name, Gate::EndKind::kCompleted, at_s); }
  Said Vanish(std::string_view name, double at_s) { return EndAs(name, Gate::EndKind::kClientGone, at_s); }
  Said EndAs(std::string_view name, Gate::EndKind kind, double at_s) {
    gate_.End(ref(name), kind, At(at_s), effects_);
    return Listen(name);
  }
  Said Cancel(std::string_view name, double at_s) {
    gate_.Cancel(ref(name), At(at_s), effects_);
    return Listen(name);
  }
  Said Revoke(std::string_view name, double grace_s, double at_s) {
    gate_.Revoke(ref(name).id, absl::Seconds(grace_s), "maintenance", At(at_s), effects_);
    return Listen(name);
  }
  Said RevokeAck(std::string_view name, double at_s) {
    gate_.RevokeAck(ref(name).id, At(at_s), effects_);
    return Listen(name);
  }
  Said Progress(std::string_view name, int64_t used_bytes, double at_s) {
    Costs used;
    used.fill({.kv_bytes = used_bytes});
    gate_.Progress(ref(name).id, used, At(at_s), effects_);
    return Listen(name);
  }
  Gate::Renewal Renew(std::string_view name, double at_s, uint32_t caller = 1) {
    const Gate::Renewal renewal = gate_.Renew(ref(name).id, caller, At(at_s), effects_);
    Listen(name);
    return renewal;
  }
  bool Release(std::string_view name, double at_s, uint32_t caller = 1) {
    const bool known = gate_.Release(ref(name).id, caller, Gate::EndKind::kCompleted, At(at_s), effects_);
    Listen(name);
    return known;
  }
  Said Reading(int device, int64_t capacity_bytes, double at_s, bool stale = false) {
    Gate::DeviceReading reading;
    reading.capacity_bytes = capacity_bytes;
    reading.ceiling_bytes = gate_.budget().account(AccountId{device}).ceiling_bytes;
    reading.stale = stale;
    gate_.SetReading(AccountId{device}, reading, At(at_s), effects_);
    return Listen("");
  }
  Said Advance(double at_s) {
    gate_.Advance(At(at_s), effects_);
    return Listen("");
  }
  Said Drain(double at_s) {
    gate_.Drain(At(at_s), effects_);
    return Listen("");
  }

  Gate& gate() { return gate_; }
  const Gate& gate() const { return gate_; }
  LeaseRef ref(std::string_view name) const {
    const auto it = refs_.find(std::string(name));
    return it == refs_.end() ? LeaseRef() : it->second;
  }
  const Lease* lease(std::string_view name) const { return gate_.Find(ref(name).id); }
  LeaseState state(std::string_view name) const {
    return lease(name) == nullptr ? LeaseState::kFree : lease(name)->state;
  }
  const Account& account(std::string_view name) const {
    for (size_t a = 0; a < gate_.budget().size(); ++a) {
      const Account& account = gate_.budget().account(AccountId{static_cast<int32_t>(a)});
      if (account.name == name) return account;
    }
    ADD_FAILURE() << "no account " << name;
    return gate_.budget().account(AccountId{0});
  }
  int64_t reserved(std::string_view account_name) const { return account(account_name).reserved_bytes; }
  // Rows of the last call.
  const std::vector<LedgerRow>& rows() const { return rows_; }

 private:
  Said Listen(std::string_view asked) {
    gate_.CheckInvariants();
    Said said;
    for (const Decision& d : effects_.decisions) {
      const auto it = names_.find({d.lease.id.value, d.lease.attachment});
      said.words.push_back({it == names_.end() ? std::string(asked) : it->second, d});
    }
    rows_ = effects_.rows;
    effects_.Clear();
    return said;
  }

  Gate gate_;
  Effects effects_;
  std::vector<LedgerRow> rows_;
  Gate::Admission admission_;
  std::map<std::string, LeaseRef> refs_;
  std::map<std::pair<uint64_t, uint32_t>, std::string> names_;
};

inline std::vector<std::string> NamesOf(const Said& said, Decision::Kind kind, Outcome outcome) {
  std::vector<std::string> names;
  for (const Said::Word& word : said.words) {
    if (word.decision.kind == kind && word.decision.outcome == outcome) names.push_back(word.name);
  }
  return names;
}

// Exactly these were granted, in this order; what ended beside is not asked.
template <typename... Names>
auto Grants(Names... names) {
  return testing::ResultOf(
      "granted", [](const Said& said) { return NamesOf(said, Decision::Kind::kAnswer, Outcome::kGranted); },
      testing::ElementsAre(std::string(names)...));
}

// These waiters or callers, and no others, got `outcome` as their answer.
template <typename... Names>
auto Refuses(Outcome outcome, Names... names) {
  return testing::ResultOf(
      std::string(OutcomeName(outcome)),
      [outcome](const Said& said) { return NamesOf(said, Decision::Kind::kAnswer, outcome); },
      testing::ElementsAre(std::string(names)...));
}

// The lease of `name` is gone, and that is all there was of ends.
inline auto Ends(Outcome outcome, const std::string& name) {
  return testing::ResultOf(
      std::string(OutcomeName(outcome)),
      [outcome](const Said& said) { return NamesOf(said, Decision::Kind::kEnd, outcome); }, testing::ElementsAre(name));
}

// The holder `name` is told to stop.
inline auto Stops(Outcome outcome, const std::string& name) {
  return testing::ResultOf(
      std::string(OutcomeName(outcome)),
      [outcome](const Said& said) { return NamesOf(said, Decision::Kind::kStop, outcome); },
      testing::ElementsAre(name));
}

MATCHER(SaysNothing, "says nothing") {
  return arg.words.empty();
}

// No lease, no waiter, no byte is left.
MATCHER(AllGone, "is as it began") {
  if (arg.gate().leases() != 0 || arg.gate().queue().size() != 0) return false;
  for (size_t a = 0; a < arg.gate().budget().size(); ++a) {
    const Account& account = arg.gate().budget().account(AccountId{static_cast<int32_t>(a)});
    if (account.reserved_bytes != 0 || account.held != 0 || account.overusers != 0) return false;
  }
  return true;
}

}  // namespace vramgate
