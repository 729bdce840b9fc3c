#include "plugin/triton/gated_request.h"

#include <cstring>
#include <utility>

namespace vramgate {
namespace {

struct ResponseDeleter {
  void operator()(TRITONBACKEND_Response* response) const {
    LogError("delete a response", TRITONBACKEND_ResponseDelete(response));
  }
};
using Response = std::unique_ptr<TRITONBACKEND_Response, ResponseDeleter>;

struct InnerResponseDeleter {
  void operator()(TRITONSERVER_InferenceResponse* response) const {
    LogError("delete the target's response", TRITONSERVER_InferenceResponseDelete(response));
  }
};
using InnerResponse = std::unique_ptr<TRITONSERVER_InferenceResponse, InnerResponseDeleter>;

Error CopyOutput(TRITONSERVER_InferenceResponse* from, uint32_t index, TRITONBACKEND_Response* to) {
  const char* name = nullptr;
  TRITONSERVER_DataType type{};
  const int64_t* shape = nullptr;
  uint64_t dimensions = 0;
  const void* base = nullptr;
  size_t bytes = 0;
  TRITONSERVER_MemoryType memory = TRITONSERVER_MEMORY_CPU;
  int64_t memory_id = 0;
  void* user = nullptr;
  if (Error error{TRITONSERVER_InferenceResponseOutput(from, index, &name, &type, &shape, &dimensions, &base, &bytes,
                                                       &memory, &memory_id, &user)}) {
    return error;
  }
  TRITONBACKEND_Output* output = nullptr;
  if (Error error{TRITONBACKEND_ResponseOutput(to, &output, name, type, shape, static_cast<uint32_t>(dimensions))}) {
    return error;
  }
  void* buffer = nullptr;
  TRITONSERVER_MemoryType buffer_memory = TRITONSERVER_MEMORY_CPU;
  int64_t buffer_id = 0;
  if (Error error{TRITONBACKEND_OutputBuffer(output, &buffer, bytes, &buffer_memory, &buffer_id)}) return error;
  if (memory == TRITONSERVER_MEMORY_GPU || buffer_memory == TRITONSERVER_MEMORY_GPU) {
    return MakeError(TRITONSERVER_ERROR_UNSUPPORTED,
                     std::string("vramgate: output ") + name + " is asked for in GPU memory; take it in CPU memory");
  }
  if (bytes > 0) std::memcpy(buffer, base, bytes);
  return nullptr;
}

Error CopyParameter(TRITONSERVER_InferenceResponse* from, uint32_t index, TRITONBACKEND_Response* to) {
  const char* key = nullptr;
  TRITONSERVER_ParameterType type{};
  const void* value = nullptr;
  if (Error error{TRITONSERVER_InferenceResponseParameter(from, index, &key, &type, &value)}) return error;
  switch (type) {
    case TRITONSERVER_PARAMETER_STRING:
      return Error(TRITONBACKEND_ResponseSetStringParameter(to, key, static_cast<const char*>(value)));
    case TRITONSERVER_PARAMETER_INT:
      return Error(TRITONBACKEND_ResponseSetIntParameter(to, key, *static_cast<const int64_t*>(value)));
    case TRITONSERVER_PARAMETER_BOOL:
      return Error(TRITONBACKEND_ResponseSetBoolParameter(to, key, *static_cast<const bool*>(value)));
    case TRITONSERVER_PARAMETER_DOUBLE:
      if (TRITONBACKEND_ResponseSetDoubleParameter == nullptr) return nullptr;  // nor can the target have set one
      return Error(TRITONBACKEND_ResponseSetDoubleParameter(to, key, *static_cast<const double*>(value)));
    case TRITONSERVER_PARAMETER_BYTES:
      return nullptr;  // no backend can set one
  }
  return nullptr;
}

}  // namespace

GatedRequest::GatedRequest(const vg_api& api, vg_client* client, const GateSettings& settings,
                           TRITONBACKEND_ResponseFactory* factory, Instant now)
    : api_(api), client_(client), settings_(settings), factory_(factory), arrived_(now) {}

GatedRequest::~GatedRequest() {
  Finish();
}

bool GatedRequest::ClientHasLeft() {
  bool left = false;
  const std::lock_guard lock(mutex_);
  if (factory_ == nullptr) return false;
  LogError("ask whether a client has left", TRITONBACKEND_ResponseFactoryIsCancelled(factory_, &left));
  return left;
}

void GatedRequest::Refuse(const Error& error) {
  answered_ = true;
  TRITONBACKEND_Response* made = nullptr;
  if (Error failed{TRITONBACKEND_ResponseNewFromFactory(&made, factory_)}) {
    LogError("make a response", failed.release());
    LogError("end a response", TRITONBACKEND_ResponseFactorySendFlags(factory_, TRITONSERVER_RESPONSE_COMPLETE_FINAL));
    return;
  }
  if (decision.retry_after_ns >= 0 && decision.code != VG_OK) {
    const int64_t milliseconds = (decision.retry_after_ns + 999999) / 1000000;
    LogError("hint a retry", TRITONBACKEND_ResponseSetIntParameter(made, "retry_after_ms", milliseconds));
  }
  LogError("send an error", TRITONBACKEND_ResponseSend(made, TRITONSERVER_RESPONSE_COMPLETE_FINAL, error.get()));
}

Error GatedRequest::CopyResponse(TRITONSERVER_InferenceResponse* from, TRITONBACKEND_Response* to) {
  uint32_t count = 0;
  if (Error error{TRITONSERVER_InferenceResponseOutputCount(from, &count)}) return error;
  for (uint32_t index = 0; index < count; ++index) {
    if (Error error = CopyOutput(from, index, to)) return error;
  }
  if (count > 0) ++responses_;
  if (Error error{TRITONSERVER_InferenceResponseParameterCount(from, &count)}) return error;
  for (uint32_t index = 0; index < count; ++index) {
    if (Error error = CopyParameter(from, index, to)) return error;
  }
  return nullptr;
}

void GatedRequest::Forward(TRITONSERVER_InferenceResponse* owned, uint32_t flags) {
  const InnerResponse from(owned);
  const bool last = (flags & TRITONSERVER_RESPONSE_COMPLETE_FINAL) != 0;
  if (answered_) return;
  Error error;
  {
    const std::lock_guard lock(mutex_);
    if (last && stop_reason_ != nullptr) error = std::move(stop_reason_);
  }
  if (error != nullptr) {
    Refuse(error);
    return;
  }
  if (from == nullptr) {
    if (last) {
      answered_ = true;
      LogError("end a response", TRITONBACKEND_ResponseFactorySendFlags(factory_, flags));
    }
    return;
  }
  TRITONBACKEND_Response* made = nullptr;
  if (Error failed{TRITONBACKEND_ResponseNewFromFactory(&made, factory_)}) {
    LogError("make a response", failed.release());
    return;
  }
  Response to(made);
  TRITONSERVER_Error* targets = TRITONSERVER_InferenceResponseError(from.get());  // borrowed
  if (targets == nullptr) error = CopyResponse(from.get(), to.get());
  if (targets != nullptr || error != nullptr) outcome_ = VG_BACKEND_ERROR;
  answered_ = last;
  LogError("send a response",
           TRITONBACKEND_ResponseSend(to.release(), flags, targets != nullptr ? targets : error.get()));
}

void GatedRequest::EndLease() {
  const vg_lease lease_id = lease.exchange(0);
  if (lease_id == 0) return;
  vg_usage usage = VG_USAGE_INIT;
  usage.outcome = outcome_;
  if (settings_.tokens_per_response > 0 && settings_.decoupled) {
    usage.output_tokens = responses_ * settings_.tokens_per_response;
  }
  api_.release(client_, lease_id, &usage);
}

void GatedRequest::Finish() {
  if (!answered_) Refuse(MakeError(TRITONSERVER_ERROR_INTERNAL, "vramgate: out of memory"));
  TRITONBACKEND_ResponseFactory* factory = nullptr;
  {
    const std::lock_guard lock(mutex_);
    factory = std::exchange(factory_, nullptr);
  }
  if (factory == nullptr) return;
  LogError("delete a response factory", TRITONBACKEND_ResponseFactoryDelete(factory));
}

Error GatedRequest::MakeInner(TRITONSERVER_Server* server, TRITONSERVER_ResponseAllocator* allocator,
                              TRITONSERVER_InferenceRequestReleaseFn_t on_release,
                              TRITONSERVER_InferenceResponseCompleteFn_t on_response, void* user, Instant now) {
  InnerRequest made;
  if (Error error = vramgate::MakeInner(server, settings_, copy, now - arrived_, &made)) return error;
  if (Error error{TRITONSERVER_InferenceRequestSetReleaseCallback(made.get(), on_release, user)}) return error;
  if (Error error{
          TRITONSERVER_InferenceRequestSetResponseCallback(made.get(), allocator, nullptr, on_response, user)}) {
    return error;
  }
  const std::lock_guard lock(mutex_);
  inner_ = std::move(made);
  return nullptr;
}

void GatedRequest::DropInner() {
  InnerRequest dropped;
  const std::lock_guard lock(mutex_);
  dropped.swap(inner_);
  copy = RequestCopy();
}

void GatedRequest::Launched() {
  const std::lock_guard lock(mutex_);
  launched_ = true;
  if (!stopped_ || inner_ == nullptr) return;
  LogError("cancel a request of the target", TRITONSERVER_InferenceRequestCancel(inner_.get()));
}

void GatedRequest::Stop(Error why) {
  const std::lock_guard lock(mutex_);
  if (stopped_) return;
  stopped_ = true;
  stop_reason_ = std::move(why);
  if (!launched_ || inner_ == nullptr) return;
  LogError("cancel a request of the target", TRITONSERVER_InferenceRequestCancel(inner_.get()));
}

}  // namespace vramgate
