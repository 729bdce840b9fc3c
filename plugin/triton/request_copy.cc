#include "plugin/triton/request_copy.h"

#include <algorithm>

namespace vramgate {
namespace {

Error CopyInput(TRITONBACKEND_Input* input, int64_t most_bytes, RequestCopy* copy) {
  const char* name = nullptr;
  Tensor tensor;
  const int64_t* shape = nullptr;
  uint32_t dimensions = 0;
  uint64_t bytes = 0;
  uint32_t buffers = 0;
  if (Error error{TRITONBACKEND_InputProperties(input, &name, &tensor.type, &shape, &dimensions, &bytes, &buffers)}) {
    return error;
  }
  tensor.name = name;
  tensor.shape.assign(shape, shape + dimensions);
  if (bytes > static_cast<uint64_t>(most_bytes - copy->held_bytes)) {
    return MakeError(TRITONSERVER_ERROR_UNAVAILABLE,
                     "vramgate: HELD_BYTES_FULL: input " + tensor.name + " of " + std::to_string(bytes) +
                         " bytes is above what is left of MAX_HELD_MIB for requests that wait; retry later");
  }
  tensor.bytes.reserve(bytes);
  for (uint32_t index = 0; index < buffers; ++index) {
    const void* base = nullptr;
    uint64_t size = 0;
    TRITONSERVER_MemoryType memory = TRITONSERVER_MEMORY_CPU;
    int64_t memory_id = 0;
    if (Error error{TRITONBACKEND_InputBuffer(input, index, &base, &size, &memory, &memory_id)}) return error;
    if (memory == TRITONSERVER_MEMORY_GPU) {
      return MakeError(TRITONSERVER_ERROR_UNSUPPORTED,
                       "vramgate: input " + tensor.name +
                           " lies in GPU memory; a request that waits must not hold any: send it from CPU memory");
    }
    tensor.bytes.append(static_cast<const char*>(base), size);
  }
  copy->held_bytes += static_cast<int64_t>(tensor.bytes.size());
  copy->inputs.push_back(std::move(tensor));
  return nullptr;
}

Error CopyParameter(TRITONBACKEND_Request* request, uint32_t index, RequestCopy* copy) {
  const char* key = nullptr;
  TRITONSERVER_ParameterType type = TRITONSERVER_PARAMETER_STRING;
  const void* value = nullptr;
  if (Error error{TRITONBACKEND_RequestParameter(request, index, &key, &type, &value)}) return error;
  Parameter parameter;
  parameter.key = key;
  switch (type) {
    case TRITONSERVER_PARAMETER_STRING:
      parameter.value = std::string(static_cast<const char*>(value));
      break;
    case TRITONSERVER_PARAMETER_INT:
      parameter.value = *static_cast<const int64_t*>(value);
      break;
    case TRITONSERVER_PARAMETER_BOOL:
      parameter.value = *static_cast<const bool*>(value);
      break;
    case TRITONSERVER_PARAMETER_DOUBLE:
      parameter.value = *static_cast<const double*>(value);
      break;
    case TRITONSERVER_PARAMETER_BYTES:
      return nullptr;  // no frontend makes one of a request, and none can be set on the inner request
  }
  copy->parameters.push_back(std::move(parameter));
  return nullptr;
}

Error CopyIdentity(TRITONBACKEND_Request* request, RequestCopy* copy) {
  const char* text = nullptr;
  if (Error error{TRITONBACKEND_RequestId(request, &text)}) return error;
  copy->id = text;
  if (Error error{TRITONBACKEND_RequestFlags(request, &copy->flags)}) return error;
  if (Error error{TRITONBACKEND_InferenceRequestTimeoutMicroseconds(request, &copy->timeout_us)}) return error;
  // A correlation id is a number or a text; asking for the other kind is an error, which says no more than that.
  if (Error(TRITONBACKEND_RequestCorrelationId(request, &copy->correlation_id)) != nullptr) {
    copy->correlation_id = 0;
    if (Error error{TRITONBACKEND_RequestCorrelationIdString(request, &text)}) return error;
    copy->correlation_text = text;
  }
  return nullptr;
}

Error SetParameter(TRITONSERVER_InferenceRequest* inner, const Parameter& parameter) {
  constexpr std::string_view kReserved = "triton_";  // refused by the server; they are the frontends' own
  if (parameter.key.rfind(kReserved, 0) == 0) return nullptr;
  const char* key = parameter.key.c_str();
  if (const auto* text = std::get_if<std::string>(&parameter.value)) {
    return Error(TRITONSERVER_InferenceRequestSetStringParameter(inner, key, text->c_str()));
  }
  if (const auto* integer = std::get_if<int64_t>(&parameter.value)) {
    return Error(TRITONSERVER_InferenceRequestSetIntParameter(inner, key, *integer));
  }
  if (const auto* flag = std::get_if<bool>(&parameter.value)) {
    return Error(TRITONSERVER_InferenceRequestSetBoolParameter(inner, key, *flag));
  }
  // Where the server cannot set one, none can have come in either.
  if (TRITONSERVER_InferenceRequestSetDoubleParameter == nullptr) return nullptr;
  return Error(TRITONSERVER_InferenceRequestSetDoubleParameter(inner, key, std::get<double>(parameter.value)));
}

Error SetIdentity(TRITONSERVER_InferenceRequest* inner, const RequestCopy& copy, std::chrono::nanoseconds waited) {
  if (Error error{TRITONSERVER_InferenceRequestSetId(inner, copy.id.c_str())}) return error;
  if (Error error{TRITONSERVER_InferenceRequestSetFlags(inner, copy.flags)}) return error;
  if (!copy.correlation_text.empty()) {
    const char* text = copy.correlation_text.c_str();
    if (Error error{TRITONSERVER_InferenceRequestSetCorrelationIdString(inner, text)}) return error;
  } else if (copy.correlation_id != 0) {
    if (Error error{TRITONSERVER_InferenceRequestSetCorrelationId(inner, copy.correlation_id)}) return error;
  }
  if (copy.timeout_us == 0) return nullptr;
  const auto waited_us = static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(waited).count());
  const uint64_t left_us = copy.timeout_us > waited_us ? copy.timeout_us - waited_us : 1;
  return Error(TRITONSERVER_InferenceRequestSetTimeoutMicroseconds(inner, left_us));
}

}  // namespace

