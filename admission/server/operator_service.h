// OperatorService: what holds the memory, who waits, and the operator's hand on it. Served on a Unix socket of its own,
// mode 0600. Thread rule: gRPC's. Lifetime rule: what is passed in outlives the gRPC server.
#pragma once

#include <string>

#include "admission/gate/controller.h"
#include "admission/server/convert.h"
#include "vramgate/v1/operator.grpc.pb.h"

namespace vramgate {

class OperatorServiceImpl final : public v1::OperatorService::CallbackService {
 public:
  OperatorServiceImpl(Controller& controller, const Converter& converter, std::string version)
      : controller_(controller), converter_(converter), version_(std::move(version)) {}

  grpc::ServerUnaryReactor* GetStatus(grpc::CallbackServerContext* context, const v1::GetStatusRequest* request,
                                      v1::GetStatusResponse* response) override;
  grpc::ServerUnaryReactor* ListLeases(grpc::CallbackServerContext* context, const v1::ListLeasesRequest* request,
                                       v1::ListLeasesResponse* response) override;
  grpc::ServerUnaryReactor* RevokeLease(grpc::CallbackServerContext* context, const v1::RevokeLeaseRequest* request,
                                        v1::RevokeLeaseResponse* response) override;
  grpc::ServerUnaryReactor* LoadModel(grpc::CallbackServerContext* context, const v1::LoadModelRequest* request,
                                      v1::LoadModelResponse* response) override;
  grpc::ServerUnaryReactor* UnloadModel(grpc::CallbackServerContext* context, const v1::UnloadModelRequest* request,
                                        v1::UnloadModelResponse* response) override;
  grpc::ServerUnaryReactor* Drain(grpc::CallbackServerContext* context, const v1::DrainRequest* request,
                                  v1::DrainResponse* response) override;

 private:
  void RevokeAll(absl::Duration grace);

  Controller& controller_;
  const Converter& converter_;
  const std::string version_;
};

}  // namespace vramgate
