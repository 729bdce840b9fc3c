#include "admission/gate/outlook.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "admission/check.h"

namespace vramgate {
namespace {

// A part of the pool stays free of what is not sure: the next steps' growth, when outputs do not end as expected.
constexpr int64_t kWatermarkPart = 100;
constexpr int64_t kForEver = int64_t{1} << 40;  // steps

// Most steps that `tokens` may take.
int64_t StepsFor(int64_t tokens, double min_tokens_per_step) {
  return static_cast<int64_t>(std::ceil(static_cast<double>(tokens) / min_tokens_per_step));
}

int64_t BlockTokens(const AssuranceSpec& spec) {
  return static_cast<int64_t>(std::bit_floor(static_cast<uint64_t>(spec.block_tokens)));
}

FutureUsage::Options FutureOptions(const AssuranceSpec& spec, size_t price_class, int64_t pool_bytes) {
  FutureUsage::Options options;
  options.capacity_bytes = pool_bytes;
  options.block_bytes = spec.block_bytes[price_class];
  options.block_tokens = BlockTokens(spec);
  options.bucket_steps = OutlookBucketSteps(spec);
  options.tokens_per_step = spec.max_tokens_per_step;
  return options;
}

}  // namespace

int64_t OutlookBucketSteps(const AssuranceSpec& spec) {
  const int64_t steps = StepsFor(spec.typical_output_tokens, spec.min_tokens_per_step);
  return static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(DivideUp(steps, FutureUsage::kBuckets))));
}

Outlook::Outlook(const AssuranceSpec& spec, int price_class, int64_t pool_bytes, LengthClasses& lengths)
    : spec_(spec),
      class_(static_cast<size_t>(price_class)),
      lengths_(lengths),
      future_(FutureOptions(spec, class_, pool_bytes)),
      control_({.risk = spec.risk}),
      slots_(kSlots),
      step_time_(spec.steps_per_s > 0 ? absl::Seconds(1 / spec.steps_per_s) : absl::ZeroDuration()),
      silent_(spec.steps_per_s <= 0 && spec.report_within < absl::InfiniteDuration()) {}

Outlook::~Outlook() {
  // The process, or a test, is over: the leases' own hooks go with them.
  holders_.clear();
  for (Slot& slot : slots_) slot.clear();
}

void Outlook::SetCapacity(int64_t bytes) {
  future_.SetCapacity(bytes);
}

// --- How a holder grows ---

// From now on, with so much emitted of each sequence.
FutureUsage::Growth Outlook::GrowthOf(const Lease& lease, int64_t emitted_tokens) const {
  FutureUsage::Growth growth{.full_bytes = full_bytes(lease), .since = step(), .last_step = step()};
  growth.start_bytes = growth.full_bytes;
  if (silent_ || lease.prompt_tokens <= 0 || lease.max_output_tokens <= 0)
    return growth;  // nothing is known: it holds all of it
  const int64_t block_tokens = BlockTokens(spec_);
  const int64_t block_bytes = spec_.block_bytes[class_] * lease.sequences;
  const int64_t past = (lease.prompt_tokens - 1) % block_tokens + spec_.lookahead_tokens + emitted_tokens;
  growth.start_bytes =
      std::min(growth.full_bytes, lease.start_costs[class_].kv_bytes + past / block_tokens * block_bytes);
  growth.block_bytes = block_bytes;
  growth.fill_tokens = past % block_tokens + 1;
  return growth;
}

// Steps from its start until its prompt is computed, at the most: it may come in the middle of one, and behind others.
int64_t Outlook::PromptSteps(const Lease& lease, int64_t prompt_tokens_before) const {
  const int64_t tokens = prompt_tokens_before + std::max<int64_t>(1, lease.prompt_tokens);
  return spec_.start_steps + DivideUp(tokens, spec_.prompt_tokens_per_step);
}

