// AdminHttp serves the admin pages (admin_pages.h) over HTTP/1.1 on a loopback address, with a thread of its own.
//
//   absl::StatusOr<std::unique_ptr<AdminHttp>> admin = AdminHttp::Start({.host = "127.0.0.1", .port = 0}, pages);
//   (*admin)->address()   // "127.0.0.1:41234"
//
// Everything is bounded: 8 KiB of request headers, no bodies, connections, and the time a client may take to ask and to
// read. A new connection beyond the limit is served at the cost of the one that has been silent longest, so that slow
// clients never lock out a probe.
//
// Thread rule: one thread at a time; the pages are asked on the thread of its own. Lifetime rule: what the pages read
// from outlives it.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "admission/server/admin_pages.h"

namespace vramgate {

class HttpServer;

class AdminHttp {
 public:
  struct Options {
    std::string host = "127.0.0.1";  // a loopback address, or `localhost` (127.0.0.1)
    int port = 9901;                 // 0: any free one
    size_t max_connections = 64;
    absl::Duration idle_timeout = absl::Seconds(10);  // to ask, and again to read the answer
  };

  // INVALID_ARGUMENT: not a loopback address, not a port. FAILED_PRECONDITION: the address is in use, or may not be
  // used.
  static absl::StatusOr<std::unique_ptr<AdminHttp>> Start(const Options& options, AdminPages pages);
  ~AdminHttp();  // stops
  AdminHttp(const AdminHttp&) = delete;
  AdminHttp& operator=(const AdminHttp&) = delete;

  // Closes every connection and joins the thread. Later calls do nothing.
  void Stop();

  // Where it listens: "127.0.0.1:9901", "[::1]:9901".
  const std::string& address() const;

 private:
  explicit AdminHttp(std::unique_ptr<HttpServer> server);

  const std::unique_ptr<HttpServer> server_;
};

}  // namespace vramgate
