#include "admission/server/ext_proc_service.h"

#include "admission/server/durations.h"

namespace vramgate {
namespace {

namespace ext_proc = envoy::service::ext_proc::v3;

// The gate answers a waiter when queue.max_wait is over; the gateway must not give up before it has heard so.
constexpr absl::Duration kHoldMargin = absl::Seconds(1);

}  // namespace

ExtProcServiceImpl::ExtProcServiceImpl(Controller& controller, const Converter& converter, StreamLimit& streams,
                                       const Caller& caller, const v1::Config& config)
    : reader_(converter, caller, config),
      context_{controller,
               converter,
               streams,
               caller,
               HttpAnswers(converter, config),
               reader_,
               FromProto(config.queue().max_wait()) + kHoldMargin} {}

grpc::ServerBidiReactor<ext_proc::ProcessingRequest, ext_proc::ProcessingResponse>* ExtProcServiceImpl::Process(
    grpc::CallbackServerContext* context) {
  return new ProcessCall(context_, *context);
}

}  // namespace vramgate
