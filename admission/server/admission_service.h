// AdmissionService over gRPC's callback API: thin reactors around Session and Controller. One service object a
// listener, since the listener is who the caller is.
//
// Thread rule: gRPC's. Lifetime rule: what is passed in outlives the gRPC server.
#pragma once

#include "admission/gate/controller.h"
#include "admission/server/convert.h"
#include "admission/server/stream_limit.h"
#include "vramgate/v1/admission.grpc.pb.h"

namespace vramgate {

class AdmissionServiceImpl final : public v1::AdmissionService::CallbackService {
 public:
  AdmissionServiceImpl(Controller& controller, const Converter& converter, StreamLimit& streams, const Caller& caller)
      : controller_(controller), converter_(converter), streams_(streams), caller_(caller) {}

  grpc::ServerBidiReactor<v1::SessionRequest, v1::SessionResponse>* Session(
      grpc::CallbackServerContext* context) override;
  grpc::ServerUnaryReactor* Admit(grpc::CallbackServerContext* context, const v1::AdmitRequest* request,
                                  v1::AdmitResponse* response) override;
  grpc::ServerBidiReactor<v1::RenewLeasesRequest, v1::RenewLeasesResponse>* RenewLeases(
      grpc::CallbackServerContext* context) override;
  grpc::ServerUnaryReactor* ReleaseLease(grpc::CallbackServerContext* context, const v1::ReleaseLeaseRequest* request,
                                         v1::ReleaseLeaseResponse* response) override;
  grpc::ServerUnaryReactor* Estimate(grpc::CallbackServerContext* context, const v1::EstimateRequest* request,
                                     v1::EstimateResponse* response) override;

  grpc::ServerBidiReactor<v1::StepReport, v1::StepAnswer>* ReportSteps(grpc::CallbackServerContext* context) override;

 private:
  Controller& controller_;
  const Converter& converter_;
  StreamLimit& streams_;
  const Caller caller_;
};

// For a stream that finds no StreamLimit::Ticket.
Refusal TooManyStreams();

// The caller's deadline on the core's clock.
Instant DeadlineOf(const grpc::CallbackServerContext& context, Instant now);

}  // namespace vramgate
