// Where vramgate listens, or where it is reached: `unix:/path`, `host:port`, `[v6]:port`.
//
//   absl::StatusOr<Address> a = ParseAddress("127.0.0.1:9901");   // a->host "127.0.0.1", a->port 9901
//
// Used by the config and by whoever opens a socket. Plain values, no thread rule.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace vramgate {

struct Address {
  std::string unix_path;  // empty: TCP
  std::string host;       // TCP: a name or a literal, without brackets
  int port = 0;           // TCP: 0 = any free one

  bool is_unix() const { return !unix_path.empty(); }
};

// INVALID_ARGUMENT says what is wrong and what would be right: no port, a port beyond 65535, a path that the kernel has
// no room for (107 bytes), another scheme.
absl::StatusOr<Address> ParseAddress(std::string_view text);

// Reached from this machine only: a Unix socket, 127.0.0.0/8, ::1 or `localhost`.
bool IsLoopback(const Address& address);

}  // namespace vramgate
