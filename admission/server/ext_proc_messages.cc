#include "admission/server/ext_proc_messages.h"

namespace vramgate {

namespace ext_proc = envoy::service::ext_proc::v3;
using envoy::extensions::filters::http::ext_proc::v3::ProcessingMode;
using ext_proc::ProcessingRequest;

std::string_view HeaderOf(const ext_proc::HttpHeaders& headers, std::string_view name) {
  for (const auto& header : headers.headers().headers()) {
    if (header.key() == name) return header.raw_value().empty() ? header.value() : header.raw_value();
  }
  return "";
}

void SetContinue(ProcessingRequest::RequestCase to, ext_proc::ProcessingResponse* out) {
  switch (to) {
    case ProcessingRequest::kRequestHeaders:
      out->mutable_request_headers();
      break;
    case ProcessingRequest::kResponseHeaders:
      out->mutable_response_headers();
      break;
    case ProcessingRequest::kRequestBody:
      out->mutable_request_body();
      break;
    case ProcessingRequest::kResponseBody:
      out->mutable_response_body();
      break;
    case ProcessingRequest::kRequestTrailers:
      out->mutable_request_trailers();
      break;
    case ProcessingRequest::kResponseTrailers:
      out->mutable_response_trailers();
      break;
    case ProcessingRequest::REQUEST_NOT_SET:
      break;
  }
}

void SetModes(bool generation, const ExtProcOptions& options, ProcessingMode* mode) {
  mode->set_request_body_mode(generation ? ProcessingMode::BUFFERED : ProcessingMode::NONE);
  mode->set_response_header_mode(generation && !options.low_latency ? ProcessingMode::SEND : ProcessingMode::SKIP);
  mode->set_response_body_mode(generation && options.response_usage ? ProcessingMode::STREAMED : ProcessingMode::NONE);
  mode->set_request_trailer_mode(ProcessingMode::SKIP);
  // Without it some Envoys (1.37, 1.38) end the stream, and so the lease, with the response's headers.
  mode->set_response_trailer_mode(generation ? ProcessingMode::SEND : ProcessingMode::SKIP);
}

bool WantsBodiesBack(const ext_proc::ProtocolConfiguration& config) {
  return config.request_body_mode() == ProcessingMode::FULL_DUPLEX_STREAMED ||
         config.response_body_mode() == ProcessingMode::FULL_DUPLEX_STREAMED;
}

}  // namespace vramgate
