// How many streams may be open at once over all listeners: each is memory that a caller makes us hold.
//
//   StreamLimit::Ticket ticket(limit);
//   if (!ticket.taken()) return RESOURCE_EXHAUSTED;   // else given back with the ticket
//
// Thread-safe. The limit outlives its tickets.
#pragma once

#include <atomic>
#include <cstdint>

namespace vramgate {

class StreamLimit {
 public:
  explicit StreamLimit(int64_t most) : most_(most) {}

  class Ticket {
   public:
    explicit Ticket(StreamLimit& limit) : limit_(limit), taken_(limit.open_.fetch_add(1) < limit.most_) {}
    ~Ticket() { limit_.open_.fetch_sub(1); }
    Ticket(const Ticket&) = delete;
    Ticket& operator=(const Ticket&) = delete;
    bool taken() const { return taken_; }

   private:
    StreamLimit& limit_;
    const bool taken_;
  };

  int64_t open() const { return open_.load(); }

 private:
  const int64_t most_;
  std::atomic<int64_t> open_ = 0;
};

}  // namespace vramgate
