#include "admission/server/ext_proc_service.h"

namespace vramgate {

namespace ext_proc = envoy::service::ext_proc::v3;

ExtProcServiceImpl::ExtProcServiceImpl(Controller& controller, const Converter& converter, StreamLimit& streams,
                                       const Caller& caller, const v1::Config& config, ExtProcEnds& ends,
                                       const UnixDoor* entrance)
    : reader_(converter, caller, config),
      context_{
          controller, converter, streams, caller, HttpAnswers(converter, config), reader_, ExtProcOptionsOf(config),
          ends,       calls_,    entrance} {}

grpc::ServerBidiReactor<ext_proc::ProcessingRequest, ext_proc::ProcessingResponse>* ExtProcServiceImpl::Process(
    grpc::CallbackServerContext* context) {
  return new ProcessCall(context_, *context);
}

}  // namespace vramgate
