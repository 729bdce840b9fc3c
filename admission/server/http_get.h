// One GET over plain HTTP/1.1, within limits: a whole answer of status 200 in time, or an error in words.
//
//   boost::asio::io_context io;
//   HttpGet(io, *ParseHttpUrl("http://127.0.0.1:8000/metrics"), {}, [](absl::StatusOr<std::string> body) { ... });
//   io.run();
//
// Redirects are not followed, since a server that is asked for figures has no reason to send its reader elsewhere.
// Used by the watch of running engines. Thread rule: the io_context's one thread. `done` is called once, by that
// thread, never from within HttpGet; not at all where the io_context is destroyed before.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "admission/server/http_url.h"
#include "boost/asio/io_context.hpp"

namespace vramgate {

struct HttpLimits {
  size_t body_bytes = size_t{4} << 20;
  size_t header_bytes = size_t{64} << 10;
  std::chrono::nanoseconds timeout = std::chrono::seconds(5);  // of all together, the name's look-up included
};

// Errors: UNAVAILABLE (cannot be reached, or the connection broke), DEADLINE_EXCEEDED, OUT_OF_RANGE (too large),
// FAILED_PRECONDITION (another status than 200), INVALID_ARGUMENT (no HTTP).
void HttpGet(boost::asio::io_context& io, const HttpUrl& url, const HttpLimits& limits,
             std::function<void(absl::StatusOr<std::string> body)> done);

}  // namespace vramgate