FutureUsage::Growth Outlook::StartOf(const Lease& lease, int64_t prompt_steps) const {
  FutureUsage::Growth growth = GrowthOf(lease, 0);
  growth.last_step +=
      prompt_steps + StepsFor(std::max<int64_t>(0, lease.max_output_tokens - 1), spec_.min_tokens_per_step);
  if (silent_) growth.last_step += kForEver;
  return growth;
}

int64_t Outlook::BytesAt(const FutureUsage::Growth& growth, int64_t step) const {
  const int64_t tokens16 =
      ((growth.fill_tokens - 1) << kTokenShift) + (step - growth.since) * TokensPerStep16(spec_.max_tokens_per_step);
  return std::min(growth.full_bytes,
                  growth.start_bytes + growth.block_bytes * (tokens16 / (BlockTokens(spec_) << kTokenShift)));
}

int64_t Outlook::StartBytes(const Lease& lease) const {
  return GrowthOf(lease, 0).start_bytes;
}

int64_t Outlook::emitted_tokens(const Lease& lease) const {
  const HolderState& state = lease.holder;
  const auto since = static_cast<double>(step() - state.growth.since);
  const int64_t emitted = state.emitted_at_since + static_cast<int64_t>(since * spec_.min_tokens_per_step);
  return std::clamp<int64_t>(emitted, 0, lease.max_output_tokens);
}

FutureUsage::Chance Outlook::ChanceOf(std::span<const float> survival, int64_t at_since, int64_t now) const {
  if (spec_.level != Assurance::kStatistical) return {};
  return {survival, at_since, now};
}

// --- Judging ---

bool Outlook::Fits(const Lease& lease, const Account& pool) const {
  judged_.lease = {};
  const int64_t prompt_steps = PromptSteps(lease, prompt_tokens_);
  const FutureUsage::Growth growth = StartOf(lease, prompt_steps);
  const int64_t free_bytes = pool.free_bytes();
  if (growth.start_bytes > free_bytes) return false;
  if (spec_.max_sequences > 0 && sequences_ + lease.sequences > spec_.max_sequences) return false;
  const int64_t capacity_bytes = pool.capacity_bytes - pool.fixed_bytes;
  const bool fits_in_full = full_bytes_ + growth.full_bytes <= capacity_bytes;
  if (!fits_in_full && (late_ > 0 || silent_ || growth.full_bytes > capacity_bytes)) return false;
  const std::span<const float> survival = lengths_.Peek(lease.output_class);
  const FutureUsage::Holder usage =
      future_.MakeHolder(growth, silent_ ? FutureUsage::Chance() : ChanceOf(survival, -prompt_steps, 0));
  bool fits = fits_in_full;
  bool sure = fits_in_full;
  if (!fits) {
    const bool must_be_sure = spec_.level == Assurance::kLockstep || control_.guaranteed_only() ||
                              lease.holder.revocations >= kMostRevocations ||
                              free_bytes - growth.start_bytes < capacity_bytes / kWatermarkPart;
    fits = sure = must_be_sure && future_.FitsSurely(usage);
    if (!must_be_sure) fits = future_.Fits(usage, control_.z(), &sure);
  }
  if (fits) judged_ = {lease.id, growth, usage, prompt_steps, sure};
  return fits;
}

void Outlook::Add(Lease& lease) {
  CHECK(judged_.lease == lease.id, "Outlook: a lease was added that was not found to fit");
  HolderState& state = lease.holder;
  state.growth = judged_.growth;
  state.granted_step = step();
  state.emitted_at_since = -judged_.prompt_steps;
  state.prompt_end = step() + judged_.prompt_steps;
  state.whole = silent_;
  state.prompt_done = silent_ || lease.prompt_tokens <= 0;
  state.late = state.asked = false;
  state.extend_to = -1;
  state.sure = judged_.sure;
  Count(lease, 0);
  state.usage = judged_.usage;
  judged_.lease = {};
  future_.Add(state.usage);
  holders_.push_back(lease);
  full_bytes_ += state.growth.full_bytes;
  sequences_ += lease.sequences;
  prompt_tokens_ += lease.prompt_tokens;
  if (!state.sure) {
    ++unsure_;
    window_unsure_ = true;
    control_.Admitted();
  }
  Plan(lease);
}

