#include "admission/server/http_json.h"

#include <string>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "admission/utf8.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/util/json_util.h"
#include "nlohmann/json.hpp"

namespace vramgate {
namespace {

namespace util = google::protobuf::util;
using envoy::service::ext_proc::v3::ImmediateResponse;

constexpr char kJson[] = "application/json";
constexpr size_t kMostErrorBytes = 300;  // of the parser's words: they may say what the caller sent

bool IsJson(std::string_view content_type) {
  const std::string_view kind = content_type.substr(0, content_type.find(';'));
  return absl::EqualsIgnoreCase(absl::StripAsciiWhitespace({kind.data(), kind.size()}), kJson);
}

// What Protobuf 3.21 takes beyond JSON and its own mapping: names without quotes, a Duration as an object of its
// fields. What is wrong, or "". REQUIRES: Protobuf has taken the body, so it is not deep.
std::string Loose(const std::string& body, const google::protobuf::Descriptor& message) {
  const nlohmann::json json = nlohmann::json::parse(body, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return "body: not a JSON object: quote names and text with \"";
  for (const auto& [key, value] : json.items()) {
    const auto* field = message.FindFieldByName(key);
    if (field == nullptr) field = message.FindFieldByCamelcaseName(key);
    if (field == nullptr || field->message_type() == nullptr || value.is_string() || value.is_null()) continue;
    if (field->message_type()->full_name() == "google.protobuf.Duration")
      return absl::StrCat(key, ": write seconds as text, such as \"1.5s\"");
  }
  return "";
}

// A refusal as a gateway's client sees it, too.
HttpReply ToReply(const ImmediateResponse& answer) {
  HttpReply reply{.status = static_cast<int>(answer.status().code()), .content_type = kJson, .body = answer.body()};
  for (const auto& option : answer.headers().set_headers()) {
    if (option.header().key() == "content-type") continue;
    reply.headers.emplace_back(option.header().key(), option.header().raw_value());
  }
  return reply;
}

}  // namespace

std::optional<HttpReply> HttpWords::Read(const HttpRequest& request, std::string_view name,
                                         google::protobuf::Message* message) const {
  if (request.body.empty()) return std::nullopt;
  if (!IsJson(request.Header("content-type").value_or(""))) {
    return Error(415, "unsupported_media_type", "content-type: a body must be application/json");
  }
  util::JsonParseOptions options;
  options.ignore_unknown_fields = false;
  const util::Status status = util::JsonStringToMessage(request.body, message, options);
  if (status.ok()) {
    const std::string loose = Loose(request.body, *message->GetDescriptor());
    if (loose.empty()) return std::nullopt;
    return Error(400, "invalid_request", loose);
  }
  const std::string why = std::string(status.message()).substr(0, kMostErrorBytes);
  return Error(
      400, "invalid_request",
      absl::StrCat("body: no ", std::string(name), " in JSON: ", why, ": /openapi.yaml says what it may hold"));
}

HttpReply HttpWords::Message(const google::protobuf::Message& message) const {
  util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  options.always_print_primitive_fields = true;
  HttpReply reply{.content_type = kJson};
  const util::Status status = util::MessageToJsonString(message, &reply.body, options);
  if (!status.ok()) return Error(500, "internal", std::string(status.message()));
  reply.body += '\n';
  return reply;
}

HttpReply HttpWords::Refused(const Refusal& refusal) const {
  ImmediateResponse answer;
  answers_.Write(refusal, /*grpc=*/false, &answer);
  return ToReply(answer);
}

HttpReply HttpWords::Refused(const Decision& decision) const {
  ImmediateResponse answer;
  answers_.Write(decision, /*grpc=*/false, &answer);
  HttpReply reply = ToReply(answer);
  // Ends that only a caller of the API sees: no config has a status for them. INVALID_REQUEST as a decision: the key is
  // another request's.
  if (decision.outcome == Outcome::kSuperseded || decision.outcome == Outcome::kAborted ||
      decision.outcome == Outcome::kExpired || decision.outcome == Outcome::kRejectedInvalidRequest) {
    reply.status = 409;
  }
  return reply;
}

HttpReply HttpWords::Error(int status, std::string_view code, std::string_view message) {
  const nlohmann::json body = {{"error",
                                {{"message", std::string(message)},
                                 {"type", status >= 500 ? "server_overloaded" : "invalid_request_error"},
                                 {"code", std::string(code)}}}};
  HttpReply reply{.status = status, .content_type = kJson};
  reply.headers.emplace_back("x-should-retry", status >= 500 ? "true" : "false");
  reply.body = body.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  return reply;
}

HttpReply FaultReply(HttpFault fault, size_t most_header_bytes, size_t most_body_bytes) {
  switch (fault) {
    case HttpFault::kMalformed:
      return HttpWords::Error(400, "malformed", "not an HTTP/1.1 request");
    case HttpFault::kHost:
      return HttpWords::Error(400, "malformed", "host: exactly one must be given");
    case HttpFault::kHeaders:
      return HttpWords::Error(431, "headers_too_large",
                              absl::StrCat("headers: over the limit of ", most_header_bytes, " bytes: send fewer"));
    case HttpFault::kBody:
      return HttpWords::Error(
          413, "body_too_large",
          absl::StrCat("body: over the limit of ", most_body_bytes, " bytes: a request is described here, not sent"));
    case HttpFault::kSlow:
      return HttpWords::Error(408, "timeout", "the request did not come whole in time: send it at once");
    case HttpFault::kExpectation:
      return HttpWords::Error(417, "expectation", "expect: only 100-continue can be met");
    case HttpFault::kCrowded:
      return HttpWords::Error(503, "too_many_connections",
                              "every connection waits for its answer: try again, or raise limits.streams");
  }
  return HttpWords::Error(500, "internal", "an unknown fault");
}

}  // namespace vramgate
