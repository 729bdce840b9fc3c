#include "admission/server/admin_http.h"

#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "admission/server/address.h"
#include "admission/server/http_server.h"

namespace vramgate {
namespace {

constexpr uint32_t kMostHeaderBytes = 8 * 1024;

// The answer to what is no request; none where nothing was asked.
std::optional<HttpReply> Refusal(HttpFault fault) {
  switch (fault) {
    case HttpFault::kMalformed:
      return HttpReply{.status = 400, .body = "not an HTTP/1.1 request\n"};
    case HttpFault::kHost:
      return HttpReply{.status = 400, .body = "exactly one Host header must be given\n"};
    case HttpFault::kHeaders:
      return HttpReply{.status = 431, .body = absl::StrCat("more than ", kMostHeaderBytes, " bytes of headers\n")};
    case HttpFault::kBody:
      return HttpReply{.status = 413, .body = "no body is taken\n"};
    case HttpFault::kExpectation:
      return HttpReply{.status = 417, .body = "no expectation but 100-continue is met\n"};
    case HttpFault::kSlow:
    case HttpFault::kCrowded:
      return std::nullopt;
  }
  return std::nullopt;
}

HttpReply Answer(const AdminPages& pages, const HttpRequest& request) {
  AdminReply reply = pages.Answer({.method = request.method, .target = request.target, .host = request.Header("host")});
  HttpReply answer{
      .status = reply.status, .content_type = std::move(reply.content_type), .body = std::move(reply.body)};
  if (reply.status == 405) answer.headers.emplace_back("Allow", "GET, HEAD");
  return answer;
}

}  // namespace

absl::StatusOr<std::unique_ptr<AdminHttp>> AdminHttp::Start(const Options& options, AdminPages pages) {
  const absl::StatusOr<Address> address =
      ParseAddress(options.host.find(':') == std::string::npos ? absl::StrCat(options.host, ":", options.port)
                                                               : absl::StrCat("[", options.host, "]:", options.port));
  if (!address.ok() || !IsLoopback(*address)) {
    return absl::InvalidArgumentError(absl::StrCat("\"", options.host, "\" with port ", options.port,
                                                   " is not a loopback address: give 127.0.0.1 or [::1], as it asks "
                                                   "nobody who they are, and a port from 0 (any free one) to 65535"));
  }
  HttpServer::Options server{.most_header_bytes = kMostHeaderBytes,
                             .most_connections = options.max_connections,
                             .idle_timeout = options.idle_timeout,
                             .read_timeout = options.idle_timeout,
                             .refuse = Refusal};
  server.handle = [pages = std::move(pages)](const HttpRequest& request,
                                             const std::shared_ptr<HttpExchange>& exchange) {
    exchange->Answer(Answer(pages, request));
  };
  absl::StatusOr<std::unique_ptr<HttpServer>> started = HttpServer::Start(*address, server);
  if (!started.ok()) return started.status();
  return std::unique_ptr<AdminHttp>(new AdminHttp(*std::move(started)));
}

AdminHttp::AdminHttp(std::unique_ptr<HttpServer> server) : server_(std::move(server)) {}

AdminHttp::~AdminHttp() = default;

void AdminHttp::Stop() {
  server_->Stop();
}

const std::string& AdminHttp::address() const {
  return server_->address();
}

}  // namespace vramgate
