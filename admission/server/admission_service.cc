#include "admission/server/admission_service.h"

#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "admission/estimator/estimate.h"
#include "admission/mutex.h"
#include "admission/server/lease_calls.h"
#include "admission/server/session.h"

namespace vramgate {
namespace {

constexpr int kMostRenewals = 10'000;  // in one message

// One unary Admit: its stream is the call. Most are decided at once and answered by gRPC's own reactor: one of ours
// costs a hop to another thread for its last callback, which is more than the decision itself.
class AdmitCall final : public grpc::ServerUnaryReactor, public SessionStream {
 public:
  AdmitCall(Controller& controller, const Converter& converter, const v1::AdmitRequest& request,
            v1::AdmitResponse* response)
      : converter_(converter),
        request_(request),
        response_(response),
        session_(std::make_shared<Session>(controller, this, Session::Shape::kUnary)) {}

  // The reactor of the call: of `call` where it has to wait.
  static grpc::ServerUnaryReactor* Start(std::unique_ptr<AdmitCall> call, const Request& request,
                                         grpc::CallbackServerContext* context) {
    call->session_->Admit(request);
    std::optional<grpc::Status> answer;
    {
      MutexLock lock(call->mutex_);
      answer = call->answer_;
      call->waits_ = !answer;
    }
    if (!answer) return call.release();
    call->session_->StreamClosed(false);
    return Finished(context, *answer);
  }

  void Write(const SessionMessage&) override {}  // a unary call hears only its answer
  void Finish(const SessionFinish& finish) override {
    const grpc::Status status = StatusOf(finish);
    {
      MutexLock lock(mutex_);
      if (!waits_) {
        answer_ = status;
        return;
      }
    }
    ServerUnaryReactor::Finish(status);
  }
  void OnCancel() override { session_->Cancelled(); }
  void OnDone() override {
    session_->StreamClosed(false);  // an answer that was lost is not confirmed in time, and lingers
    delete this;
  }

 private:
  grpc::Status StatusOf(const SessionFinish& finish) {
    switch (finish.kind) {
      case SessionFinish::Kind::kOk:
        ToAdmitResponse(converter_, finish.decision, request_.tenant(), response_);
        return grpc::Status::OK;
      case SessionFinish::Kind::kRefused:
        return converter_.ToStatus(finish.decision);
      case SessionFinish::Kind::kBroken:
        return converter_.ToStatus(finish.refusal);
      case SessionFinish::Kind::kCancelled:
        return grpc::Status::CANCELLED;
    }
    return {grpc::StatusCode::INTERNAL, "an unknown end"};
  }

  const Converter& converter_;
  const v1::AdmitRequest& request_;
  v1::AdmitResponse* const response_;
  const std::shared_ptr<Session> session_;
  Mutex mutex_;                                 // taken under the Session's lock
  bool waits_ ABSL_GUARDED_BY(mutex_) = false;  // the call's reactor is this
  std::optional<grpc::Status> answer_ ABSL_GUARDED_BY(mutex_);
};

// Renews batch after batch, one answer each.
class RenewCall final : public grpc::ServerBidiReactor<v1::RenewLeasesRequest, v1::RenewLeasesResponse> {
 public:
  RenewCall(Controller& controller, const Converter& converter, StreamLimit& streams, const Caller& caller)
      : controller_(controller), converter_(converter), caller_(caller), ticket_(streams) {
    if (ticket_.taken()) {
      StartRead(&request_);
    } else {
      Finish(converter_.ToStatus(TooManyStreams()));
    }
  }

  void OnReadDone(bool ok) override {
    if (!ok) return Finish(grpc::Status::OK);
    if (request_.renewals_size() > kMostRenewals) {
      return Finish(
          MakeStatus(grpc::StatusCode::INVALID_ARGUMENT,
                     absl::StrCat("renewals: ", request_.renewals_size(), " in one message, at most ", kMostRenewals),
                     {.reason = "INVALID_REQUEST", .field = "renewals"}));
    }
    response_.Clear();
    for (const v1::Renewal& renewal : request_.renewals()) {
      RenewLease(controller_, converter_, caller_, renewal, &response_);
    }
    StartWrite(&response_);
  }
  void OnWriteDone(bool ok) override {
    if (ok) return StartRead(&request_);
    Finish(grpc::Status::CANCELLED);
  }
  void OnDone() override { delete this; }

 private:
  Controller& controller_;
  const Converter& converter_;
  const Caller caller_;
  const StreamLimit::Ticket ticket_;
  v1::RenewLeasesRequest request_;
  v1::RenewLeasesResponse response_;
};

}  // namespace

Refusal TooManyStreams() {
  return {Outcome::kRejectedQueueFull, "", "too many open streams: try again, or raise limits.streams"};
}

Instant DeadlineOf(const grpc::CallbackServerContext& context, Instant now) {
  const auto left = context.deadline() - std::chrono::system_clock::now();
  if (context.deadline() == std::chrono::system_clock::time_point::max()) return kNever;
  return now + absl::FromChrono(left);
}

grpc::ServerUnaryReactor* AdmissionServiceImpl::Admit(grpc::CallbackServerContext* context, const v1::AdmitRequest* in,
                                                      v1::AdmitResponse* response) {
  Request request;
  if (const auto refusal = converter_.ToRequest(*in, caller_, &request, nullptr)) {
    controller_.CountRefusal(refusal->outcome, in->request_id(), in->tenant());
    return Finished(context, converter_.ToStatus(*refusal));
  }
  if (in->validate_only()) {
    converter_.ToPriced(request, response->mutable_lease());
    return Finished(context, grpc::Status::OK);
  }
  request.deadline = DeadlineOf(*context, controller_.Now());
  return AdmitCall::Start(std::make_unique<AdmitCall>(controller_, converter_, *in, response), request, context);
}

grpc::ServerBidiReactor<v1::RenewLeasesRequest, v1::RenewLeasesResponse>* AdmissionServiceImpl::RenewLeases(
    grpc::CallbackServerContext*) {
  return new RenewCall(controller_, converter_, streams_, caller_);
}

grpc::ServerUnaryReactor* AdmissionServiceImpl::ReleaseLease(grpc::CallbackServerContext* context,
                                                             const v1::ReleaseLeaseRequest* request,
                                                             v1::ReleaseLeaseResponse* response) {
  return Finished(context, vramgate::ReleaseLease(controller_, converter_, caller_, *request, response));
}

grpc::ServerUnaryReactor* AdmissionServiceImpl::Estimate(grpc::CallbackServerContext* context,
                                                         const v1::EstimateRequest* in,
                                                         v1::EstimateResponse* response) {
  Request request;
  Converter::Tokens tokens;
  if (const auto refusal = converter_.ToRequest(in->admit(), caller_, &request, &tokens)) {
    return Finished(context, converter_.ToStatus(*refusal));
  }
  return Finished(context, converter_.ToEstimate(request, tokens, controller_.Estimate(request), response));
}

}  // namespace vramgate
