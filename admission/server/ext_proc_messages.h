// The words of Envoy's external processing protocol: what is read from its messages, and the answers that change
// nothing.
//
// Used by the ext_proc service. Pure.
#pragma once

#include <string_view>

#include "admission/server/ext_proc_options.h"
#include "admission/types.h"
#include "envoy/service/ext_proc/v3/external_processor.pb.h"

namespace vramgate {

// The value of the first header of that name (lower case, as in HTTP/2); "" where there is none.
std::string_view HeaderOf(const envoy::service::ext_proc::v3::HttpHeaders& headers, std::string_view name);

// Makes *out the answer to a message of kind `to` that lets it pass unchanged.
void SetContinue(envoy::service::ext_proc::v3::ProcessingRequest::RequestCase to,
                 envoy::service::ext_proc::v3::ProcessingResponse* out);

// Tells the HTTP client, in the answer to response headers, what its prompt was charged as and where that comes from:
// x-vramgate-prompt-tokens, x-vramgate-prompt-tokens-source.
void SetPromptHeaders(int64_t prompt_tokens, PromptSource source,
                      envoy::service::ext_proc::v3::ProcessingResponse* out);

// What a gateway that allows it is asked to send on: the whole body of a generation request and the end of its
// response; nothing more of any other request. Gateways that do not allow it ignore it.
void SetModes(bool generation, const ExtProcOptions& options,
              envoy::extensions::filters::http::ext_proc::v3::ProcessingMode* mode);

// Whether the gateway sends bodies in a way in which each has to be sent back whole, which this side does not.
bool WantsBodiesBack(const envoy::service::ext_proc::v3::ProtocolConfiguration& config);

}  // namespace vramgate
