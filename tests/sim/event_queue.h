// What will happen, earliest first; at one instant, in the order it was said.
//
//   EventQueue<int> queue;
//   queue.At(now + absl::Seconds(1), 7);
//   auto [when, event] = queue.Pop();
#pragma once

#include <cstdint>
#include <map>
#include <utility>

#include "admission/clock.h"

namespace vramgate::sim {

template <typename Event>
class EventQueue {
 public:
  void At(Instant when, Event event) { events_.emplace(std::pair(when, sequence_++), std::move(event)); }
  bool empty() const { return events_.empty(); }
  // REQUIRES: not empty.
  std::pair<Instant, Event> Pop() {
    auto node = events_.extract(events_.begin());
    return {node.key().first, std::move(node.mapped())};
  }

 private:
  std::map<std::pair<Instant, uint64_t>, Event> events_;
  uint64_t sequence_ = 0;
};

}  // namespace vramgate::sim
