// What the admin listener answers, without the sockets: a request line in, a page out.
//
//   /metrics  /healthz  /readyz  /config_dump[?format=json]  /leases[?state=held&page_size=100&page_token=T]  /
//
//   AdminPages pages(controller, {.metrics = [&] { return MetricsText(metrics); }, ...});
//   AdminReply reply = pages.Answer({.method = "GET", .target = "/healthz", .host = "localhost:9901"});   // 200 "ok\n"
//
// Used by AdminHttp. It only reads, yet it asks nobody who they are, so a request must come for a name of this machine:
// a web page that points its own name at a loopback address gets 403.
//
// Thread rule: as the sources', which are called by whoever calls Answer. Lifetime rule: the controller outlives it.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "admission/gate/controller.h"

namespace vramgate {

struct AdminRequest {
  std::string_view method;
  std::string_view target;               // path and query
  std::optional<std::string_view> host;  // absent: an HTTP/1.0 client sent none
};

struct AdminReply {
  int status = 200;
  std::string content_type = "text/plain; charset=utf-8";
  std::string body;
};

// `localhost`, 127.0.0.0/8 or [::1], with any port or none.
bool IsLocalHostHeader(std::string_view host);

class AdminPages {
 public:
  // Where the pages come from; all must be given.
  struct Sources {
    std::function<std::string()> metrics;      // Prometheus' text format
    std::function<std::string()> not_ready;    // "": ready; else why not
    std::function<std::string()> config_yaml;  // the effective config
    std::function<std::string()> config_json;
  };
  static constexpr size_t kDefaultPage = 100;
  static constexpr size_t kMostPage = 1000;

  AdminPages(const Controller& controller, Sources sources);

  // 400: not what the page takes; 403: not for this machine; 404: no such page; 405: neither GET nor HEAD; 503: not
  // ready. The body says what would be right. HEAD gets the body of GET, for its length.
  AdminReply Answer(const AdminRequest& request) const;

 private:
  class Query;
  AdminReply Page(std::string_view path, const Query& query) const;
  AdminReply Ready() const;
  AdminReply Config(const Query& query) const;
  AdminReply Leases(const Query& query) const;
  std::string LeaseList(size_t from, size_t limit, LeaseState wanted) const;

  const Controller& controller_;
  const Sources sources_;
};

}  // namespace vramgate
