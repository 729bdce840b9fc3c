// AdmissionService.Session: one bidi stream, one lease.
#include <memory>

#include "admission/server/admission_service.h"
#include "admission/server/session.h"
#include "admission/server/session_talk.h"
#include "grpcpp/alarm.h"

namespace vramgate {
namespace {

constexpr absl::Duration kFirstMessageWithin = absl::Seconds(10);

class SessionCall final : public grpc::ServerBidiReactor<v1::SessionRequest, v1::SessionResponse>,
                          public SessionStream {
 public:
  SessionCall(Controller& controller, const Converter& converter, StreamLimit& streams, const Caller& caller,
              const grpc::CallbackServerContext& context)
      : controller_(controller),
        context_(context),
        ticket_(streams),
        session_(std::make_shared<Session>(controller, this, Session::Shape::kStream)),
        talk_(controller, converter, caller, session_) {
    if (!ticket_.taken()) {
      session_->Refuse(TooManyStreams());
      return;
    }
    // A stream that says nothing must not stay for ever. The alarm keeps the session, not the call.
    alarm_.Set(std::chrono::system_clock::now() + absl::ToChronoMilliseconds(kFirstMessageWithin),
               [session = session_](bool fired) {
                 if (fired && !session->admitted()) session->Refuse(SessionTalk::Silent());
               });
    StartRead(&request_);
  }

  // SessionStream, under the Session's lock.
  void Write(const SessionMessage& message) override {
    response_.Clear();
    talk_.ToResponse(message, &response_);
    StartWrite(&response_);
  }
  void Finish(const SessionFinish& finish) override { ServerBidiReactor::Finish(talk_.StatusOf(finish)); }

  // ServerBidiReactor.
  void OnReadDone(bool ok) override {
    if (!ok) return talk_.OnNoMore();
    talk_.OnMessage(request_, DeadlineOf(context_, controller_.Now()));
    StartRead(&request_);
  }
  void OnWriteDone(bool) override { session_->WriteDone(); }
  void OnCancel() override { session_->Cancelled(); }
  void OnDone() override {
    alarm_.Cancel();
    session_->StreamClosed(context_.IsCancelled());
    delete this;
  }

 private:
  Controller& controller_;
  const grpc::CallbackServerContext& context_;
  const StreamLimit::Ticket ticket_;
  const std::shared_ptr<Session> session_;
  SessionTalk talk_;
  grpc::Alarm alarm_;
  v1::SessionRequest request_;
  v1::SessionResponse response_;
};

}  // namespace

grpc::ServerBidiReactor<v1::SessionRequest, v1::SessionResponse>* AdmissionServiceImpl::Session(
    grpc::CallbackServerContext* context) {
  return new SessionCall(controller_, converter_, streams_, caller_, *context);
}

}  // namespace vramgate
