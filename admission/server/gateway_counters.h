// What was made of the requests that gateways send on, and of their headers, counted.
//
// Used by the readers of requests and the metrics page. Thread-safe. It outlives both.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "admission/server/endpoint.h"

namespace vramgate {

class GatewayCounters {
 public:
  enum class Header : uint8_t { kTenant, kPriority, kTimeout, kPromptTokens };
  enum class Use : uint8_t {
    kUsed,
    kUntrusted,  // the listener does not believe it
    kUnknown,    // no such priority, or a timeout that is none
  };
  static constexpr size_t kHeaders = 4;
  static constexpr size_t kUses = 3;

  void Count(Endpoint endpoint) { Add(endpoints_[static_cast<size_t>(endpoint)]); }
  void Count(Header header, Use use) { Add(headers_[static_cast<size_t>(header)][static_cast<size_t>(use)]); }
  int64_t count(Endpoint endpoint) const { return endpoints_[static_cast<size_t>(endpoint)].load(); }
  int64_t count(Header header, Use use) const {
    return headers_[static_cast<size_t>(header)][static_cast<size_t>(use)].load();
  }

 private:
  static void Add(std::atomic<int64_t>& counter) { counter.fetch_add(1, std::memory_order_relaxed); }

  std::array<std::atomic<int64_t>, kEndpoints> endpoints_{};
  std::array<std::array<std::atomic<int64_t>, kUses>, kHeaders> headers_{};
};

// The metric's labels.
std::string_view GatewayHeaderName(GatewayCounters::Header header);
std::string_view GatewayUseName(GatewayCounters::Use use);

}  // namespace vramgate
