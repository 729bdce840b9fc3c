// What a run looked like over time, in at most 512 spans of equal length: what the plot shows.
//
//   timeline.Add(from, to, occupied_bytes, waiting);   // in the order of time
//   timeline.Waited(now, wait_s);                      // of one that starts
//
// Spans double in length where the run outgrows them. Used by the meter. Confined to one thread.
#pragma once

#include <cstdint>
#include <vector>

#include "admission/clock.h"

namespace vramgate {

class Timeline {
 public:
  struct Span {
    double mean_bytes = 0;
    int64_t most_bytes = 0;
    int64_t most_waiting = 0;
    int64_t starts = 0;
    double longest_wait_s = 0;  // of those that started in it
  };

  void Add(Instant from, Instant to, int64_t bytes, int64_t waiting);
  void Waited(Instant at, double wait_s);

  int64_t span_ns() const { return span_ns_; }
  std::vector<Span> spans() const;

 private:
  static constexpr size_t kMost = 512;

  struct Sums {
    double byte_ns = 0;
    Span span;
  };
  Sums& At(int64_t ns);

  int64_t span_ns_ = 10'000'000;
  std::vector<Sums> sums_;
};

}  // namespace vramgate