Error CopyRequest(TRITONBACKEND_Request* request, int64_t most_bytes, RequestCopy* copy) {
  if (Error error = CopyIdentity(request, copy)) return error;
  uint32_t count = 0;
  if (Error error{TRITONBACKEND_RequestInputCount(request, &count)}) return error;
  for (uint32_t index = 0; index < count; ++index) {
    TRITONBACKEND_Input* input = nullptr;
    if (Error error{TRITONBACKEND_RequestInputByIndex(request, index, &input)}) return error;
    if (Error error = CopyInput(input, most_bytes, copy)) return error;
  }
  if (Error error{TRITONBACKEND_RequestOutputCount(request, &count)}) return error;
  for (uint32_t index = 0; index < count; ++index) {
    const char* name = nullptr;
    if (Error error{TRITONBACKEND_RequestOutputName(request, index, &name)}) return error;
    copy->outputs.emplace_back(name);
  }
  if (Error error{TRITONBACKEND_RequestParameterCount(request, &count)}) return error;
  for (uint32_t index = 0; index < count; ++index) {
    if (Error error = CopyParameter(request, index, copy)) return error;
  }
  return nullptr;
}

Error MakeInner(TRITONSERVER_Server* server, const GateSettings& settings, const RequestCopy& copy,
                std::chrono::nanoseconds waited, InnerRequest* inner) {
  TRITONSERVER_InferenceRequest* made = nullptr;
  if (Error error{
          TRITONSERVER_InferenceRequestNew(&made, server, settings.target_model.c_str(), settings.target_version)}) {
    return error;
  }
  inner->reset(made);
  if (Error error = SetIdentity(made, copy, waited)) return error;
  for (const Parameter& parameter : copy.parameters) {
    if (Error error = SetParameter(made, parameter)) return error;
  }
  for (const Tensor& tensor : copy.inputs) {
    const char* name = tensor.name.c_str();
    if (Error error{
            TRITONSERVER_InferenceRequestAddInput(made, name, tensor.type, tensor.shape.data(), tensor.shape.size())}) {
      return error;
    }
    if (Error error{TRITONSERVER_InferenceRequestAppendInputData(made, name, tensor.bytes.data(), tensor.bytes.size(),
                                                                 TRITONSERVER_MEMORY_CPU, 0)}) {
      return error;
    }
  }
  for (const std::string& output : copy.outputs) {
    if (Error error{TRITONSERVER_InferenceRequestAddRequestedOutput(made, output.c_str())}) return error;
  }
  return nullptr;
}

}  // namespace vramgate
