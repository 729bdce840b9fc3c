#include "admission/gate/queue_walk.h"

#include <algorithm>

namespace vramgate {

bool QueueWalk::Later(const Cursor& a, const Cursor& b) {
  if (a.band != b.band) return a.band < b.band;
  if (a.had != b.had) return a.had > b.had;
  return Lane::Sooner()(*b.waiter, *a.waiter);
}

// REQUIRES: `waiter` is of the cursor's lane.
void QueueWalk::Point(Cursor& cursor, Lease& waiter) const {
  cursor.waiter = &waiter;
  cursor.had = cursor.lane->had();
  cursor.band = cursor.lane->priority;
  if (cursor.band >= top_) return;
  const int64_t steps = ageing_ns_ == 0 ? top_ - cursor.band : (now_.ns - waiter.arrived.ns) / ageing_ns_;
  cursor.band += std::min(steps, top_ - cursor.band);
}

void QueueWalk::Begin(WaitQueue& queue, int island, Instant now) {
  ageing_ns_ = queue.ageing_ns();
  now_ = now;
  heap_.clear();
  if (queue.empty(island)) return;
  top_ = queue.lanes(island).begin()->priority;
  for (Lane& lane : queue.lanes(island)) {
    heap_.push_back({.lane = &lane});
    Point(heap_.back(), *lane.waiters.begin());
  }
  std::make_heap(heap_.begin(), heap_.end(), Later);
}

Lease* QueueWalk::Next() {
  while (!heap_.empty()) {
    std::pop_heap(heap_.begin(), heap_.end(), Later);
    Cursor& cursor = heap_.back();
    if (cursor.had != cursor.lane->had()) {  // its tenant was charged since
      cursor.had = cursor.lane->had();
      std::push_heap(heap_.begin(), heap_.end(), Later);
      continue;
    }
    Lease* const waiter = cursor.waiter;
    const auto next = std::next(cursor.lane->waiters.iterator_to(*waiter));
    if (next == cursor.lane->waiters.end()) {
      heap_.pop_back();
    } else {
      Point(cursor, *next);
      std::push_heap(heap_.begin(), heap_.end(), Later);
    }
    return waiter;
  }
  return nullptr;
}

}  // namespace vramgate
