#include "admission/server/http_server.h"

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/post.hpp>
#include <chrono>
#include <string>
#include <thread>
#include <variant>

#include "absl/strings/str_cat.h"
#include "admission/check.h"
#include "admission/server/http_connection.h"
#include "admission/server/unix_socket.h"

namespace vramgate {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using asio::local::stream_protocol;
using boost::system::error_code;

constexpr auto kAcceptAgainAfter = std::chrono::milliseconds(100);
constexpr auto kLastAnswersWithin = std::chrono::seconds(1);

}  // namespace

// The listening socket, its connections and their thread.
class HttpServer::Impl {
 public:
  explicit Impl(const Options& options)
      : mailbox_(std::make_shared<HttpMailbox>()),
        owner_{.options = options, .mailbox = mailbox_, .open = {}, .answering = {}} {
    MutexLock lock(mailbox_->mutex);
    mailbox_->io = &io_;
  }
  ~Impl() {
    if (thread_.joinable()) {
      asio::post(io_, [this] { CloseAll(); });
      thread_.join();
    }
    MutexLock lock(mailbox_->mutex);
    mailbox_->io = nullptr;
  }

  error_code Listen(const tcp::endpoint& where) {
    auto& acceptor = acceptor_.emplace<tcp::acceptor>(io_);
    error_code error;
    if (acceptor.open(where.protocol(), error)) return error;
    if (acceptor.set_option(tcp::acceptor::reuse_address(true), error)) return error;
    if (acceptor.bind(where, error)) return error;
    acceptor.listen(asio::socket_base::max_listen_connections, error);
    return error;
  }

  error_code Listen(const std::string& path) {
    auto& acceptor = acceptor_.emplace<stream_protocol::acceptor>(io_);
    const stream_protocol::endpoint where(path);
    error_code error;
    if (acceptor.open(where.protocol(), error)) return error;
    {
      const ScopedUmask umask(static_cast<mode_t>(0777 & ~owner_.options.socket_mode));
      if (acceptor.bind(where, error)) return error;
    }
    acceptor.listen(asio::socket_base::max_listen_connections, error);
    return error;
  }

  int port() const { return std::get<tcp::acceptor>(acceptor_).local_endpoint().port(); }

  void Run() {
    Accept();
    thread_ = std::thread([this] { io_.run(); });
  }

 private:
  void Accept() {
    auto next = std::make_shared<HttpConnection::Socket>(io_);
    const auto accepted = [this, next](const error_code& error) {
      if (owner_.closing) return;
      if (!error) {
        Serve(std::move(*next));
        return Accept();
      }
      // No descriptors left, most likely: give others time to close some.
      timer_.expires_after(kAcceptAgainAfter);
      timer_.async_wait([this](const error_code&) {
        if (!owner_.closing) Accept();
      });
    };
    if (auto* by_port = std::get_if<tcp::acceptor>(&acceptor_)) return by_port->async_accept(*next, accepted);
    std::get<stream_protocol::acceptor>(acceptor_).async_accept(*next, accepted);
  }

  void Serve(HttpConnection::Socket socket) {
    const bool crowded = owner_.open.size() + owner_.answering.size() >= owner_.options.most_connections;
    const bool all_wait = owner_.open.empty();
    if (crowded && !all_wait) owner_.open.front()->Close();
    const auto connection = std::make_shared<HttpConnection>(std::move(socket), owner_);
    if (crowded && all_wait) return connection->TurnAway();
    connection->Start();
  }

  // Once the last connection is closed nothing is pending, and the thread ends.
  void CloseAll() {
    owner_.closing = true;
    error_code ignored;
    std::visit(
        [&](auto& acceptor) {
          if constexpr (!std::is_same_v<std::decay_t<decltype(acceptor)>, std::monostate>) acceptor.close(ignored);
        },
        acceptor_);
    ForEach([](HttpConnection& connection) { connection.CloseWhenDone(); });
    if (owner_.open.empty() && owner_.answering.empty()) {
      timer_.cancel();
      return;
    }
    timer_.expires_after(kLastAnswersWithin);
    timer_.async_wait([this](const error_code& error) {
      if (!error) ForEach([](HttpConnection& connection) { connection.Close(); });
    });
    owner_.when_empty = [this] { timer_.cancel(); };
  }

  template <typename Do>
  void ForEach(Do act) {
    for (HttpConnection::List* list : {&owner_.open, &owner_.answering}) {
      const HttpConnection::List all = *list;  // those that close leave it
      for (HttpConnection* connection : all) act(*connection);
    }
  }

  const std::shared_ptr<HttpMailbox> mailbox_;
  HttpConnection::Owner owner_;
  asio::io_context io_{1};  // its destructor ends the connections
  std::variant<std::monostate, tcp::acceptor, stream_protocol::acceptor> acceptor_;
  asio::steady_timer timer_{io_};
  std::thread thread_;
};

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::Start(const Address& address, const Options& options) {
  CHECK(options.most_connections > 0, "HttpServer: no connection is allowed");
  auto impl = std::make_unique<Impl>(options);
  std::string bound;
  if (address.is_unix()) {
    if (absl::Status status = ClaimUnixSocket(address.unix_path); !status.ok()) return status;
    bound = absl::StrCat("unix:", address.unix_path);
    if (const error_code error = impl->Listen(address.unix_path); error) {
      return absl::FailedPreconditionError(
          absl::StrCat("cannot listen at ", bound, ": ", error.message(), ": name a place that may be written to"));
    }
  } else {
    error_code error;
    const asio::ip::address host =
        asio::ip::make_address(address.host == "localhost" ? "127.0.0.1" : address.host, error);
    if (error) {
      return absl::InvalidArgumentError(
          absl::StrCat("\"", address.host, "\" is no IP address: give one of this machine's, such as 127.0.0.1"));
    }
    const std::string name = host.is_v6() ? absl::StrCat("[", host.to_string(), "]") : host.to_string();
    if (error = impl->Listen(tcp::endpoint(host, static_cast<uint16_t>(address.port))); error) {
      return absl::FailedPreconditionError(absl::StrCat("cannot listen on ", name, ":", address.port, ": ",
                                                        error.message(),
                                                        ": free the port, or name another (port 0: any free one)"));
    }
    bound = absl::StrCat(name, ":", impl->port());
  }
  impl->Run();
  return std::unique_ptr<HttpServer>(new HttpServer(std::move(impl), bound));
}

HttpServer::HttpServer(std::unique_ptr<Impl> impl, std::string address)
    : impl_(std::move(impl)), address_(std::move(address)) {}

HttpServer::~HttpServer() = default;

void HttpServer::Stop() {
  impl_.reset();
}

}  // namespace vramgate
