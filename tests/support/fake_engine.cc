#include "tests/support/fake_engine.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "admission/check.h"

namespace vramgate {
namespace {

constexpr std::string_view kEndless = "endless:";

// False: the other side has had enough.
bool SendAll(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  return true;
}

}  // namespace

const std::string FakeEngine::kSilence = "silence";

FakeEngine::FakeEngine(std::string answer) : answer_(std::move(answer)) {
  listener_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in where{.sin_family = AF_INET};
  where.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  CHECK(bind(listener_, reinterpret_cast<sockaddr*>(&where), sizeof where) == 0, "FakeEngine: no port");
  CHECK(listen(listener_, 16) == 0, "FakeEngine: cannot listen");
  socklen_t size = sizeof where;
  CHECK(getsockname(listener_, reinterpret_cast<sockaddr*>(&where), &size) == 0, "FakeEngine: no name");
  port_ = ntohs(where.sin_port);
  CHECK(pipe(wake_) == 0, "FakeEngine: no pipe");
  thread_ = std::thread([this] { Serve(); });
}

FakeEngine::~FakeEngine() {
  CHECK(write(wake_[1], "x", 1) == 1, "FakeEngine: cannot wake its thread");
  thread_.join();
  for (int fd : {listener_, wake_[0], wake_[1]}) close(fd);
}

std::string FakeEngine::Ok(std::string_view page) {
  return absl::StrCat("HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: ", page.size(),
                      "\r\n\r\n", absl::string_view(page.data(), page.size()));
}

std::string FakeEngine::Endless(std::string_view head) {
  return std::string(kEndless) + std::string(head);
}

void FakeEngine::Answer(std::string answer) {
  const std::lock_guard lock(mutex_);
  answer_ = std::move(answer);
}

std::string FakeEngine::url(std::string_view target) const {
  return absl::StrCat("http://127.0.0.1:", port_, absl::string_view(target.data(), target.size()));
}

void FakeEngine::WaitForRequests(int count) {
  std::unique_lock lock(mutex_);
  asked_.wait(lock, [&] { return requests_ >= count; });
}

int FakeEngine::requests() const {
  const std::lock_guard lock(mutex_);
  return requests_;
}

std::string FakeEngine::last_request() const {
  const std::lock_guard lock(mutex_);
  return last_request_;
}

void FakeEngine::Serve() {
  int silent = -1;  // a connection that is kept waiting
  while (true) {
    std::array<pollfd, 2> ready{{{.fd = listener_, .events = POLLIN}, {.fd = wake_[0], .events = POLLIN}}};
    if (poll(ready.data(), ready.size(), -1) < 0) continue;
    if (ready[1].revents != 0) break;
    const int connection = accept(listener_, nullptr, nullptr);
    if (connection < 0) continue;
    if (silent >= 0) close(silent);
    silent = -1;
    bool keep_silent = false;
    {
      const std::lock_guard lock(mutex_);
      keep_silent = answer_ == kSilence;
    }
    Handle(connection);
    if (keep_silent) {
      silent = connection;
    } else {
      shutdown(connection, SHUT_WR);
      close(connection);
    }
  }
  if (silent >= 0) close(silent);
}

void FakeEngine::Handle(int connection) {
  std::string request;
  std::array<char, 4096> chunk{};
  while (request.find("\r\n\r\n") == std::string::npos) {
    const ssize_t n = recv(connection, chunk.data(), chunk.size(), 0);
    if (n <= 0) return;
    request.append(chunk.data(), static_cast<size_t>(n));
  }
  std::string answer;
  {
    const std::lock_guard lock(mutex_);
    ++requests_;
    last_request_ = request;
    answer = answer_;
  }
  asked_.notify_all();
  if (answer == kSilence) return;
  const bool endless = answer.starts_with(kEndless);
  if (endless) answer.erase(0, kEndless.size());
  bool taken = SendAll(connection, answer);
  const std::string more =
      "10000\r\n" + std::string(0x10000, 'a') + "\r\n";  // a chunk, and the end of a header line too
  while (endless && taken) taken = SendAll(connection, more);
}

}  // namespace vramgate
