#include "admission/server/admin_http.h"

#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http.hpp>
#include <chrono>
#include <list>
#include <optional>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "admission/check.h"

namespace vramgate {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using asio::ip::tcp;
using boost::system::error_code;

constexpr uint32_t kMostHeaderBytes = 8 * 1024;
constexpr size_t kMostUnreadBytes = 64 * 1024;  // taken from a client that is being refused, so that it sees why
constexpr auto kAcceptAgainAfter = std::chrono::milliseconds(100);

std::string_view View(boost::beast::string_view s) {
  return {s.data(), s.size()};
}

// The answer to what is no request.
AdminReply Refusal(const error_code& error) {
  if (error == http::error::header_limit || error == http::error::buffer_overflow)
    return {.status = 431, .body = absl::StrCat("more than ", kMostHeaderBytes, " bytes of headers\n")};
  if (error == http::error::body_limit || error == http::error::unexpected_body)
    return {.status = 413, .body = "no body is taken\n"};
  return {.status = 400, .body = "not an HTTP/1.1 request\n"};
}

// One client: asks, is answered, asks again. Kept alive by its pending operation. Everything happens on one thread.
class Connection : public std::enable_shared_from_this<Connection> {
 public:
  struct Owner {
    const AdminPages& pages;
    const std::chrono::nanoseconds idle_timeout;
    std::list<std::weak_ptr<Connection>> open;  // the one that has been silent longest first
  };

  Connection(tcp::socket socket, Owner& owner) : stream_(std::move(socket)), owner_(owner) {}
  ~Connection() {
    if (!closed_) owner_.open.erase(place_);
  }
  Connection(const Connection&) = delete;

  void Start() {
    place_ = owner_.open.insert(owner_.open.end(), weak_from_this());
    Read();
  }
  // Makes room for another; it is no longer counted as open.
  void Close() {
    owner_.open.erase(place_);
    closed_ = true;
    stream_.close();
  }

 private:
  void Read() {
    parser_.emplace();
    parser_->header_limit(kMostHeaderBytes);
    parser_->body_limit(0);
    stream_.expires_after(owner_.idle_timeout);
    http::async_read(stream_, buffer_, *parser_,
                     [self = shared_from_this()](const error_code& error, size_t) { self->OnRead(error); });
  }

  void OnRead(const error_code& error) {
    if (closed_) return;
    if (error) {
      // Only what the parser says gets an answer: the client is gone, silent or closed otherwise.
      if (error.category() != make_error_code(http::error::bad_method).category()) return;
      if (error == http::error::end_of_stream || error == http::error::partial_message) return;
      return Write(Refusal(error), 11, false, false);
    }
    owner_.open.splice(owner_.open.end(), owner_.open, place_);
    const http::request<http::empty_body>& request = parser_->get();
    const auto host = request.find(http::field::host);
    AdminRequest ask{.method = View(request.method_string()), .target = View(request.target())};
    if (host != request.end()) ask.host = View(host->value());
    const bool lacks_host = request.version() >= 11 && request.count(http::field::host) != 1;
    AdminReply reply = lacks_host ? AdminReply{.status = 400, .body = "exactly one Host header must be given\n"}
                                  : owner_.pages.Answer(ask);
    Write(std::move(reply), request.version(), request.keep_alive(), request.method() == http::verb::head);
  }

  void Write(AdminReply reply, unsigned version, bool keep_alive, bool head) {
    response_ = {};
    response_.version(version);
    response_.result(static_cast<unsigned>(reply.status));
    response_.set(http::field::server, "vramgate");
    response_.set(http::field::content_type, reply.content_type);
    response_.set(http::field::cache_control, "no-store");
    response_.set("X-Content-Type-Options", "nosniff");
    if (reply.status == 405) response_.set(http::field::allow, "GET, HEAD");
    response_.keep_alive(keep_alive);
    response_.content_length(reply.body.size());
    if (!head) response_.body() = std::move(reply.body);
    stream_.expires_after(owner_.idle_timeout);
    http::async_write(stream_, response_, [self = shared_from_this(), keep_alive](const error_code& error, size_t) {
      if (error || self->closed_) return;
      if (keep_alive) return self->Read();
      self->Finish();
    });
  }

  // Closing with bytes unread would reset the connection and could take the answer with it.
  void Finish() {
    error_code ignored;
    stream_.socket().shutdown(tcp::socket::shutdown_send, ignored);
    stream_.expires_after(owner_.idle_timeout);
    Discard();
  }

