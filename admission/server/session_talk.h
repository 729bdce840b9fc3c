// What is said on one Session's stream, whatever carries it: requests are validated and given to the Session, its
// answers become messages and the status at the end. gRPC's reactor and the plugin socket's streams are its transports.
//
//   SessionTalk talk(controller, converter, caller, session);
//   talk.OnMessage(request, deadline);          // each that comes, one after the other
//   talk.ToResponse(message, &response);        // in SessionStream::Write
//   return talk.StatusOf(finish);               // in SessionStream::Finish
//
// Thread rule: OnMessage from one thread at a time; the others from any, as the Session calls its stream. Lifetime
// rule: what is passed in outlives it, but the session, which is shared.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "admission/gate/controller.h"
#include "admission/server/convert.h"
#include "admission/server/session.h"

namespace vramgate {

class SessionTalk {
 public:
  SessionTalk(Controller& controller, const Converter& converter, const Caller& caller,
              std::shared_ptr<Session> session)
      : controller_(controller), converter_(converter), caller_(caller), session_(std::move(session)) {}

  // `deadline`: the caller's own, for its place in the queue. What is wrong ends the Session.
  void OnMessage(const v1::SessionRequest& request, Instant deadline);
  // Nothing came that can be read: as a first message that is none, or, later, as a half-close.
  void OnNoMore();

  // REQUIRES, for both: OnMessage was called with an `admit` before.
  void ToResponse(const SessionMessage& message, v1::SessionResponse* out) const;
  grpc::Status StatusOf(const SessionFinish& finish) const;

  // For a stream on which no admit has come in time.
  static Refusal Silent();

 private:
  void OnAdmit(const v1::AdmitRequest& in, Instant deadline);
  void Learn(const v1::Usage& usage);
  std::optional<LeaseId> Remembered(const v1::AdmitRequest& in) const;
  void Refuse(const char* field, const char* message);

  Controller& controller_;
  const Converter& converter_;
  const Caller caller_;
  const std::shared_ptr<Session> session_;
  const ServedModel* model_ = nullptr;  // set by the first message
  std::string tenant_;                  // likewise, before the Session is asked
  int32_t sequences_ = 1;
  TokenRatios::Sample prompt_;  // for the estimates of others; no bytes: nothing to learn, or learned
};

}  // namespace vramgate
