#include "admission/server/http_door.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "admission/server/address.h"
#include "admission/server/lease_calls.h"
#include "admission/server/openapi.h"
#include "admission/server/session.h"
#include "admission/utf8.h"

namespace vramgate {
namespace {

constexpr std::string_view kLeases = "/v1/leases/";
constexpr size_t kIdDigits = 16;
constexpr char kTimeoutHeader[] = "x-vramgate-timeout-ms";
constexpr int64_t kMostTokens = int64_t{1} << 40;
constexpr int64_t kMostTimeoutMs = 24 * 3600 * 1000;

HttpReply Not(std::string_view method, std::string_view allowed) {
  HttpReply reply = HttpWords::Error(405, "method_not_allowed",
                                     absl::StrCat(Quoted(method), " is not taken here: use ", std::string(allowed)));
  reply.headers.emplace_back("allow", std::string(allowed));
  return reply;
}

HttpReply NoSuchParameter(std::string_view query) {
  return HttpWords::Error(400, "invalid_request",
                          absl::StrCat("query: ", Quoted(query), " is not taken here: leave it out"));
}

Refusal Invalid(std::string_view field, std::string message) {
  return {Outcome::kRejectedInvalidRequest, std::string(field), std::move(message)};
}

// Until when the caller waits at most; kNever: it does not say.
std::optional<Refusal> ReadDeadline(const HttpRequest& request, Instant now, Instant* deadline) {
  *deadline = kNever;
  const std::optional<std::string_view> text = request.Header(kTimeoutHeader);
  if (!text) return std::nullopt;
  int64_t ms = 0;
  if (!absl::SimpleAtoi(absl::string_view(text->data(), text->size()), &ms) || ms < 1 || ms > kMostTimeoutMs) {
    return Invalid(kTimeoutHeader, absl::StrCat(Quoted(*text), ": write milliseconds from 1 to ", kMostTimeoutMs));
  }
  *deadline = now + absl::Milliseconds(ms);
  return std::nullopt;
}

// Over gRPC a report beyond belief counts as not made; here nothing is lost by saying so.
std::optional<Refusal> CheckTokens(std::string_view field, int64_t tokens) {
  if (tokens >= 0 && tokens <= kMostTokens) return std::nullopt;
  return Invalid(field, absl::StrCat(tokens, " is not within 0 and ", kMostTokens));
}

std::optional<Refusal> CheckUsage(const v1::Usage& usage) {
  if (auto wrong = CheckTokens("usage.prompt_tokens", usage.prompt_tokens())) return wrong;
  return CheckTokens("usage.output_tokens", usage.output_tokens());
}

}  // namespace

// One Admit: its stream is the exchange. Alive until the exchange is over.
class HttpDoor::AdmitCall final : public SessionStream {
 public:
  AdmitCall(const HttpDoor& door, v1::AdmitRequest admit, Exchange exchange)
      : door_(door),
        admit_(std::move(admit)),
        exchange_(std::move(exchange)),
        session_(std::make_shared<Session>(door.options_.controller, this, Session::Shape::kUnary)) {}

  static void Start(const HttpDoor& door, const v1::AdmitRequest& admit, const Request& request,
                    const Exchange& exchange) {
    const auto call = std::make_shared<AdmitCall>(door, admit, exchange);
    exchange->WhenOver([call](bool gone) { call->Over(gone); });
    call->session_->Admit(request);
  }

  void Write(const SessionMessage&) override {}  // hears only its answer
  void Finish(const SessionFinish& finish) override {
    switch (finish.kind) {
      case SessionFinish::Kind::kOk: {
        granted_ = finish.decision.lease;
        v1::AdmitResponse response;
        ToAdmitResponse(door_.options_.converter, finish.decision, admit_.tenant(), &response);
        return exchange_->Answer(door_.words_.Message(response));
      }
      case SessionFinish::Kind::kRefused:
        return exchange_->Answer(door_.words_.Refused(finish.decision));
      case SessionFinish::Kind::kBroken:
        return exchange_->Answer(door_.words_.Refused(finish.refusal));
      case SessionFinish::Kind::kCancelled:
        return;  // nobody is there to be told
    }
  }

 private:
  void Over(bool gone) {
    if (gone) session_->Cancelled();
    session_->StreamClosed(gone);
    // It was granted, and the client left before it could hear so. An answer that was sent and lost is not confirmed in
    // time, and lingers.
    if (gone && granted_) door_.options_.controller.End(*granted_, Gate::EndKind::kClientGone);
  }