// Among the lengths of its class, whose newest table is its own from now on.
void Outlook::Count(Lease& lease, int64_t emitted_now) {
  HolderState& state = lease.holder;
  state.table = lengths_.Use(lease.output_class);
  state.counted_tokens = std::clamp<int64_t>(emitted_now, 0, std::max<int64_t>(0, lease.max_output_tokens));
  lengths_.Enter(state.table, state.counted_tokens);
}

// What it adds, with the newest chances.
FutureUsage::Holder Outlook::Newest(Lease& lease, int64_t emitted_now) {
  const HolderState& state = lease.holder;
  Count(lease, emitted_now);
  const std::span<const float> survival = lengths_.survival(state.table);
  return future_.MakeHolder(state.growth, ChanceOf(survival, state.emitted_at_since, emitted_now));
}

void Outlook::Put(Lease& lease, int64_t emitted_now) {
  lease.holder.usage = Newest(lease, emitted_now);
  future_.Add(lease.holder.usage);
}

void Outlook::Take(Lease& lease) {
  future_.Remove(lease.holder.usage);
  lengths_.Leave(lease.holder.table, lease.holder.counted_tokens);
  lengths_.Drop(lease.holder.table);
}

void Outlook::Remove(Lease& lease, const Ended& ended) {
  HolderState& state = lease.holder;
  const int64_t tokens = ended.output_tokens >= 0 ? ended.output_tokens : emitted_tokens(lease);
  const bool cut = ended.cut || tokens >= lease.max_output_tokens;
  if (lease.max_output_tokens > 0) {
    lengths_.Ended(lease.output_class, std::min(tokens, lease.max_output_tokens),
                   cut ? OutputLengths::End::kCut : OutputLengths::End::kStopped);
  }
  Take(lease);
  holders_.erase(holders_.iterator_to(lease));
  if (lease.block_hook.is_linked()) lease.block_hook.unlink();
  full_bytes_ -= state.growth.full_bytes;
  sequences_ -= lease.sequences;
  if (!state.sure) --unsure_;
  if (state.late) --late_;
  if (state.asked) --asked_;
}

int64_t Outlook::CoveredTokens(const Lease& lease, int64_t held_bytes) const {
  const int64_t block_bytes = spec_.block_bytes[class_] * lease.sequences;
  if (lease.prompt_tokens <= 0 || block_bytes <= 0 || held_bytes >= full_bytes(lease)) return lease.max_output_tokens;
  const int64_t block_tokens = BlockTokens(spec_);
  const int64_t blocks = std::max<int64_t>(0, held_bytes - lease.start_costs[class_].kv_bytes) / block_bytes;
  const int64_t tokens = (blocks + 1) * block_tokens - 1 - (lease.prompt_tokens - 1) % block_tokens;
  return std::clamp<int64_t>(tokens, 0, lease.max_output_tokens);
}

// --- Time ---

// Notes the step at which `lease` must be looked at next: its next block, the end of its prompt, or its own end.
void Outlook::Plan(Lease& lease) {
  HolderState& state = lease.holder;
  const FutureUsage::Growth& growth = state.growth;
  int64_t next = growth.last_step + 1;
  if (!state.prompt_done) next = std::min(next, state.prompt_end + 1);
  if (growth.block_bytes > 0 && BytesAt(growth, step()) < growth.full_bytes) {
    const int64_t rate16 = TokensPerStep16(spec_.max_tokens_per_step);
    const int64_t block16 = BlockTokens(spec_) << kTokenShift;
    const int64_t fill16 = (growth.fill_tokens - 1) << kTokenShift;
    const int64_t blocks = (fill16 + (step() - growth.since) * rate16) / block16 + 1;
    next = std::min(next, growth.since + DivideUp(blocks * block16 - fill16, rate16));
  }
  state.look_at = next;
  const int64_t at = std::min(std::max(next, step() + 1), step() + kSlots - 1);
  if (lease.block_hook.is_linked()) lease.block_hook.unlink();
  slots_[static_cast<size_t>(at % kSlots)].push_back(lease);
}

