// The words of the HTTP door: messages as JSON with the schema's field names, refusals as status, headers and an
// OpenAI-shaped error.
//
//   v1::AdmitRequest admit;
//   if (std::optional<HttpReply> wrong = words.Read(request, "AdmitRequest", &admit)) return *wrong;
//   return words.Message(response);
//
// Used by HttpDoor. Thread rule: immutable, any thread. Lifetime rule: the HttpAnswers and the Converter outlive it.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "admission/decision.h"
#include "admission/server/http_answer.h"
#include "admission/server/http_server.h"
#include "admission/server/refusal.h"
#include "google/protobuf/message.h"

namespace vramgate {

class HttpWords {
 public:
  HttpWords(const Converter& converter, const v1::Config& config) : answers_(converter, config) {}

  // nullopt: *message is what the body says, or empty where there is none. Else what is wrong: 400, 415.
  std::optional<HttpReply> Read(const HttpRequest& request, std::string_view name,
                                google::protobuf::Message* message) const;

  HttpReply Message(const google::protobuf::Message& message) const;
  HttpReply Refused(const Refusal& refusal) const;
  // Of an answer that is no grant.
  HttpReply Refused(const Decision& decision) const;
  // What no gate was asked: `code` is a lower-case name, `message` says what would be right.
  static HttpReply Error(int status, std::string_view code, std::string_view message);

 private:
  const HttpAnswers answers_;
};

// What is no request at all, in the same words.
HttpReply FaultReply(HttpFault fault, size_t most_header_bytes, size_t most_body_bytes);

}  // namespace vramgate
