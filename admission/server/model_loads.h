// LoadModel and UnloadModel: a model's fixed bytes as an admission. Asked for by operators and by engines' plugins, the
// same way. Thread rule: any thread.
#pragma once

#include <grpcpp/support/status.h>

#include "admission/gate/controller.h"
#include "admission/server/convert.h"
#include "vramgate/v1/operator.pb.h"

namespace vramgate {

// NOT_FOUND: no such model or instance. RESOURCE_EXHAUSTED, BUDGET_EXHAUSTED: the fixed bytes do not fit now;
// FAILED_PRECONDITION, NEVER_FITS: nor beside nothing. UNAVAILABLE: draining, or a device without a fresh reading.
grpc::Status LoadModel(Controller& controller, const Converter& converter, const v1::LoadModelRequest& request,
                       v1::LoadModelResponse* response);
grpc::Status UnloadModel(Controller& controller, const Converter& converter, const v1::UnloadModelRequest& request,
                         v1::UnloadModelResponse* response);

}  // namespace vramgate
