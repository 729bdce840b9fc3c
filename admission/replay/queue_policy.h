// What policies inside of an engine have in common: a queue, first come first served, whose head starts as soon as it
// may; preempted requests go to its front. Each says when the head may start, in Fits.
//
// The gate config's queue limits hold here too, so that all policies are measured on the same requests: max_requests,
// max_tokens, max_wait, and no request whose prompt and max_tokens exceed the pool.
//
// Used by the policies beside this file. Confined to one thread.
#pragma once

#include <deque>

#include "admission/replay/policy.h"

namespace vramgate {

class QueuePolicy : public Policy {
 public:
  explicit QueuePolicy(const Scene& scene) : scene_(scene) {}

  void Arrive(int32_t job, Instant now) final;
  void End(int32_t job, Instant now) override;
  void Preempted(int32_t job, Instant now) override;
  Instant Advance(Instant now) override;
  void Stop(Instant now) final { (void)now; }

 protected:
  // Called before a pass over the queue that asks Fits for one request after the other, until one does not fit.
  virtual void BeginPass(Instant now) = 0;
  virtual bool Fits(int32_t job) = 0;
  // `job`, for which Fits held, was started.
  virtual void Started(int32_t job) = 0;
  // Whether the head may fit although nobody left since it was asked last.
  virtual bool every_step() const { return false; }
  // Bytes of the pool that are never given to a request alone: such a request is refused.
  virtual int64_t reserved_bytes() const { return 0; }
  // Called after the pass, where the head did not fit and others may pass it (TryStart).
  virtual void PassHead(Instant now) { (void)now; }

  // Starts `queue()[position]` where Fits says so.
  bool TryStart(size_t position, Instant now);
  const std::deque<int32_t>& queue() const { return queue_; }
  const Job& job(int32_t index) const { return scene_.jobs[static_cast<size_t>(index)]; }
  // Tokens whose KV it takes when it starts: after a preemption, more than its prompt.
  int64_t start_tokens(int32_t index) const { return job(index).prompt_tokens + scene_.engine.generated(index); }
  const KvCurve& curve() const { return scene_.engine.options().curve; }
  int64_t pool_bytes() const { return scene_.engine.options().pool_bytes; }

  const Scene& scene_;

 private:
  void RefuseOverdue(Instant now);
  void StartAll(Instant now);

  bool changed_ = false;  // since the last pass: somebody left, or the head did
  std::deque<int32_t> queue_;
  int64_t queued_tokens_ = 0;
  size_t preempted_ = 0;  // of the queue, at its front: these are never refused
};

}  // namespace vramgate
