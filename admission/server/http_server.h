// HttpServer speaks HTTP/1.1 on one address, with a thread of its own, and leaves what to say to its owner. A request
// is handed over whole, as an HttpExchange, and may be answered at once or much later, from any thread: nobody waits in
// a thread for it.
//
//   HttpServer::Options options;
//   options.handle = [](const HttpRequest& request, std::shared_ptr<HttpExchange> exchange) {
//     exchange->Answer({.status = 200, .body = "hello\n"});
//   };
//   options.refuse = [](HttpFault fault) { return std::optional(HttpReply{.status = 400, .body = "no\n"}); };
//   absl::StatusOr<std::unique_ptr<HttpServer>> server = HttpServer::Start("127.0.0.1:0", options);
//
// Everything is bounded: headers, bodies, connections, what is sent ahead of an answer, and the time a client may take
// to ask and to read. A connection beyond the limit is served at the cost of the one that has been silent longest; one
// that waits for its answer is never given up for another.
//
// Used by AdminHttp and HttpDoor. Thread rule: one thread starts and stops; `handle` and `refuse` are called on the
// server's. Lifetime rule: what they refer to outlives the server; an HttpExchange may outlive it, and then does
// nothing.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "admission/server/address.h"

namespace vramgate {

class HttpConnection;
struct HttpMailbox;

struct HttpRequest {
  std::string method;
  std::string target;  // path and query
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;
  bool has_length = false;  // Content-Length, or chunked

  // The value of the first header of that name, in whatever case; nullopt: there is none.
  std::optional<std::string_view> Header(std::string_view name) const;
};

struct HttpReply {
  int status = 200;
  std::string content_type = "text/plain; charset=utf-8";
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;
};

// What is no request; after its answer the connection is closed.
enum class HttpFault : uint8_t {
  kMalformed,
  kHost,  // an HTTP/1.1 request has exactly one
  kHeaders,
  kBody,
  kSlow,  // the request did not come whole in time
  kExpectation,
  kCrowded,  // every connection waits for its answer
};

class HttpExchange {
 public:
  // Only the first counts. Any thread; never calls back on the caller's.
  void Answer(HttpReply reply);
  // `over` is called once, on the server's thread: the answer is on its way, or (`gone`) the client left before it was.
  // REQUIRES: called once at most, before `handle` returns.
  void WhenOver(std::function<void(bool gone)> over) { over_ = std::move(over); }

  HttpExchange(std::shared_ptr<HttpMailbox> mailbox, std::weak_ptr<HttpConnection> connection);

 private:
  friend class HttpConnection;
  const std::shared_ptr<HttpMailbox> mailbox_;
  const std::weak_ptr<HttpConnection> connection_;
  std::atomic<bool> answered_ = false;
  std::function<void(bool)> over_;  // the server's thread only
};

class HttpServer {
 public:
  struct Options {
    uint32_t most_header_bytes = 16 * 1024;  // also of what is sent ahead of an answer
    size_t most_body_bytes = 0;
    size_t most_connections = 64;
    absl::Duration idle_timeout = absl::Seconds(60);  // between requests
    absl::Duration read_timeout = absl::Seconds(10);  // of a request, from its first byte, and of an answer
    int socket_mode = 0660;                           // of a Unix socket
    std::function<void(const HttpRequest&, std::shared_ptr<HttpExchange>)> handle;
    std::function<std::optional<HttpReply>(HttpFault)> refuse;  // nullopt: the connection is closed without a word
  };

  // FAILED_PRECONDITION, ALREADY_EXISTS: the address is in use or may not be used. INVALID_ARGUMENT: it is none of this
  // machine's.
  static absl::StatusOr<std::unique_ptr<HttpServer>> Start(const Address& address, const Options& options);
  ~HttpServer();  // stops
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  // Lets answers that are on their way go out, for a second at most; closes everything and joins the thread. Who still
  // waits for an answer is over, gone. Later calls do nothing.
  void Stop();

  // Where it listens: "unix:/run/door.sock", "127.0.0.1:9901", "[::1]:9901".
  const std::string& address() const { return address_; }

 private:
  class Impl;
  HttpServer(std::unique_ptr<Impl> impl, std::string address);

  std::unique_ptr<Impl> impl_;
  const std::string address_;
};

}  // namespace vramgate
