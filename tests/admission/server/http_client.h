// An HTTP/1.1 client over a plain socket, which can also misbehave. Its receive timeout only keeps a broken server from
// hanging the test.
//
//   HttpClient client("127.0.0.1:9901");
//   EXPECT_EQ(client.Get("/healthz").body, "ok\n");
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace vramgate {

class HttpClient {
 public:
  explicit HttpClient(const std::string& address) : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    const std::vector<std::string> parts = absl::StrSplit(address, ':');
    sockaddr_in where{.sin_family = AF_INET};
    int port = 0;
    EXPECT_TRUE(absl::SimpleAtoi(parts.back(), &port));
    where.sin_port = htons(static_cast<uint16_t>(port));
    where.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const timeval patience{.tv_sec = 20};
    setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    EXPECT_EQ(connect(fd_, reinterpret_cast<const sockaddr*>(&where), sizeof where), 0) << address;
  }
  ~HttpClient() { close(fd_); }
  HttpClient(const HttpClient&) = delete;

  void Send(std::string_view bytes) const {
    while (!bytes.empty()) {
      const ssize_t n = send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (n <= 0) return;  // the server has had enough
      bytes.remove_prefix(static_cast<size_t>(n));
    }
  }

  struct Reply {
    int status = 0;  // 0: the connection ended without one
    std::string headers;
    std::string body;
  };
  // `body`: whether one follows.
  Reply Receive(bool body = true) {
    Reply reply;
    size_t end = 0;
    while ((end = received_.find("\r\n\r\n")) == std::string::npos) {
      if (!More()) return reply;
    }
    reply.headers = received_.substr(0, end + 2);
    received_.erase(0, end + 4);
    const std::vector<std::string> words = absl::StrSplit(reply.headers, absl::MaxSplits(' ', 2));
    EXPECT_TRUE(absl::SimpleAtoi(words[1], &reply.status)) << reply.headers;
    if (!body) return reply;
    const size_t at = absl::AsciiStrToLower(reply.headers).find("content-length: ");
    EXPECT_NE(at, std::string::npos) << reply.headers;
    size_t length = 0;
    const std::vector<std::string> rest = absl::StrSplit(reply.headers.substr(at + 16), absl::MaxSplits("\r\n", 1));
    EXPECT_TRUE(absl::SimpleAtoi(rest[0], &length));
    while (received_.size() < length && More()) {
    }
    reply.body = received_.substr(0, length);
    received_.erase(0, length);
    return reply;
  }
  Reply Get(std::string_view target) {
    Send(absl::StrCat("GET ", absl::string_view(target.data(), target.size()), " HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    return Receive();
  }
  // True: the server closed, by its own will; false: it sent something, or nothing in time.
  bool Closed() const {
    char byte = 0;
    const ssize_t n = recv(fd_, &byte, 1, 0);
    return n == 0 || (n < 0 && errno == ECONNRESET);
  }

 private:
  bool More() {
    char bytes[4096];
    const ssize_t n = recv(fd_, bytes, sizeof bytes, 0);
    if (n <= 0) return false;
    received_.append(bytes, static_cast<size_t>(n));
    return true;
  }

  const int fd_;
  std::string received_;
};

}  // namespace vramgate
