// The door for gateways: Envoy's external processing protocol (ext_proc), one stream for each HTTP request. A
// generation request is answered when the gate has decided: passed on, held while it waits, or refused with an HTTP
// answer. Its lease lives as long as the stream, which Envoy ends with the HTTP response (examples/envoy has the modes
// that make it so).
//
//   request_headers  CONTINUE, at once; 400 where a generation request has no body
//   request_body     the decision: CONTINUE, or an ImmediateResponse (http_answer.h);
//                    while it waits, once, a longer timeout, which its wait never outlasts
//   everything else  CONTINUE, at once: other paths, response headers, trailers;
//                    response bodies are never kept
//   the stream's end after the response headers: a normal end cannot be told from
//                    another; ext_proc.end says whether the bytes are free at once or
//                    the lease lingers;
//                    before them: the lease lingers, or the waiter leaves the queue
//
// Messages may come in any order and any number: a gateway answers by itself at any point, and then sends the
// response's headers where its body was to come.
//
// Nothing that an HTTP client sends is taken for an identity: its x-request-id is no idempotency key.
//
// Thread rule: gRPC's; LetGo from any thread. Lifetime rule: what is passed in outlives the gRPC server.
#pragma once

#include "admission/gate/controller.h"
#include "admission/server/convert.h"
#include "admission/server/ext_proc_call.h"
#include "admission/server/ext_proc_ends.h"
#include "admission/server/stream_limit.h"
#include "envoy/service/ext_proc/v3/external_processor.grpc.pb.h"
#include "vramgate/v1/config.pb.h"

namespace vramgate {

class ExtProcServiceImpl final : public envoy::service::ext_proc::v3::ExternalProcessor::CallbackService {
 public:
  // The name that gateways ask the health service for.
  static constexpr char kHealthName[] = "envoy.service.ext_proc.v3.ExternalProcessor";

  // `entrance`: where its streams come through; null: losses of connections are not told from ends.
  ExtProcServiceImpl(Controller& controller, const Converter& converter, StreamLimit& streams, const Caller& caller,
                     const v1::Config& config, ExtProcEnds& ends, const UnixDoor* entrance = nullptr);

  // Ends every stream in good order, at the end of drain.grace: gateways let the requests run on.
  void LetGo() { calls_.LetGo(); }

  grpc::ServerBidiReactor<envoy::service::ext_proc::v3::ProcessingRequest,
                          envoy::service::ext_proc::v3::ProcessingResponse>*
  Process(grpc::CallbackServerContext* context) override;

  std::shared_ptr<const GatewayCounters> counters() const { return reader_.counters(); }

 private:
  ProcessCalls calls_;
  const GatewayReader reader_;
  const ProcessContext context_;
};

}  // namespace vramgate
