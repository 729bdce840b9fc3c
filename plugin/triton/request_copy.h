// A RequestCopy is all of a Triton request that its target will need, so that the request itself can be given back at
// once and waits with no thread and none of the frontend's buffers.
//
// Used by GatedRequest, and by demand.h, which reads what the request will cost from it.
//
//   RequestCopy copy;
//   if (Error error = CopyRequest(request, most_bytes, &copy)) ...          refuses GPU memory and what is above
//   most_bytes InnerRequest inner; if (Error error = MakeInner(server, settings, copy, waited, &inner)) ...
//
// Thread rule: confined to one thread at a time. Lifetime rule: an inner request borrows the bytes of the copy it was
// made from until the target has released it.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "plugin/triton/error.h"
#include "plugin/triton/settings.h"
#include "plugin/triton/triton_backend_api.h"

namespace vramgate {

struct Tensor {
  std::string name;
  TRITONSERVER_DataType type;
  std::vector<int64_t> shape;  // with the batch dimension, where the model has one
  std::string bytes;
};

struct Parameter {
  std::string key;
  std::variant<std::string, int64_t, bool, double> value;
};

struct RequestCopy {
  std::string id;
  uint32_t flags = 0;  // of its sequence: start, end
  uint64_t correlation_id = 0;
  std::string correlation_text;  // where the id is one; then correlation_id is 0
  uint64_t timeout_us = 0;       // 0: none
  std::vector<Tensor> inputs;
  std::vector<std::string> outputs;  // requested ones
  std::vector<Parameter> parameters;
  int64_t held_bytes = 0;  // of inputs
};

// On failure `copy` is of no use. UNSUPPORTED: an input lies in GPU memory. UNAVAILABLE: larger than `most_bytes`.
[[nodiscard]] Error CopyRequest(TRITONBACKEND_Request* request, int64_t most_bytes, RequestCopy* copy);

struct InnerDeleter {
  void operator()(TRITONSERVER_InferenceRequest* request) const {
    LogError("delete a request", TRITONSERVER_InferenceRequestDelete(request));
  }
};
using InnerRequest = std::unique_ptr<TRITONSERVER_InferenceRequest, InnerDeleter>;

// The same request, to the target. What it has waited is taken off its timeout; its callbacks are not set yet.
[[nodiscard]] Error MakeInner(TRITONSERVER_Server* server, const GateSettings& settings, const RequestCopy& copy,
                              std::chrono::nanoseconds waited, InnerRequest* inner);

}  // namespace vramgate
