// An Outlook is what the levels above worst_case know of one instance: its holders, how each grows, what is known of
// outputs, and whether one more fits beside them in the pool, now and at every step to come.
//
//   if (outlook.Fits(lease, pool_account)) { ...reserve outlook.StartBytes(lease)...; outlook.Add(lease); }
//   outlook.Advance(1);                               // the engine's step is over ...
//   outlook.Remove(ended, {.output_tokens = 211});    // ... and these ended with it
//   outlook.Settle([&](Lease& lease, int64_t bytes) { ...it needs so many bytes from this step on... }, ...);
//
// lockstep: all holders advance as declared (AssuranceSpec). Then what may be used at a step is what FutureUsage::
// FitsSurely looks at, and no reservation can fail to grow. A holder seen outside of what is declared, too slow or too
// fast, is *late*: it counts with its full size for ever, and while there is one, requests are judged as at worst_case.
// statistical: besides, outputs are as long as they have been (OutputLengths), to within z deviations (RiskControl).
//
// Whatever worst_case admits, lockstep admits; whatever lockstep admits, statistical admits.
//
// Used by the Gate, one an instance, and by Dispatch to judge. Thread rule: the Gate's thread. Lifetime rule: leases
// are removed before they go. Fits, Add and Remove take a fixed number of passes over FutureUsage::kBuckets numbers;
// Advance, what the holders that fill a block take, and renews the chances of at most kRenewals of the others.
#pragma once

#include <boost/intrusive/list.hpp>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/functional/function_ref.h"
#include "admission/gate/budget.h"
#include "admission/gate/future_usage.h"
#include "admission/gate/gate_config.h"
#include "admission/gate/lease_table.h"
#include "admission/gate/length_classes.h"
#include "admission/gate/risk_control.h"

namespace vramgate {

// Steps of a bucket of FutureUsage.
int64_t OutlookBucketSteps(const AssuranceSpec& spec);

class Outlook {
 public:
  static constexpr int64_t kWindowSteps = 10;     // one window of RiskControl
  static constexpr int64_t kRenewals = 256;       // a step
  static constexpr int32_t kMostRevocations = 3;  // then only what is sure is granted, and never revoked

  Outlook(const AssuranceSpec& spec, int price_class, int64_t pool_bytes, LengthClasses& lengths);
  ~Outlook();
  Outlook(const Outlook&) = delete;

  // Whether `lease` fits beside the holders, in `pool`, which is theirs alone.
  bool Fits(const Lease& lease, const Account& pool) const;
  // What it takes of the pool when it starts.
  int64_t StartBytes(const Lease& lease) const;

  // Where a waiter is first in line for the instance: the step by which it surely starts, if nobody that Leaves it no
  // room is let in before and all holders keep to what is declared. nullopt: that cannot be said.
  std::optional<int64_t> SureStart(const Lease& waiter) const;
  // Says so; it stands until another is promised.
  struct Promise {
    LeaseId lease;
    int64_t start_step = 0;
  };
  void MakePromise(const Lease& waiter, int64_t start_step) { promise_ = {waiter.id, start_step}; }
  const Promise& promise() const { return promise_; }
  // Whether the promise to `first` holds with `lease` let in. REQUIRES: Fits was asked last of it, and it fits.
  bool KeepsPromise(const Lease& lease, const Lease& first) const;

  // How long until it can start, behind others that ask for so many bytes of the pool in all, as holders are expected
  // to use it: at lockstep, the most they may. nullopt: unknown, or not within what is foreseen.
  std::optional<absl::Duration> TimeToStart(const Lease& waiter, int64_t ahead_bytes) const;
  // A step takes so long by the clock, one with another.
  void Took(absl::Duration step_time);

  // REQUIRES: it is what Fits was asked last, and it fits.
  void Add(Lease& lease);
  struct Ended {
    int64_t output_tokens = -1;  // -1: as assumed
    bool cut = false;            // it might have gone on
  };
  void Remove(Lease& lease, const Ended& ended);

  // So many steps are over. What ended with them, or made progress, is said before Settle, which calls need(lease,
  // bytes) for each holder that needs so many bytes of the pool, in all, for the step to come, and late(lease) for each
  // that turned out late.
  void Advance(int64_t steps);
  using Need = absl::FunctionRef<void(Lease&, int64_t)>;
  using Late = absl::FunctionRef<void(Lease&)>;
  void Settle(Need need, Late late);
  // Of a reporting engine. Silent: nobody says when it steps, so whatever is added counts in full from its start.
  // FallSilent: all that are there do so from now on, late.
  void Heard() { silent_ = false; }
  void FallSilent(Need need, Late late);
  bool silent() const { return silent_; }
  // The holder has emitted so many tokens of each sequence by now. False: that is outside of what is declared.
  bool Progress(Lease& lease, int64_t emitted_tokens);

