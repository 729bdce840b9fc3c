// How the streams of gateways have ended, counted: vramgate_ext_proc_ends_total, and vramgate_ext_proc_streams that are
// open.
//
//   ends.Opened();
//   ends.Closed(ExtProcEnd::kFinished, /*usage_read=*/false);
//
// Used by the ext_proc calls and the metrics page. Thread-safe. It outlives the calls.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace vramgate {

enum class ExtProcEnd : uint8_t {
  kPassed,     // needed no lease
  kRefused,    // answered by us
  kLeft,       // gone before there was a decision
  kOvertaken,  // the gateway answered it before there was a decision, or sent it on without asking
  kAborted,    // gone between the grant and the response headers
  kFinished,   // gone after them: done, or left
  kLost,       // gone after them, with the gateway's whole connection
  kBroken,     // we ended the stream of a granted request: revoked, a broken protocol, or drain.grace over
};
inline constexpr size_t kExtProcEnds = 8;

// The metric's label.
constexpr std::string_view ExtProcEndName(ExtProcEnd end) {
  switch (end) {
    case ExtProcEnd::kPassed:
      return "passed";
    case ExtProcEnd::kRefused:
      return "refused";
    case ExtProcEnd::kLeft:
      return "left";
    case ExtProcEnd::kOvertaken:
      return "overtaken";
    case ExtProcEnd::kAborted:
      return "aborted";
    case ExtProcEnd::kFinished:
      return "finished";
    case ExtProcEnd::kLost:
      return "connection_lost";
    case ExtProcEnd::kBroken:
      return "broken";
  }
  return "";
}

class ExtProcEnds {
 public:
  void Opened() { open_.fetch_add(1, std::memory_order_relaxed); }
  // `usage_read`: the response said how many tokens it has.
  void Closed(ExtProcEnd end, bool usage_read) {
    open_.fetch_sub(1, std::memory_order_relaxed);
    usages_.fetch_add(usage_read ? 1 : 0, std::memory_order_relaxed);
    counts_[static_cast<size_t>(end)].fetch_add(1, std::memory_order_relaxed);
  }
  int64_t open() const { return open_.load(std::memory_order_relaxed); }
  int64_t usages() const { return usages_.load(std::memory_order_relaxed); }
  int64_t count(ExtProcEnd end) const { return counts_[static_cast<size_t>(end)].load(std::memory_order_relaxed); }

 private:
  std::atomic<int64_t> open_ = 0;
  std::atomic<int64_t> usages_ = 0;
  std::array<std::atomic<int64_t>, kExtProcEnds> counts_{};
};

}  // namespace vramgate