  void Discard() {
    stream_.async_read_some(asio::buffer(discarded_), [self = shared_from_this()](const error_code& error, size_t n) {
      self->discarded_bytes_ += n;
      if (!error && !self->closed_ && self->discarded_bytes_ < kMostUnreadBytes) self->Discard();
    });
  }

  boost::beast::tcp_stream stream_;
  Owner& owner_;
  std::list<std::weak_ptr<Connection>>::iterator place_;  // where not closed_
  bool closed_ = false;
  boost::beast::flat_buffer buffer_{kMostHeaderBytes + 1};
  std::optional<http::request_parser<http::empty_body>> parser_;
  http::response<http::string_body> response_;
  std::array<char, 4096> discarded_{};
  size_t discarded_bytes_ = 0;
};

}  // namespace

// The listening socket, its connections and their thread.
class AdminHttp::Server {
 public:
  Server(const Options& options, AdminPages pages)
      : pages_(std::move(pages)),
        owner_{pages_, absl::ToChronoNanoseconds(options.idle_timeout), {}},
        max_connections_(options.max_connections) {}
  ~Server() {
    io_.stop();
    if (thread_.joinable()) thread_.join();
  }

  error_code Listen(const tcp::endpoint& where) {
    error_code error;
    if (acceptor_.open(where.protocol(), error)) return error;
    if (acceptor_.set_option(tcp::acceptor::reuse_address(true), error)) return error;
    if (acceptor_.bind(where, error)) return error;
    acceptor_.listen(asio::socket_base::max_listen_connections, error);
    return error;
  }

  tcp::endpoint Bound() const { return acceptor_.local_endpoint(); }

  void Run() {
    Accept();
    thread_ = std::thread([this] { io_.run(); });
  }

 private:
  void Accept() {
    acceptor_.async_accept([this](const error_code& error, tcp::socket socket) {
      if (!error) {
        Serve(std::move(socket));
        return Accept();
      }
      // No descriptors left, most likely: give others time to close some.
      retry_.expires_after(kAcceptAgainAfter);
      retry_.async_wait([this](const error_code&) { Accept(); });
    });
  }

  void Serve(tcp::socket socket) {
    if (owner_.open.size() >= max_connections_) {
      if (const std::shared_ptr<Connection> silent = owner_.open.front().lock()) silent->Close();
    }
    std::make_shared<Connection>(std::move(socket), owner_)->Start();
  }

  const AdminPages pages_;
  Connection::Owner owner_;
  const size_t max_connections_;
  asio::io_context io_{1};  // its destructor ends the connections
  tcp::acceptor acceptor_{io_};
  asio::steady_timer retry_{io_};
  std::thread thread_;
};

absl::StatusOr<std::unique_ptr<AdminHttp>> AdminHttp::Start(const Options& options, AdminPages pages) {
  error_code error;
  const asio::ip::address host =
      asio::ip::make_address(options.host == "localhost" ? "127.0.0.1" : options.host, error);
  if (error || !host.is_loopback())
    return absl::InvalidArgumentError(absl::StrCat("\"", options.host,
                                                   "\" is not a loopback address: give 127.0.0.1 or [::1], as it asks "
                                                   "nobody who they are"));
  if (options.port < 0 || options.port > 65535)
    return absl::InvalidArgumentError(
        absl::StrCat("port ", options.port, " is not from 0 to 65535; 0 is any free one"));
  CHECK(options.max_connections > 0, "AdminHttp: no connection is allowed");
  const tcp::endpoint where(host, static_cast<uint16_t>(options.port));
  auto server = std::make_unique<Server>(options, std::move(pages));
  if (error = server->Listen(where); error) {
    return absl::FailedPreconditionError(
        absl::StrCat("cannot listen on ", host.is_v6() ? absl::StrCat("[", options.host, "]") : options.host, ":",
                     options.port, ": ", error.message(), ": free the port, or name another (port 0: any free one)"));
  }
  const std::string bound = host.to_string();
  const std::string address =
      absl::StrCat(host.is_v6() ? absl::StrCat("[", bound, "]") : bound, ":", server->Bound().port());
  server->Run();
  return std::unique_ptr<AdminHttp>(new AdminHttp(std::move(server), address));
}

AdminHttp::AdminHttp(std::unique_ptr<Server> server, std::string address)
    : server_(std::move(server)), address_(std::move(address)) {}

AdminHttp::~AdminHttp() = default;

void AdminHttp::Stop() {
  server_.reset();
}

}  // namespace vramgate
