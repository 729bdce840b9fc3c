#include "admission/server/http_url.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace vramgate {
namespace {

constexpr std::string_view kScheme = "http://";
constexpr size_t kMostHostBytes = 253;

bool IsHost(std::string_view host, bool v6) {
  if (host.empty() || host.size() > kMostHostBytes) return false;
  return std::all_of(host.begin(), host.end(), [&](unsigned char c) {
    return v6 ? absl::ascii_isxdigit(c) || c == ':' || c == '.'
              : absl::ascii_isalnum(c) || c == '.' || c == '-' || c == '_';
  });
}

bool IsPort(std::string_view port) {
  int number = 0;
  return !port.empty() && port.size() <= 5 && std::all_of(port.begin(), port.end(), absl::ascii_isdigit) &&
         absl::SimpleAtoi(absl::string_view(port.data(), port.size()), &number) && number >= 1 && number <= 65535;
}

}  // namespace

std::string HttpUrl::authority() const {
  const bool v6 = host.find(':') != std::string::npos;
  return v6 ? absl::StrCat("[", host, "]:", port) : absl::StrCat(host, ":", port);
}

absl::StatusOr<HttpUrl> ParseHttpUrl(std::string_view text) {
  const auto refuse = [] {
    return absl::InvalidArgumentError("is no http://HOST[:PORT]/PATH, such as http://127.0.0.1:8000/metrics");
  };
  const bool printable = std::all_of(text.begin(), text.end(), [](unsigned char c) { return absl::ascii_isgraph(c); });
  if (!printable || !text.starts_with(kScheme)) return refuse();
  text.remove_prefix(kScheme.size());
  HttpUrl url;
  const size_t slash = text.find_first_of("/?");
  url.target = std::string(slash == std::string_view::npos ? "/" : text.substr(slash));
  if (url.target.front() == '?') url.target = absl::StrCat("/", url.target);
  if (url.target.find('#') != std::string::npos) return refuse();
  std::string_view authority = text.substr(0, slash);
  const bool v6 = authority.starts_with('[');
  std::string_view host;
  if (v6) {
    const size_t end = authority.find(']');
    if (end == std::string_view::npos) return refuse();
    host = authority.substr(1, end - 1);
    authority.remove_prefix(end + 1);
  } else {
    host = authority.substr(0, authority.find(':'));
    authority.remove_prefix(host.size());
  }
  if (!IsHost(host, v6)) return refuse();
  if (!authority.empty() && (authority.front() != ':' || !IsPort(authority.substr(1)))) return refuse();
  url.host = std::string(host);
  url.port = std::string(authority.empty() ? "80" : authority.substr(1));
  return url;
}

}  // namespace vramgate
