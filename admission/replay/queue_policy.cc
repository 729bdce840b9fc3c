#include "admission/replay/queue_policy.h"

namespace vramgate {

void QueuePolicy::Arrive(int32_t index, Instant now) {
  const Job& j = job(index);
  const int64_t tokens = int64_t{j.prompt_tokens} + j.max_tokens;
  if (curve().bytes(tokens) > pool_bytes() - reserved_bytes())
    return scene_.starts.Refuse(index, Outcome::kRejectedNeverFits, now);
  queue_.push_back(index);
  queued_tokens_ += tokens;
  if (queue_.size() == 1) StartAll(now);
  changed_ = changed_ || !scene_.fcfs;  // it may pass the head
  if (queue_.empty() || queue_.back() != index) return;
  const GateConfig::Queue& limits = scene_.gate.queue;
  if (std::ssize(queue_) <= limits.max_requests && queued_tokens_ <= limits.max_tokens &&
      limits.max_wait > absl::ZeroDuration()) {
    return;
  }
  queue_.pop_back();
  queued_tokens_ -= tokens;
  scene_.starts.Refuse(index, Outcome::kRejectedQueueFull, now);
}

void QueuePolicy::End(int32_t index, Instant now) {
  (void)index;
  (void)now;
  changed_ = true;  // Advance follows
}

void QueuePolicy::Preempted(int32_t index, Instant now) {
  (void)now;
  queue_.push_front(index);
  queued_tokens_ += int64_t{job(index).prompt_tokens} + job(index).max_tokens;
  ++preempted_;
  changed_ = true;
}

void QueuePolicy::RefuseOverdue(Instant now) {
  const absl::Duration most = scene_.gate.queue.max_wait;
  while (queue_.size() > preempted_) {
    const int32_t index = queue_[preempted_];
    if (now < job(index).arrival + most) return;
    queue_.erase(queue_.begin() + static_cast<ptrdiff_t>(preempted_));
    queued_tokens_ -= int64_t{job(index).prompt_tokens} + job(index).max_tokens;
    changed_ = true;
    scene_.starts.Refuse(index, Outcome::kRejectedQueueTimeout, now);
  }
}

Instant QueuePolicy::Advance(Instant now) {
  RefuseOverdue(now);
  if (changed_ || every_step()) StartAll(now);
  return queue_.size() > preempted_ ? job(queue_[preempted_]).arrival + scene_.gate.queue.max_wait : kNever;
}

bool QueuePolicy::TryStart(size_t position, Instant now) {
  const int32_t index = queue_[position];
  const Instant begin = scene_.times.Begin();
  const bool fits = Fits(index);
  scene_.times.End(begin);
  if (!fits || !scene_.starts.Start(index, now)) return false;
  Started(index);
  queue_.erase(queue_.begin() + static_cast<ptrdiff_t>(position));
  queued_tokens_ -= int64_t{job(index).prompt_tokens} + job(index).max_tokens;
  if (position < preempted_) --preempted_;
  return true;
}

void QueuePolicy::StartAll(Instant now) {
  changed_ = false;
  if (queue_.empty()) return;
  BeginPass(now);
  while (!queue_.empty() && TryStart(0, now)) {
  }
  if (!queue_.empty() && !scene_.fcfs) PassHead(now);
}

}  // namespace vramgate