  const HttpDoor& door_;
  const v1::AdmitRequest admit_;
  const Exchange exchange_;
  const std::shared_ptr<Session> session_;
  std::optional<LeaseRef> granted_;  // set by Finish, under the Session's lock; read after StreamClosed
};

HttpDoor::HttpDoor(const Options& options) : options_(options), words_(options.converter, options.config) {}

absl::StatusOr<std::unique_ptr<HttpDoor>> HttpDoor::Start(std::string_view address, const Options& options) {
  const absl::StatusOr<Address> parsed = ParseAddress(address);
  if (!parsed.ok()) return parsed.status();
  const v1::Limits& limits = options.config.limits();
  std::unique_ptr<HttpDoor> door(new HttpDoor(options));
  HttpServer::Options server{
      .most_body_bytes = static_cast<size_t>(std::min(limits.message_bytes().value(), kMostBodyBytes)),
      .most_connections = static_cast<size_t>(limits.streams())};
  server.handle = [door = door.get()](const HttpRequest& request, const Exchange& exchange) {
    door->Handle(request, exchange);
  };
  server.refuse = [most_header_bytes = server.most_header_bytes, most_body_bytes = server.most_body_bytes](
                      HttpFault fault) { return FaultReply(fault, most_header_bytes, most_body_bytes); };
  absl::StatusOr<std::unique_ptr<HttpServer>> started = HttpServer::Start(*parsed, server);
  if (!started.ok()) return started.status();
  door->server_ = *std::move(started);
  return door;
}

void HttpDoor::Handle(const HttpRequest& request, const Exchange& exchange) {
  const std::string_view target = request.target;
  const size_t mark = target.find('?');
  const std::string_view path = target.substr(0, mark);
  const std::string_view query = mark == std::string_view::npos ? "" : target.substr(mark + 1);
  if (path == "/v1/admit") {
    if (request.method != "POST") return exchange->Answer(Not(request.method, "POST"));
    if (!query.empty()) return exchange->Answer(NoSuchParameter(query));
    return Admit(request, exchange);
  }
  if (path.starts_with(kLeases)) return exchange->Answer(Lease(request, path.substr(kLeases.size()), query));
  if (path == "/openapi.yaml") {
    if (request.method != "GET" && request.method != "HEAD") return exchange->Answer(Not(request.method, "GET, HEAD"));
    return exchange->Answer({.content_type = "application/yaml", .body = std::string(kOpenApiYaml)});
  }
  exchange->Answer(HttpWords::Error(404, "not_found",
                                    absl::StrCat(Quoted(path),
                                                 " is not here: there are /v1/admit, /v1/leases/{id} and "
                                                 "/openapi.yaml")));
}

void HttpDoor::Admit(const HttpRequest& request, const Exchange& exchange) {
  if (!request.has_length) {
    return exchange->Answer(HttpWords::Error(411, "length_required", "content-length: missing: send a body"));
  }
  v1::AdmitRequest admit;
  if (std::optional<HttpReply> wrong = words_.Read(request, "AdmitRequest", &admit))
    return exchange->Answer(*std::move(wrong));
  Controller& controller = options_.controller;
  Request asked;
  Instant deadline = kNever;
  std::optional<Refusal> refusal = ReadDeadline(request, controller.Now(), &deadline);
  if (!refusal) refusal = options_.converter.ToRequest(admit, options_.caller, &asked, nullptr);
  if (refusal) {
    controller.CountRefusal(refusal->outcome, admit.request_id(), admit.tenant());
    return exchange->Answer(words_.Refused(*refusal));
  }
  if (admit.validate_only()) {
    v1::AdmitResponse response;
    options_.converter.ToPriced(asked, response.mutable_lease());
    return exchange->Answer(words_.Message(response));
  }
  asked.deadline = deadline;
  AdmitCall::Start(*this, admit, asked, exchange);
}

HttpReply HttpDoor::Lease(const HttpRequest& request, std::string_view id, std::string_view query) {
  if (request.method != "PUT" && request.method != "DELETE") return Not(request.method, "PUT, DELETE");
  const std::string name = absl::StrCat("leases/", std::string(id));
  if (id.size() != kIdDigits || !std::all_of(id.begin(), id.end(), absl::ascii_isxdigit)) {
    return words_.Refused(Invalid("id", absl::StrCat(Quoted(id),
                                                     " is no lease's: write what stands behind leases/ in "
                                                     "the lease's name")));
  }
  if (request.method == "DELETE") return Release(request, name, query);
  if (!query.empty()) return NoSuchParameter(query);
  return Renew(request, name);
}

HttpReply HttpDoor::Renew(const HttpRequest& request, std::string_view name) {
  v1::Renewal renewal;
  if (std::optional<HttpReply> wrong = words_.Read(request, "Renewal", &renewal)) return *std::move(wrong);
  if (!renewal.name().empty()) return words_.Refused(Invalid("name", "the path names the lease: leave it out"));
  if (const auto wrong = CheckUsage(renewal.usage())) return words_.Refused(*wrong);
  if (const auto wrong = CheckTokens("extend.tokens", renewal.extend().tokens())) return words_.Refused(*wrong);
  renewal.set_name(std::string(name));
  v1::RenewLeasesResponse response;
  RenewLease(options_.controller, options_.converter, options_.caller, renewal, &response);
  if (response.lost_size() == 0) return words_.Message(response);
  return HttpWords::Error(404, "lease_lost", absl::StrCat(std::string(name), " is unknown or over: admit again"));
}

HttpReply HttpDoor::Release(const HttpRequest& request, std::string_view name, std::string_view query) {
  constexpr std::string_view kReason = "reason=";
  v1::ReleaseLeaseRequest release;
  if (std::optional<HttpReply> wrong = words_.Read(request, "EndReport", release.mutable_end()))
    return *std::move(wrong);
  if (!query.empty() && !query.starts_with(kReason)) return NoSuchParameter(query);
  if (query.starts_with(kReason)) {
    v1::EndReport::Reason reason;
    if (!v1::EndReport::Reason_Parse(std::string(query.substr(kReason.size())), &reason)) {
      return words_.Refused(Invalid("reason", absl::StrCat(Quoted(query.substr(kReason.size())),
                                                           ": write COMPLETED, CLIENT_GONE, BACKEND_ERROR or "
                                                           "BACKEND_OUT_OF_MEMORY")));
    }
    release.mutable_end()->set_reason(reason);
  }
  if (const auto wrong = CheckUsage(release.end().usage())) return words_.Refused(*wrong);
  release.set_name(std::string(name));
  v1::ReleaseLeaseResponse response;
  // The only name that looks like a lease's and is none is 0's, which nobody has ever held.
  if (!ReleaseLease(options_.controller, options_.converter, options_.caller, release, &response).ok())
    response.set_already_released(true);
  return words_.Message(response);
}

}  // namespace vramgate
