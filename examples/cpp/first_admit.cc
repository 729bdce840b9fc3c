// A first request: asks vramgate for one generation's memory, holds it for a second, gives it back.
//
//   build/release/examples/first_admit [TARGET]        # default: unix:build/run/gate.sock, where `./dev run --keep`
//   listens
#include <chrono>
#include <iostream>
#include <thread>

#include <grpcpp/grpcpp.h>
#include "vramgate/v1/admission.grpc.pb.h"

namespace v1 = vramgate::v1;

int main(int argc, char** argv) {
  const char* target = argc > 1 ? argv[1] : "unix:build/run/gate.sock";
  const auto stub = v1::AdmissionService::NewStub(grpc::CreateChannel(target, grpc::InsecureChannelCredentials()));

  grpc::ClientContext context;
  const auto stream = stub->Session(&context);
  v1::SessionRequest request;
  request.mutable_admit()->set_model("llama-3.1-8b");
  request.mutable_admit()->mutable_demand()->set_prompt_tokens(1000);
  request.mutable_admit()->mutable_demand()->set_max_output_tokens(500);
  stream->Write(request);  // where this fails the stream has ended: Read says so, and Finish why

  // Answers `queued` for as long as it waits, then `granted`; or the stream ends and its status says why.
  v1::SessionResponse response;
  bool granted = false;
  while (!granted && stream->Read(&response)) {
    if (response.has_queued()) std::cout << "queued at position " << response.queued().position() << std::endl;
    granted = response.has_granted();
  }
  if (granted) {
    const v1::Lease& lease = response.granted();
    std::cout << lease.name() << " on instance " << lease.instance() << std::endl;
    for (const v1::DeviceCharge& charge : lease.charges()) {
      std::cout << "  device " << charge.device() << ": " << charge.vram_bytes() << " bytes" << std::endl;
    }
    std::this_thread::sleep_for(std::chrono::seconds(1));  // here the engine generates; the lease lives with the stream
    stream->WritesDone();                                  // done: the bytes are free at once
  }
  const grpc::Status status = stream->Finish();
  if (!granted || !status.ok()) {
    std::cerr << "refused: " << status.error_message() << " (code " << status.error_code() << ")" << std::endl;
    return 1;
  }
  std::cout << "released" << std::endl;
  return 0;
}
