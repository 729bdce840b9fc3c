#include "admission/server/address.h"

#include <arpa/inet.h>
#include <sys/un.h>

#include <charconv>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "admission/utf8.h"

namespace vramgate {
namespace {

constexpr std::string_view kUnixScheme = "unix:";
constexpr size_t kMaxUnixPathBytes = sizeof(sockaddr_un::sun_path) - 1;
constexpr size_t kMaxHostBytes = 253;

absl::Status Wrong(std::string_view text, std::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat(Quoted(text, 160), " ", std::string(why)));
}

absl::StatusOr<Address> ParseUnix(std::string_view text) {
  Address address;
  address.unix_path = text.substr(kUnixScheme.size());
  if (address.unix_path.empty()) return Wrong(text, "has no path: write unix:/run/vramgate/gate.sock");
  if (address.unix_path.starts_with("//"))
    return Wrong(text, "has a slash too many: write unix:/path, not unix:///path");
  if (address.unix_path.size() > kMaxUnixPathBytes) {
    return Wrong(text, absl::StrCat("has a path of ", address.unix_path.size(), " bytes: a Unix socket's has at most ",
                                    kMaxUnixPathBytes));
  }
  return address;
}

}  // namespace

absl::StatusOr<Address> ParseAddress(std::string_view text) {
  if (text.starts_with(kUnixScheme)) return ParseUnix(text);
  const size_t colon = text.rfind(':');
  if (colon == std::string_view::npos || text.find("//") != std::string_view::npos) {
    return Wrong(text, "is not an address: write unix:/path, host:port or [v6]:port");
  }
  Address address;
  std::string_view host = text.substr(0, colon);
  const std::string_view port = text.substr(colon + 1);
  const bool bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
  if (bracketed) host = host.substr(1, host.size() - 2);
  if (!bracketed && host.find(':') != std::string_view::npos) {
    return Wrong(text, "is not an address: an IPv6 host stands in brackets, such as [::1]:9443");
  }
  if (host.empty() || host.size() > kMaxHostBytes || host.find_first_of(" ,/[]%") != std::string_view::npos) {
    return Wrong(text, "has no usable host: write 127.0.0.1:9443, or 0.0.0.0:9443 for every interface");
  }
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), address.port);
  if (error != std::errc() || end != port.data() + port.size() || address.port < 0 || address.port > 65535) {
    return Wrong(text, "has no usable port: 0 (any free one) to 65535");
  }
  address.host = host;
  return address;
}

bool IsLoopback(const Address& address) {
  if (address.is_unix() || address.host == "localhost") return true;
  in_addr v4{};
  if (inet_pton(AF_INET, address.host.c_str(), &v4) == 1) return (ntohl(v4.s_addr) >> 24) == 127;
  in6_addr v6{};
  return inet_pton(AF_INET6, address.host.c_str(), &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

}  // namespace vramgate
