#include "admission/server/admin_pages.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "admission/check.h"
#include "nlohmann/json.hpp"

namespace vramgate {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view kIndex =
    "vramgate\n\n"
    "/metrics      Prometheus metrics\n"
    "/healthz      200 while the process lives\n"
    "/readyz       200, or 503 and why nothing is granted\n"
    "/config_dump  the effective config; ?format=json\n"
    "/leases       holders and waiters; ?state=waiting|held|lingering &page_size=N &page_token=T\n";

absl::string_view Absl(std::string_view s) {
  return {s.data(), s.size()};
}

AdminReply Error(int status, std::string_view message) {
  return {.status = status, .body = absl::StrCat(Absl(message), "\n")};
}

std::string Dump(const Json& json) {
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::string_view StateName(LeaseState state) {
  switch (state) {
    case LeaseState::kFree:
      return "free";
    case LeaseState::kWaiting:
      return "waiting";
    case LeaseState::kPlaceKept:
      return "place_kept";
    case LeaseState::kHeld:
      return "held";
    case LeaseState::kLingering:
      return "lingering";
  }
  CHECK(false, "StateName: no such state");
}

std::optional<LeaseState> ParseState(std::string_view name) {
  for (const LeaseState state : {LeaseState::kWaiting, LeaseState::kHeld, LeaseState::kLingering}) {
    if (absl::EqualsIgnoreCase(Absl(name), Absl(StateName(state)))) return state;
  }
  return std::nullopt;
}

std::optional<size_t> ParseNumber(std::string_view text) {
  size_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

bool IsPort(std::string_view port) {
  return port.size() <= 5 && std::all_of(port.begin(), port.end(), [](char c) { return c >= '0' && c <= '9'; });
}

// 127.0.0.0/8, as four decimal numbers.
bool IsLoopbackV4(std::string_view host) {
  if (!host.starts_with("127.")) return false;
  for (int part = 0; part < 4; ++part) {
    const size_t dot = part < 3 ? host.find('.') : host.size();
    if (dot == std::string_view::npos) return false;
    const std::optional<size_t> number = ParseNumber(host.substr(0, dot));
    if (!number.has_value() || *number > 255) return false;
    host.remove_prefix(std::min(host.size(), dot + 1));
  }
  return host.empty();
}

// One lease of the list. A waiter has no devices yet: its bytes are those of the first instance it might get.
Json LeaseJson(const LeaseView& lease, const Controller& controller, Instant now) {
  Json json = {{"name", LeaseName(lease.id)},
               {"state", StateName(lease.state)},
               {"model", controller.fleet().models()[Index(lease.model)].name}};
  json["tenant"] = lease.tenant;
  json["request_id"] = lease.request_id.empty() ? lease.log_id : lease.request_id;
  json["priority"] = lease.priority;
  int64_t bytes = 0;
  if (__builtin_add_overflow(lease.cost.kv_bytes, lease.cost.activation_bytes, &bytes)) bytes = kUnlimitedBytes;
  json["vram_bytes_per_device"] = bytes;
  if (lease.instance != kAnyInstance) {
    const Instance& instance = controller.fleet().instance(lease.instance);
    json["instance"] = instance.name;
    Json devices = Json::array();
    for (const AccountId device : instance.devices) devices.push_back(controller.config().devices[Index(device)].id);
    json["devices"] = std::move(devices);
    json["vram_bytes"] = instance.total_bytes(lease.cost);
  }
  if (lease.granted_tokens > 0) json["granted_tokens"] = lease.granted_tokens;
  if (lease.revocable) json["revocable"] = true;
  const bool holds = lease.granted.ns != 0;
  json["queued_s"] = absl::ToDoubleSeconds((holds ? std::max(lease.granted, lease.arrived) : now) - lease.arrived);
  if (holds) json["held_s"] = absl::ToDoubleSeconds(now - lease.granted);
  if (lease.expires != kNever) json["expires_in_s"] = absl::ToDoubleSeconds(lease.expires - now);
  return json;
}

}  // namespace

bool IsLocalHostHeader(std::string_view host) {
  if (host.starts_with('[')) {
    const size_t end = host.find(']');
    if (end == std::string_view::npos || host.substr(0, end + 1) != "[::1]") return false;
    const std::string_view rest = host.substr(end + 1);
    return rest.empty() || (rest.front() == ':' && IsPort(rest.substr(1)));
  }
  const size_t colon = host.find(':');
  if (colon != std::string_view::npos && !IsPort(host.substr(colon + 1))) return false;
  const std::string_view name = host.substr(0, colon);
  return absl::EqualsIgnoreCase(Absl(name), "localhost") || IsLoopbackV4(name);
}

// The part of a target behind the question mark. Values are plain words and numbers, so nothing is decoded.
class AdminPages::Query {
 public:
  explicit Query(std::string_view text) {
    while (!text.empty()) {
      const std::string_view pair = text.substr(0, text.find('&'));
      text.remove_prefix(std::min(text.size(), pair.size() + 1));
      const size_t equals = pair.find('=');
      if (pair.empty()) continue;
      pairs_.emplace_back(pair.substr(0, equals),
                          equals == std::string_view::npos ? std::string_view() : pair.substr(equals + 1));
    }
  }

  // The last value given; "" where there is none.
  std::string_view Get(std::string_view key) const {
    std::string_view found;
    for (const auto& [name, value] : pairs_) {
      if (name == key) found = value;
    }
    return found;
  }

  // Whether something else than `known` was given.
  bool HasOthers(std::initializer_list<std::string_view> known) const {
    return std::any_of(pairs_.begin(), pairs_.end(), [&](const auto& pair) {
      return std::find(known.begin(), known.end(), pair.first) == known.end();
    });
  }

 private:
  std::vector<std::pair<std::string_view, std::string_view>> pairs_;
};

AdminPages::AdminPages(const Controller& controller, Sources sources)
    : controller_(controller), sources_(std::move(sources)) {
  CHECK(sources_.metrics && sources_.not_ready && sources_.config_yaml && sources_.config_json,
        "AdminPages: a source is missing");
}

AdminReply AdminPages::Answer(const AdminRequest& request) const {
  if (request.host.has_value() && !IsLocalHostHeader(*request.host))
    return Error(403, "this listener answers for localhost, 127.0.0.1 and [::1] only: ask by one of these names");
  if (request.method != "GET" && request.method != "HEAD") return Error(405, "only GET and HEAD are answered");
  if (!request.target.starts_with('/')) return Error(400, "the target must be a path, such as /metrics");
  const size_t question = request.target.find('?');
  const Query query(question == std::string_view::npos ? std::string_view() : request.target.substr(question + 1));
  return Page(request.target.substr(0, question), query);
}

AdminReply AdminPages::Page(std::string_view path, const Query& query) const {
  if (path == "/config_dump") return Config(query);
  if (path == "/leases") return Leases(query);
  // The others take no parameters; what a scraper or prober adds changes nothing.
  if (path == "/metrics")
    return {.content_type = "text/plain; version=0.0.4; charset=utf-8", .body = sources_.metrics()};
  if (path == "/healthz") return {.body = "ok\n"};
  if (path == "/readyz") return Ready();
  if (path == "/") return {.body = std::string(kIndex)};
  return Error(404, absl::StrCat("no such page; there are:\n\n", Absl(kIndex)));
}

AdminReply AdminPages::Ready() const {
  const std::string reason = sources_.not_ready();
  if (reason.empty()) return {.body = "ready\n"};
  return Error(503, absl::StrCat("not ready: ", reason));
}

AdminReply AdminPages::Config(const Query& query) const {
  const std::string_view format = query.Get("format");
  if (query.HasOthers({"format"}) || (!format.empty() && format != "json" && format != "yaml"))
    return Error(400, "/config_dump takes format=yaml or format=json");
  if (format == "json") return {.content_type = "application/json", .body = sources_.config_json()};
  return {.body = sources_.config_yaml()};
}

AdminReply AdminPages::Leases(const Query& query) const {
  if (query.HasOthers({"state", "page_size", "page_token"}))
    return Error(400, "/leases takes state, page_size and page_token");
  LeaseState wanted = LeaseState::kFree;
  if (const std::string_view name = query.Get("state"); !name.empty()) {
    const std::optional<LeaseState> state = ParseState(name);
    if (!state.has_value()) return Error(400, "state is waiting, held or lingering; leave it out for all");
    wanted = *state;
  }
  size_t limit = kDefaultPage;
  if (const std::string_view text = query.Get("page_size"); !text.empty()) {
    const std::optional<size_t> size = ParseNumber(text);
    if (!size.has_value() || *size == 0) return Error(400, absl::StrCat("page_size is a number from 1 to ", kMostPage));
    limit = std::min(*size, kMostPage);
  }
  size_t from = 0;
  if (const std::string_view text = query.Get("page_token"); !text.empty()) {
    const std::optional<size_t> token = ParseNumber(text);
    if (!token.has_value()) return Error(400, "page_token is the next_page_token of the page before");
    from = *token;
  }
  return {.content_type = "application/json", .body = LeaseList(from, limit, wanted)};
}

std::string AdminPages::LeaseList(size_t from, size_t limit, LeaseState wanted) const {
  size_t next = 0;
  const std::vector<LeaseView> leases = controller_.List(from, limit, wanted, &next);
  const Instant now = controller_.Now();
  Json list = Json::array();
  for (const LeaseView& lease : leases) list.push_back(LeaseJson(lease, controller_, now));
  return Dump({{"leases", std::move(list)}, {"next_page_token", next == 0 ? std::string() : absl::StrCat(next)}});
}

}  // namespace vramgate
