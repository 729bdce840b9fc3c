#include "admission/server/plugin_listener.h"

#include <sys/socket.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <thread>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "admission/check.h"
#include "admission/server/address.h"
#include "admission/server/plugin_connection.h"
#include "admission/server/unix_socket.h"

namespace vramgate {
namespace {

namespace asio = boost::asio;
using boost::system::error_code;
using Protocol = asio::local::stream_protocol;

constexpr int kAnyLocalUser = 0660;
constexpr auto kAcceptAgainAfter = std::chrono::milliseconds(100);

// Who is at the other end, as the kernel says.
std::string Peer(Protocol::socket& socket) {
  ucred peer{};
  socklen_t size = sizeof peer;
  if (getsockopt(socket.native_handle(), SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return "an unknown process";
  return absl::StrCat("pid ", peer.pid, ", uid ", peer.uid);
}

}  // namespace

// The listening socket, its connections and their thread.
class PluginListener::Server {
 public:
  explicit Server(const Options& options)
      : say_(options.say), context_{options.controller,
                                    options.converter,
                                    options.streams,
                                    options.caller,
                                    options.most_frame_bytes,
                                    [this](uint64_t id, const std::string& why, int64_t held) { OnClosed(id, why, held); }} {}
  ~Server() {
    if (!thread_.joinable()) return;
    asio::post(io_, [this] { CloseAll(); });
    thread_.join();
  }

  error_code Listen(const std::string& path) {
    const Protocol::endpoint where(path);
    error_code error;
    if (acceptor_.open(where.protocol(), error)) return error;
    {
      const ScopedUmask umask(0777 & ~kAnyLocalUser);
      if (acceptor_.bind(where, error)) return error;
    }
    acceptor_.listen(asio::socket_base::max_listen_connections, error);
    return error;
  }

  void Run() {
    Accept();
    thread_ = std::thread([this] { io_.run(); });
  }

  int64_t connections() const { return count_.load(); }

 private:
  void Accept() {
    acceptor_.async_accept([this](const error_code& error, Protocol::socket socket) {
      if (closing_) return;
      if (!error) {
        Serve(std::move(socket));
        return Accept();
      }
      // No descriptors left, most likely: give others time to close some.
      retry_.expires_after(kAcceptAgainAfter);
      retry_.async_wait([this](const error_code&) {
        if (!closing_) Accept();
      });
    });
  }

  void Serve(Protocol::socket socket) {
    const std::string peer = Peer(socket);
    if (open_.size() >= kMostConnections) {
      say_(true, absl::StrCat("plugin of ", peer, " is turned away: ", kMostConnections, " are connected"));
      return;
    }
    const uint64_t id = ++last_id_;
    const auto connection = std::make_shared<PluginConnection>(context_, std::move(socket), id);
    open_.emplace(id, Open{connection, peer});
    count_.store(static_cast<int64_t>(open_.size()));
    say_(false, absl::StrCat("plugin connection ", id, " of ", peer, " is open"));
    connection->Start();
  }

  void OnClosed(uint64_t id, const std::string& why, int64_t held) {
    const auto found = open_.find(id);
    CHECK(found != open_.end(), "PluginListener: a connection closed twice");
    const std::string left = held == 0 ? "" : absl::StrCat("; ", held, " leases were held");
    say_(held > 0, absl::StrCat("plugin connection ", id, " of ", found->second.peer, " is over: ", why, left));
    open_.erase(found);
    count_.store(static_cast<int64_t>(open_.size()));
  }

  // The last thing to run: nothing is pending afterwards, and the thread ends.
  void CloseAll() {
    closing_ = true;
    error_code ignored;
    acceptor_.close(ignored);
    retry_.cancel(ignored);
    while (!open_.empty()) {
      const std::shared_ptr<PluginConnection> next = open_.begin()->second.connection;
      next->Close("the sidecar shuts down");
    }
  }

  struct Open {
    std::shared_ptr<PluginConnection> connection;
    std::string peer;
  };

  const Say say_;
  const PluginContext context_;
  asio::io_context io_{1};
  Protocol::acceptor acceptor_{io_};
  asio::steady_timer retry_{io_};
  absl::flat_hash_map<uint64_t, Open> open_;
  uint64_t last_id_ = 0;
  bool closing_ = false;
  std::atomic<int64_t> count_ = 0;
  std::thread thread_;
};

absl::StatusOr<std::unique_ptr<PluginListener>> PluginListener::Start(const std::string& address,
                                                                      const Options& options) {
  const absl::StatusOr<Address> parsed = ParseAddress(address);
  if (!parsed.ok()) return parsed.status();
  CHECK(parsed->is_unix(), "PluginListener: not a Unix socket");
  if (absl::Status status = ClaimUnixSocket(parsed->unix_path); !status.ok()) return status;
  auto server = std::make_unique<Server>(options);
  if (const error_code error = server->Listen(parsed->unix_path); error) {
    return absl::FailedPreconditionError(
        absl::StrCat("cannot listen at ", address, ": ", error.message(), ": name a place that may be written to"));
  }
  server->Run();
  return std::unique_ptr<PluginListener>(new PluginListener(std::move(server), address));
}

PluginListener::PluginListener(std::unique_ptr<Server> server, std::string address)
    : server_(std::move(server)), address_(std::move(address)) {}

PluginListener::~PluginListener() = default;

void PluginListener::Stop() {
  server_.reset();
}

int64_t PluginListener::connections() const {
  return server_ == nullptr ? 0 : server_->connections();
}

}  // namespace vramgate
