#include "plugin/c/link.h"

#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <span>
#include <utility>

namespace vramgate::plugin {
namespace {

constexpr size_t kKeptBytes = size_t{1} << 20;  // of an empty buffer

timespec ToTimespec(int64_t ns) {
  return {static_cast<time_t>(ns / 1'000'000'000), static_cast<long>(ns % 1'000'000'000)};
}

}  // namespace

Link::Link(std::string path)
    : path_(std::move(path)), epoll_(epoll_create1(EPOLL_CLOEXEC)), wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (epoll_ < 0 || wake_ < 0) return;
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.fd = wake_;
  epoll_ctl(epoll_, EPOLL_CTL_ADD, wake_, &event);
}

Link::~Link() {
  Close();
  if (wake_ >= 0) close(wake_);
  if (epoll_ >= 0) close(epoll_);
}

bool Link::ok() const {
  return epoll_ >= 0 && wake_ >= 0 && !path_.empty() && path_.size() < sizeof(sockaddr_un::sun_path);
}

bool Link::Connect() {
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return false;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path_.copy(address.sun_path, sizeof(address.sun_path) - 1);
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.fd = fd;
  // A Unix socket connects at once or, where the listener's backlog is full, not now.
  if (connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event) != 0) {
    close(fd);
    return false;
  }
  socket_ = fd;
  for_bytes_ = true;
  for_room_ = false;
  return true;
}

void Link::Close() {
  if (socket_ >= 0) close(std::exchange(socket_, -1));
  out_.clear();
  sent_bytes_ = 0;
  frames_.Clear();
}

void Link::HalfClose() {
  if (up()) shutdown(socket_, SHUT_WR);
}

bool Link::Flush() {
  while (sent_bytes_ < out_.size()) {
    const ssize_t sent = send(socket_, out_.data() + sent_bytes_, out_.size() - sent_bytes_, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0 && errno == EAGAIN) {
      SetEvents(for_bytes_, true);
      return true;
    }
    if (sent < 0) return false;
    sent_bytes_ += static_cast<size_t>(sent);
  }
  SetEvents(for_bytes_, false);
  out_.clear();
  if (out_.capacity() > kKeptBytes) out_.shrink_to_fit();
  sent_bytes_ = 0;
  return true;
}

Link::Received Link::Receive() {
  const std::span<char> room = frames_.Room();
  while (true) {
    const ssize_t got = recv(socket_, room.data(), room.size(), 0);
    if (got > 0) {
      frames_.Filled(static_cast<size_t>(got));
      return Received::kSome;
    }
    if (got == 0) return Received::kBroken;
    if (errno == EINTR) continue;
    return errno == EAGAIN ? Received::kNothing : Received::kBroken;
  }
}

void Link::SetEvents(bool bytes, bool room) {
  if (bytes == for_bytes_ && room == for_room_) return;
  for_bytes_ = bytes;
  for_room_ = room;
  epoll_event event{};
  event.events = (bytes ? uint32_t{EPOLLIN} : 0) | (room ? uint32_t{EPOLLOUT} : 0);
  event.data.fd = socket_;
  epoll_ctl(epoll_, EPOLL_CTL_MOD, socket_, &event);
}

void Link::Watch(bool bytes) {
  if (up()) SetEvents(bytes, for_room_);
}

void Link::Sleep(int64_t timeout_ns) {
  constexpr int64_t kNsPerMs = 1'000'000;
  constexpr int64_t kMostMs = 3'600'000;
  // Rounded up: a thread that wakes too early has nothing to do.
  const int timeout_ms =
      timeout_ns < 0 ? -1 : static_cast<int>(std::min(kMostMs, (timeout_ns + kNsPerMs - 1) / kNsPerMs));
  epoll_event events[2];
  const int woken = epoll_wait(epoll_, events, 2, timeout_ms);
  for (int i = 0; i < woken; ++i) {
    uint64_t wakes = 0;
    if (events[i].data.fd == wake_ && read(wake_, &wakes, sizeof wakes) < 0) continue;  // another has read it
  }
}

void Link::Wake() {
  const uint64_t one = 1;
  // It fails only where 2^64 - 2 wakes wait already.
  if (write(wake_, &one, sizeof one) < 0) return;
}

void Link::AwaitBytes(int64_t timeout_ns) const {
  pollfd bytes{socket_, POLLIN, 0};
  const timespec timeout = ToTimespec(std::max<int64_t>(0, timeout_ns));
  ppoll(&bytes, 1, &timeout, nullptr);
}

}  // namespace vramgate::plugin
