#include "admission/server/wake_event.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>

#include "admission/check.h"

namespace vramgate {

WakeEvent::WakeEvent() : fd_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  CHECK(fd_ >= 0, "WakeEvent: no file descriptor left for an eventfd");
}

WakeEvent::~WakeEvent() {
  close(fd_);
}

void WakeEvent::Wake() {
  const uint64_t one = 1;
  // EAGAIN only where 2^64 - 2 wakes wait already: it is awake.
  if (write(fd_, &one, sizeof one) < 0) CHECK(errno == EAGAIN, "WakeEvent: the eventfd is gone");
}

void WakeEvent::Wait(absl::Duration most) {
  constexpr int64_t kMostMs = 3'600'000;
  const int64_t wait_ms = std::clamp<int64_t>(absl::ToInt64Milliseconds(most), 0, kMostMs);
  pollfd wake{.fd = fd_, .events = POLLIN, .revents = 0};
  if (poll(&wake, 1, static_cast<int>(wait_ms)) <= 0) return;
  uint64_t wakes = 0;
  if (read(fd_, &wakes, sizeof wakes) < 0) CHECK(errno == EAGAIN, "WakeEvent: the eventfd is gone");
}

}  // namespace vramgate
