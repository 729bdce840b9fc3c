// The floor: an ext_proc server in C++ that lets everything pass, on the API and with the settings of vramgate's own.
#include <iostream>
#include <memory>
#include <mutex>

#include "admission/server/ext_proc_messages.h"
#include "envoy/service/ext_proc/v3/external_processor.grpc.pb.h"
#include "grpcpp/server_builder.h"
#include "tests/bench/envoy_rig.h"

namespace vramgate {
namespace {

namespace ext_proc = envoy::service::ext_proc::v3;

class NoopCall final : public grpc::ServerBidiReactor<ext_proc::ProcessingRequest, ext_proc::ProcessingResponse> {
 public:
  NoopCall() { StartRead(&request_); }
  void OnReadDone(bool ok) override {
    if (!ok) return End();
    response_.Clear();
    SetContinue(request_.request_case(), &response_);
    StartWrite(&response_);
  }
  void OnWriteDone(bool ok) override {
    if (!ok) return End();
    request_.Clear();
    StartRead(&request_);
  }
  void OnCancel() override { End(); }
  void OnDone() override { delete this; }

 private:
  void End() {
    std::call_once(ended_, [this] { Finish(grpc::Status::OK); });
  }

  ext_proc::ProcessingRequest request_;
  ext_proc::ProcessingResponse response_;
  std::once_flag ended_;
};

class NoopService final : public ext_proc::ExternalProcessor::CallbackService {
 public:
  grpc::ServerBidiReactor<ext_proc::ProcessingRequest, ext_proc::ProcessingResponse>* Process(
      grpc::CallbackServerContext*) override {
    return new NoopCall();
  }
};

}  // namespace

int ServeNoop(const std::string& dir) {
  NoopService service;
  grpc::ServerBuilder builder;
  builder.AddListeningPort("unix:" + dir + "/noop.sock", grpc::InsecureServerCredentials());
  builder.RegisterService(&service);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr) return 1;
  std::cout << "ready" << std::endl;
  server->Wait();  // until it is killed
  return 0;
}

}  // namespace vramgate
