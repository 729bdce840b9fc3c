#include "admission/server/ext_proc_messages.h"

#include <utility>

#include "absl/strings/str_cat.h"

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

void SetPromptHeaders(int64_t prompt_tokens, PromptSource source, ext_proc::ProcessingResponse* out) {
  if (source == PromptSource::kNone || prompt_tokens <= 0) return;
  auto* mutation = out->mutable_response_headers()->mutable_response()->mutable_header_mutation();
  const auto set = [&](const char* name, std::string value) {
    auto* option = mutation->add_set_headers();
    option->set_append_action(envoy::config::core::v3::HeaderValueOption::OVERWRITE_IF_EXISTS_OR_ADD);
    option->mutable_header()->set_key(name);
    option->mutable_header()->set_raw_value(std::move(value));
  };
  set("x-vramgate-prompt-tokens", absl::StrCat(prompt_tokens));
  set("x-vramgate-prompt-tokens-source", std::string(PromptSourceName(source)));
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
