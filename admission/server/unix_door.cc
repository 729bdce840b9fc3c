#include "admission/server/unix_door.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "admission/server/unix_socket.h"
#include "grpcpp/server_posix.h"

namespace vramgate {
namespace {

constexpr std::string_view kPeerPrefix = "fd:";  // as gRPC names connections that it was handed
constexpr auto kAcceptAgainAfter = std::chrono::milliseconds(100);

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

absl::StatusOr<std::unique_ptr<UnixDoor>> UnixDoor::Listen(const std::string& path, int mode) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) {
    return absl::InvalidArgumentError(absl::StrCat("unix:", path, ": longer than a Unix socket's path may be, ",
                                                   sizeof(address.sun_path) - 1, " bytes: name a shorter one"));
  }
  path.copy(address.sun_path, sizeof(address.sun_path) - 1);
  if (absl::Status status = ClaimUnixSocket(path); !status.ok()) return status;
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  const ScopedUmask umask(static_cast<mode_t>(0777 & ~mode));
  if (fd < 0 || bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0 ||
      listen(fd, SOMAXCONN) != 0) {
    const int error = errno;
    if (fd >= 0) close(fd);
    return absl::UnavailableError(absl::StrCat("unix:", path, ": cannot listen there: ", std::strerror(error),
                                               ": name a place that may be written to"));
  }
  return std::unique_ptr<UnixDoor>(new UnixDoor(path, fd));
}

UnixDoor::~UnixDoor() {
  Stop();
  close(fd_);
}

void UnixDoor::Serve(grpc::Server& server) {
  thread_ = std::thread([this, &server] { Run(server); });
}

void UnixDoor::Stop() {
  if (stop_.exchange(true)) return;
  shutdown(fd_, SHUT_RDWR);  // wakes the thread
  if (thread_.joinable()) thread_.join();
  unlink(path_.c_str());
}

void UnixDoor::Run(grpc::Server& server) {
  while (!stop_) {
    pollfd ready{.fd = fd_, .events = POLLIN, .revents = 0};
    if (poll(&ready, 1, -1) < 0 && errno != EINTR) return;
    if (stop_) return;
    const int fd = accept4(fd_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd >= 0) {
      Remember(fd);
      grpc::AddInsecureChannelFromFd(&server, fd);
    } else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
      std::this_thread::sleep_for(kAcceptAgainAfter);  // gives others time to close some
    }
  }
}

void UnixDoor::Remember(int fd) {
  auto peer = std::make_shared<const PeerSocket>(fd);
  MutexLock lock(mutex_);
  absl::erase_if(peers_, [](const auto& known) { return known.second->Gone(); });
  peers_.insert_or_assign(fd, std::move(peer));
}

std::shared_ptr<const PeerSocket> UnixDoor::PeerOf(std::string_view peer) const {
  int fd = -1;
  if (!peer.starts_with(kPeerPrefix)) return nullptr;
  const std::string_view number = peer.substr(kPeerPrefix.size());
  if (!absl::SimpleAtoi(absl::string_view(number.data(), number.size()), &fd)) return nullptr;
  MutexLock lock(mutex_);
  const auto known = peers_.find(fd);
  return known == peers_.end() ? nullptr : known->second;
}

}  // namespace vramgate