// It counts with its full size from now on, for ever.
void Outlook::Pin(Lease& lease) {
  HolderState& state = lease.holder;
  Take(lease);
  state.growth.start_bytes = state.growth.full_bytes;
  state.growth.block_bytes = 0;
  state.growth.last_step = step() + kForEver;
  state.late = true;
  ++late_;
  ++lates_;
  Put(lease, lease.max_output_tokens + kForEver);
  if (lease.block_hook.is_linked()) lease.block_hook.unlink();
}

void Outlook::Look(Lease& lease, Need need, Late late) {
  HolderState& state = lease.holder;
  const bool prompt_due = !state.prompt_done && step() > state.prompt_end;
  const bool declared_alone = spec_.steps_per_s > 0;  // nobody says when a prompt is done: it is as declared
  if (prompt_due && declared_alone) state.prompt_done = true;
  if (step() > state.growth.last_step || (prompt_due && !declared_alone)) {
    Pin(lease);
    late(lease);
  } else {
    Plan(lease);
  }
  need(lease, BytesAt(state.growth, step()));
}

void Outlook::Advance(int64_t steps) {
  future_.AdvanceTo(step() + steps);
  prompt_tokens_ = std::max<int64_t>(0, prompt_tokens_ - spec_.prompt_tokens_per_step * std::min(steps, kSlots));
  window_steps_ += steps;
  window_unsure_ = window_unsure_ || unsure_ > 0;
}

void Outlook::Settle(Need need, Late late) {
  for (int64_t s = std::max(settled_ + 1, step() - kSlots + 1); s <= step(); ++s) {
    Slot due;
    due.swap(slots_[static_cast<size_t>(s % kSlots)]);
    while (!due.empty()) {
      Lease& lease = due.front();
      due.pop_front();
      if (lease.holder.look_at > step()) {
        Plan(lease);
      } else {
        Look(lease, need, late);
      }
    }
  }
  if (spec_.level == Assurance::kStatistical) RenewSome(step() - settled_);
  settled_ = step();
}

void Outlook::RenewSome(int64_t steps) {
  lengths_.Refresh();
  const int64_t many = std::min(std::ssize(holders_), kRenewals * steps);
  for (int64_t i = 0; i < many; ++i) {
    Lease& lease = holders_.front();
    holders_.splice(holders_.end(), holders_, holders_.begin());
    if (lease.holder.late || lease.holder.whole || step() <= lease.holder.prompt_end) continue;
    lengths_.Drop(lease.holder.table);
    lengths_.Leave(lease.holder.table, lease.holder.counted_tokens);
    const FutureUsage::Holder newest = Newest(lease, emitted_tokens(lease));
    future_.Renew(lease.holder.usage, newest);
    lease.holder.usage = newest;
  }
}

bool Outlook::Progress(Lease& lease, int64_t emitted) {
  HolderState& state = lease.holder;
  if (state.late || state.whole || lease.max_output_tokens <= 0) return true;
  emitted = std::min(emitted, lease.max_output_tokens);
  if (state.prompt_done && emitted == emitted_tokens(lease)) return true;
  FutureUsage::Growth growth = GrowthOf(lease, emitted);
  growth.last_step += StepsFor(std::max<int64_t>(0, lease.max_output_tokens - emitted - 1), spec_.min_tokens_per_step);
  if (growth.last_step > state.growth.last_step || growth.start_bytes > BytesAt(state.growth, step())) {
    Pin(lease);
    return false;
  }
  Take(lease);
  state.growth = growth;
  state.emitted_at_since = emitted;
  state.prompt_done = state.prompt_done || emitted > 0;
  Put(lease, emitted);
  Plan(lease);
  return true;
}

}  // namespace vramgate
