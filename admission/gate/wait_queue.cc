#include "admission/gate/wait_queue.h"

#include <algorithm>

#include "admission/check.h"

namespace vramgate {

WaitQueue::WaitQueue(const Fleet& fleet, const GateConfig::Queue& limits)
    : fleet_(fleet),
      ageing_ns_(std::min<int64_t>(NonNegativeNanos(limits.ageing), int64_t{3600} * 1'000'000'000)),
      orders_(static_cast<size_t>(fleet.islands())),
      lines_(fleet.lines().size()),
      bytes_(static_cast<size_t>(fleet.islands())) {}

WaitQueue::~WaitQueue() {
  for (Order& order : orders_) order.clear();
}

void WaitQueue::Enter(Lease& lease) {
  // At most 1e6 steps of an hour: 3.6e18 ns, inside int64 beside any boot time.
  lease.order = lease.arrived.ns - int64_t{std::clamp(lease.priority, -kMaxPriority, kMaxPriority)} * ageing_ns_;
  lease.line = fleet_.line(lease.model, lease.pin);
  LineState& line = this->line(lease.line);
  for (size_t c = 0; c < line.least.size(); ++c) {
    RankCost& least = line.least[c];
    const bool first = line.waiting == 0;
    least.kv_bytes = first ? lease.costs[c].kv_bytes : std::min(least.kv_bytes, lease.costs[c].kv_bytes);
    least.activation_bytes =
        first ? lease.costs[c].activation_bytes : std::min(least.activation_bytes, lease.costs[c].activation_bytes);
  }
  ++line.waiting;
  Order& order = this->order(fleet_.lines()[static_cast<size_t>(lease.line)].island);
  order.insert(order.end(), lease);  // nearly always the last
  ++requests_;
  tokens_ += lease.tokens;
  bytes_[static_cast<size_t>(fleet_.lines()[static_cast<size_t>(lease.line)].island)] += BytesOf(lease);
}

void WaitQueue::Leave(Lease& lease) {
  CHECK(lease.order_hook.is_linked(), "WaitQueue: left without having entered");
  const int island = fleet_.lines()[static_cast<size_t>(lease.line)].island;
  Order& order = this->order(island);
  order.erase(order.iterator_to(lease));
  --line(lease.line).waiting;
  --requests_;
  tokens_ -= lease.tokens;
  bytes_[static_cast<size_t>(island)] -= BytesOf(lease);
  CHECK(requests_ >= 0 && tokens_ >= 0, "WaitQueue: more left than entered");
}

int64_t WaitQueue::BytesOf(const Lease& lease) const {
  const Instance& instance = fleet_.instance(fleet_.lines()[static_cast<size_t>(lease.line)].alternatives.front());
  constexpr int64_t kMostBytes = int64_t{1} << 44;  // so that a queue of a million sums without overflow
  return std::min(kMostBytes, instance.total_bytes(lease.costs[static_cast<size_t>(instance.price_class)]));
}

}  // namespace vramgate
