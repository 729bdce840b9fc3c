#include "admission/server/entrance.h"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "admission/check.h"
#include "admission/server/address.h"
#include "admission/server/unix_socket.h"
#include "grpcpp/server_posix.h"

namespace vramgate {
namespace {

constexpr std::string_view kPeerPrefix = "fd:";  // as gRPC names connections that it was handed
constexpr auto kAcceptAgainAfter = std::chrono::milliseconds(100);

absl::Status CannotListen(const std::string& address, const std::string& why) {
  return absl::UnavailableError(absl::StrCat(address, ": cannot listen there: ", why));
}

void SetPort(int port, sockaddr* where) {
  const in_port_t of_network = htons(static_cast<uint16_t>(port));
  if (where->sa_family == AF_INET) reinterpret_cast<sockaddr_in*>(where)->sin_port = of_network;
  if (where->sa_family == AF_INET6) reinterpret_cast<sockaddr_in6*>(where)->sin6_port = of_network;
}

int PortOf(int fd) {
  sockaddr_storage where{};
  socklen_t size = sizeof(where);
  CHECK(getsockname(fd, reinterpret_cast<sockaddr*>(&where), &size) == 0, "a listening socket has no name");
  return ntohs(where.ss_family == AF_INET6 ? reinterpret_cast<const sockaddr_in6*>(&where)->sin6_port
                                           : reinterpret_cast<const sockaddr_in*>(&where)->sin_port);
}

}  // namespace

PeerSocket::PeerSocket(int fd) : fd_(fcntl(fd, F_DUPFD_CLOEXEC, 0)) {}

PeerSocket::~PeerSocket() {
  if (fd_ >= 0) close(fd_);
}

bool PeerSocket::Gone() const {
  if (fd_ < 0) return false;  // there was no descriptor left: it cannot be told
  pollfd asked{.fd = fd_, .events = POLLRDHUP, .revents = 0};
  return poll(&asked, 1, 0) == 1 && (asked.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
}

absl::StatusOr<std::unique_ptr<Entrance>> Entrance::Listen(const std::string& address, int mode) {
  const absl::StatusOr<Address> parsed = ParseAddress(address);
  if (!parsed.ok()) return parsed.status();
  std::unique_ptr<Entrance> entrance(new Entrance);
  entrance->address_ = address;
  if (absl::Status status = parsed->is_unix() ? entrance->ListenUnix(parsed->unix_path, mode)
                                              : entrance->ListenTcp(parsed->host, parsed->port);
      !status.ok()) {
    return status;
  }
  entrance->wake_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  CHECK(entrance->wake_ >= 0, "no file descriptor is left");
  return entrance;
}

absl::Status Entrance::ListenUnix(const std::string& path, int mode) {
  sockaddr_un where{};
  where.sun_family = AF_UNIX;
  path.copy(where.sun_path, sizeof(where.sun_path) - 1);  // ParseAddress has seen to its length
  if (absl::Status status = ClaimUnixSocket(path); !status.ok()) return status;
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  const ScopedUmask umask(static_cast<mode_t>(0777 & ~mode));
  if (fd < 0 || bind(fd, reinterpret_cast<const sockaddr*>(&where), sizeof(where)) != 0 || listen(fd, SOMAXCONN) != 0) {
    const absl::Status status =
        CannotListen(address_, absl::StrCat(std::strerror(errno), ": name a place that may be written to"));
    if (fd >= 0) close(fd);
    return status;
  }
  listeners_.push_back(fd);
  unix_path_ = path;
  return absl::OkStatus();
}

absl::Status Entrance::ListenTcp(const std::string& host, int port) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  addrinfo* found = nullptr;
  if (const int error = getaddrinfo(host.c_str(), absl::StrCat(port).c_str(), &hints, &found); error != 0) {
    return CannotListen(address_, absl::StrCat(gai_strerror(error), ": name an address of this machine"));
  }
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> all(found, freeaddrinfo);
  int why = 0;
  for (const addrinfo* one = found; one != nullptr; one = one->ai_next) {
    SetPort(port, one->ai_addr);  // the first has found one where any would do
    const int fd = socket(one->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) continue;  // no such family here
    const int on = 1;
    const int off = 0;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    // `::` is every address of this machine, whatever their family.
    if (one->ai_family == AF_INET6) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
    if (bind(fd, one->ai_addr, one->ai_addrlen) != 0 || listen(fd, SOMAXCONN) != 0) {
      why = errno;
      close(fd);
      continue;
    }
    port = PortOf(fd);
    listeners_.push_back(fd);
  }
  if (listeners_.empty()) {
    return CannotListen(address_, absl::StrCat(std::strerror(why), ": is it in use, or not this machine's?"));
  }
  address_ = absl::StrCat(address_.substr(0, address_.rfind(':') + 1), port);
  return absl::OkStatus();
}

Entrance::~Entrance() {
  Stop();
  for (const int fd : listeners_) close(fd);
  if (wake_ >= 0) close(wake_);
}

void Entrance::Serve(grpc::Server& server) {
  thread_ = std::thread([this, &server] { Run(server); });
}

void Entrance::Stop() {
  if (stop_.exchange(true)) return;
  if (thread_.joinable()) {
    CHECK(eventfd_write(wake_, 1) == 0, "an eventfd cannot be written");
    thread_.join();
  }
  for (const int fd : listeners_) shutdown(fd, SHUT_RDWR);  // who comes is refused, rather than left waiting
  if (!unix_path_.empty()) unlink(unix_path_.c_str());
}

void Entrance::Run(grpc::Server& server) {
  std::vector<pollfd> ready = {{.fd = wake_, .events = POLLIN, .revents = 0}};
  for (const int fd : listeners_) ready.push_back({.fd = fd, .events = POLLIN, .revents = 0});
  while (!stop_) {
    if (poll(ready.data(), ready.size(), -1) < 0) {
      CHECK(errno == EINTR, "poll");
      continue;
    }
    for (size_t i = 1; i < ready.size() && !stop_; ++i) {
      if (ready[i].revents != 0) Accept(ready[i].fd, server);
    }
  }
}

void Entrance::Accept(int listener, grpc::Server& server) {
  const int fd = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (fd >= 0) {
    const int on = 1;
    if (unix_path_.empty()) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    Remember(fd);
    grpc::AddInsecureChannelFromFd(&server, fd);
  } else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
    std::this_thread::sleep_for(kAcceptAgainAfter);  // gives others time to close some
  }
}

void Entrance::Remember(int fd) {
  auto peer = std::make_shared<const PeerSocket>(fd);
  MutexLock lock(mutex_);
  absl::erase_if(peers_, [](const auto& known) { return known.second->Gone(); });
  peers_.insert_or_assign(fd, std::move(peer));
}

std::shared_ptr<const PeerSocket> Entrance::PeerOf(std::string_view peer) const {
  int fd = -1;
  if (!peer.starts_with(kPeerPrefix)) return nullptr;
  const std::string_view number = peer.substr(kPeerPrefix.size());
  if (!absl::SimpleAtoi(absl::string_view(number.data(), number.size()), &fd)) return nullptr;
  MutexLock lock(mutex_);
  const auto known = peers_.find(fd);
  return known == peers_.end() ? nullptr : known->second;
}

}  // namespace vramgate
