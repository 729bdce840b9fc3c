// An `http://` address as the config names it.
//
//   absl::StatusOr<HttpUrl> url = ParseHttpUrl("http://127.0.0.1:8000/metrics");
//
// Plain values, pure functions: no thread rule.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace vramgate {

struct HttpUrl {
  std::string host;    // a name or an address; of IPv6 without its brackets
  std::string port;    // "80" where none is written
  std::string target;  // "/" where none is written; with its query
  // For the Host header: "127.0.0.1:8000", "[::1]:8000".
  std::string authority() const;
};

// INVALID_ARGUMENT: not `http://HOST[:PORT][/PATH]` of printable ASCII, or with a user, a password or a fragment.
absl::StatusOr<HttpUrl> ParseHttpUrl(std::string_view text);

}  // namespace vramgate
