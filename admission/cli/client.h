// What the commands that talk to a running sidecar share: the channel, and how a refusal becomes words and an exit
// code.
#pragma once

#include <memory>
#include <string>

#include "admission/cli/command.h"
#include "google/protobuf/message.h"
#include "grpcpp/channel.h"
#include "grpcpp/support/status.h"

namespace vramgate {

// Plaintext, to `unix:/path` or `host:port`.
std::shared_ptr<grpc::Channel> Connect(const std::string& target);

// Proto's JSON with original field names, zero values included, on one line.
std::string ToJson(const google::protobuf::Message& message);

// 3 where a retry may succeed, 4 where not, 1 where the sidecar could not be asked.
ExitCode ExitCodeOf(const grpc::Status& status);

// {"code","reason","message","retry_after_ms"} of a refusal: reason "" and no retry_after_ms where it has none.
std::string RefusalJson(const grpc::Status& status);

}  // namespace vramgate