  // The holder that is to give way where others cannot go on: one that can be told, not asked before, fewer than
  // kMostRevocations times revoked; of these the lowest priority, then the youngest, then the one with the least
  // tokens. Null: there is none. O(holders), as is the next.
  Lease* Victim();
  // Of the pool, held by those who were asked.
  int64_t BytesGivingWay() const;
  // A holder was asked to stop, whoever wanted it; visits those that have not ended yet.
  void Asked(Lease& lease);
  void ForEachAsked(absl::FunctionRef<void(const Lease&)> visit) const;
  // Tokens of output, of each sequence, for which so many bytes of the pool suffice.
  int64_t CoveredTokens(const Lease& lease, int64_t held_bytes) const;
  // A revocation, or an overuse, that was nobody's doing but the policy's.
  void Erred() { erred_ = true; }
  // After a Settle and what it led to: closes the windows that are over.
  void EndWindows();

  void SetCapacity(int64_t bytes);
  int64_t emitted_tokens(const Lease& lease) const;  // as assumed
  Assurance effective_level() const { return late_ > 0 || silent_ ? Assurance::kWorstCase : spec_.level; }
  bool foresees() const { return effective_level() != Assurance::kWorstCase; }
  const AssuranceSpec& spec() const { return spec_; }
  const RiskControl& control() const { return control_; }
  const FutureUsage& future() const { return future_; }
  int64_t late() const { return late_; }
  int64_t lates() const { return lates_; }  // so far
  int64_t step() const { return future_.step(); }
  bool empty() const { return holders_.empty(); }

 private:
  using Holders = boost::intrusive::list<Lease, boost::intrusive::member_hook<Lease, HolderHook, &Lease::holder_hook>>;
  using Slot = boost::intrusive::list<Lease, boost::intrusive::member_hook<Lease, BlockHook, &Lease::block_hook>,
                                      boost::intrusive::constant_time_size<false>>;
  static constexpr int64_t kSlots = 1024;

  FutureUsage::Growth GrowthOf(const Lease& lease, int64_t emitted_tokens) const;
  FutureUsage::Growth StartOf(const Lease& lease, int64_t prompt_steps) const;
  FutureUsage::Chance ChanceOf(std::span<const float> survival, int64_t at_since, int64_t now) const;
  int64_t PromptSteps(const Lease& lease, int64_t prompt_tokens_before) const;
  int64_t BytesAt(const FutureUsage::Growth& growth, int64_t step) const;
  FutureUsage::Holder Newest(Lease& lease, int64_t emitted_now);
  void Count(Lease& lease, int64_t emitted_now);
  void Put(Lease& lease, int64_t emitted_now);
  void Take(Lease& lease);
  void Plan(Lease& lease);
  void Look(Lease& lease, Need need, Late late);
  void Pin(Lease& lease);
  void RenewSome(int64_t steps);
  int64_t full_bytes(const Lease& lease) const { return lease.costs[class_].kv_bytes; }

  const AssuranceSpec spec_;
  const size_t class_;
  LengthClasses& lengths_;
  FutureUsage future_;
  RiskControl control_;
  Holders holders_;          // the one whose chance was renewed longest ago first
  std::vector<Slot> slots_;  // by the step, modulo kSlots, at which a holder needs its next block
  int64_t full_bytes_ = 0;   // of all holders
  int64_t sequences_ = 0;
  int64_t unsure_ = 0;         // holders that are not guaranteed
  int64_t prompt_tokens_ = 0;  // that the engine has yet to compute, as declared
  // What Fits found last: a grant follows at once.
  struct Judged {
    LeaseId lease;
    FutureUsage::Growth growth;
    FutureUsage::Holder usage;
    int64_t prompt_steps = 0;
    bool sure = false;
  };
  mutable Judged judged_;
  Promise promise_;
  absl::Duration step_time_;  // 0: unknown
  int64_t late_ = 0;
  int64_t asked_ = 0;
  bool silent_;
  int64_t lates_ = 0;
  int64_t settled_ = 0;  // the step that Settle was last called at
  int64_t window_steps_ = 0;
  bool window_unsure_ = false;  // a holder that is not guaranteed was there
  bool erred_ = false;
};

}  // namespace vramgate
