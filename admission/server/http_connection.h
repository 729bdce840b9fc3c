// HttpConnection: one client of an HttpServer. It asks, is answered, asks again; what it sends ahead of an answer
// waits.
//
//   IDLE --first byte--> READING --whole request--> ANSWERING --answer--> WRITING --> IDLE, or CLOSING
//
// While it is ANSWERING its socket is watched, so that a client who leaves is noticed at once. One that only shuts its
// sending side has left, too.
//
// Used by HttpServer. Thread rule: the server's thread. Lifetime rule: kept alive by its pending operation; the Owner
// outlives it.
#pragma once

#include <array>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
#include <functional>
#include <list>
#include <memory>
#include <optional>

#include "admission/mutex.h"
#include "admission/server/http_server.h"

namespace vramgate {

// How answers from other threads come to the server's, as long as there is one.
struct HttpMailbox {
  Mutex mutex;
  boost::asio::io_context* io ABSL_GUARDED_BY(mutex) = nullptr;

  void Post(std::function<void()> work);
};

class HttpConnection : public std::enable_shared_from_this<HttpConnection> {
 public:
  using Socket = boost::asio::generic::stream_protocol::socket;
  using List = std::list<HttpConnection*>;

  // What all connections of a server share.
  struct Owner {
    const HttpServer::Options options;
    const std::shared_ptr<HttpMailbox> mailbox;
    List open;                                   // the one that has been silent longest first
    List answering;                              // those that wait for an answer
    bool closing = false;                        // answers that are on their way are the last
    std::function<void()> when_empty = nullptr;  // while closing: the last connection is closed
  };

  HttpConnection(Socket socket, Owner& owner);
  ~HttpConnection();
  HttpConnection(const HttpConnection&) = delete;

  void Start();
  // There is no room for it: it is told so.
  void TurnAway();
  // Whatever it is doing; it is no longer counted.
  void Close();
  // Closes, unless an answer is on its way.
  void CloseWhenDone();

  void Answered(HttpReply reply);

 private:
  using Error = boost::system::error_code;
  enum class State : uint8_t { kIdle, kReading, kAnswering, kWriting, kClosing, kClosed };

  void AwaitRequest();
  void ReadHeaders();
  void OnHeaders(const Error& error);
  void OnBody(const Error& error);
  void HandOver();
  void Watch();
  void OnWatched(const Error& error, size_t bytes);
  void Over(bool gone);
  void Refuse(HttpFault fault);
  void Unreadable(const Error& error);
  void Write(HttpReply reply);
  void Finish();
  void Discard();
  void Arm(absl::Duration within);
  void OnTime();
  void MoveTo(List& list);

  Socket socket_;
  Owner& owner_;
  boost::asio::steady_timer timer_;
  State state_ = State::kIdle;
  List* list_;  // where it stands; null: closed
  List::iterator place_;
  boost::beast::flat_buffer buffer_;
  std::optional<boost::beast::http::request_parser<boost::beast::http::string_body>> parser_;
  std::shared_ptr<HttpExchange> exchange_;  // kAnswering
  std::optional<HttpReply> reply_;          // has come while the socket is watched
  bool watching_ = false;
  bool timed_out_ = false;
  unsigned version_ = 11;
  bool keep_alive_ = false;
  bool head_ = false;
  boost::beast::http::response<boost::beast::http::string_body> response_;
  std::array<char, 4096> discarded_{};
  size_t discarded_bytes_ = 0;
};

}  // namespace vramgate
