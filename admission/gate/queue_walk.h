// The walk: an island's waiters in the order in which they would go, one after the other.
//
//   walk.Begin(queue, island, now);
//   while (Lease* waiter = walk.Next()) ...   // may leave the queue and have its tenant charged before the next Next
//
// Next is, of the first ones of all lanes that were not looked at yet, the one
//   1. of the highest band: min(its priority + what it has waited / ageing, the highest priority that waits);
//   2. of the tenant that has had least, as of then: a grant in the walk counts for the next pick;
//   3. with the earliest end of wait, and of those who came first.
//
// Used by the Dispatch. Thread rule: the Gate's thread. Begin is linear in the lanes (pairs of tenant and priority that
// wait), Next logarithmic; nothing allocates once there were as many lanes before. Nobody may enter during a walk, nor
// may a share fall.
#pragma once

#include <cstdint>
#include <vector>

#include "admission/gate/wait_queue.h"

namespace vramgate {

class QueueWalk {
 public:
  void Begin(WaitQueue& queue, int island, Instant now);
  // Null: everybody was looked at.
  Lease* Next();

 private:
  struct Cursor {
    int64_t band = 0;
    FairTime had = 0;  // when it was looked up: it may have grown
    Lease* waiter = nullptr;
    Lane* lane = nullptr;
  };
  static bool Later(const Cursor& a, const Cursor& b);
  void Point(Cursor& cursor, Lease& waiter) const;

  int64_t ageing_ns_ = 0;
  int64_t top_ = 0;  // the highest priority that waits
  Instant now_;
  std::vector<Cursor> heap_;
};

}  // namespace vramgate
