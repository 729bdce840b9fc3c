#include "tests/plugin/triton/fake_server.h"

struct TRITONSERVER_InferenceResponse {
  TRITONSERVER_Server* server;
  TRITONSERVER_Error* error;
};

namespace {

constexpr int64_t kShape[] = {1};
constexpr char kText[] = "\4\0\0\0text";
constexpr size_t kTextBytes = 8;

}  // namespace

std::atomic<TRITONSERVER_Server*>& FakeServerOfTest() {
  static std::atomic<TRITONSERVER_Server*> server{nullptr};
  return server;
}

TRITONSERVER_Server::TRITONSERVER_Server(unsigned seed) {
  FakeServerOfTest() = this;
  for (unsigned worker = 0; worker < 3; ++worker) workers_.emplace_back([this, seed, worker] { Work(seed + worker); });
}

TRITONSERVER_Server::~TRITONSERVER_Server() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  for (std::thread& worker : workers_) worker.join();
  FakeServerOfTest() = nullptr;
}

TRITONBACKEND_Request* TRITONSERVER_Server::NewRequest(FakeClient* client, uint64_t correlation_id) {
  ++requests;
  return new TRITONBACKEND_Request{client, correlation_id};
}

void TRITONSERVER_Server::Infer(TRITONSERVER_InferenceRequest* request) {
  request->released = false;
  {
    const std::lock_guard lock(mutex_);
    queue_.push_back(request);
  }
  changed_.notify_one();
}

void TRITONSERVER_Server::Work(unsigned seed) {
  std::mt19937 random(seed);
  std::unique_lock lock(mutex_);
  while (true) {
    if (queue_.empty()) {
      if (stopping_) return;
      changed_.wait(lock);
      continue;
    }
    TRITONSERVER_InferenceRequest* const request = queue_.front();
    queue_.pop_front();
    lock.unlock();
    Run(request, random);
    lock.lock();
  }
}

void TRITONSERVER_Server::Run(TRITONSERVER_InferenceRequest* request, std::mt19937& random) {
  const auto on_response = request->on_response;
  void* const user = request->response_user;
  const auto release = [request] {
    request->released = true;
    request->on_release(request, TRITONSERVER_REQUEST_RELEASE_ALL, request->release_user);
  };
  const unsigned responses = random() % 4;
  const unsigned release_at = random() % 5;  // before which response; else after the last
  for (unsigned index = 0; index < responses; ++index) {
    if (index == release_at) release();
    // Its handle is the caller's until both callbacks have come: the last response is still owed.
    if (request->cancelled) break;
    ++inner_responses;
    on_response(new TRITONSERVER_InferenceResponse{this, nullptr}, 0, user);
  }
  const bool released_before = release_at < responses && request->released;
  if (!released_before && release_at == responses) release();
  const bool late = !released_before && release_at != responses;
  TRITONSERVER_InferenceResponse* last = nullptr;
  if (random() % 2 == 0) {
    ++inner_responses;
    last = new TRITONSERVER_InferenceResponse{
        this, random() % 4 == 0 ? TRITONSERVER_ErrorNew(TRITONSERVER_ERROR_INTERNAL, "the target") : nullptr};
  }
  on_response(last, TRITONSERVER_RESPONSE_COMPLETE_FINAL, user);
  if (late) release();
}

using Fails = TRITONSERVER_Error*;
constexpr Fails kFine = nullptr;

extern "C" {

Fails TRITONSERVER_ResponseAllocatorNew(TRITONSERVER_ResponseAllocator**, TRITONSERVER_ResponseAllocatorAllocFn_t,
                                        TRITONSERVER_ResponseAllocatorReleaseFn_t,
                                        TRITONSERVER_ResponseAllocatorStartFn_t) {
  return kFine;
}
Fails TRITONSERVER_ResponseAllocatorDelete(TRITONSERVER_ResponseAllocator*) {
  return kFine;
}

Fails TRITONSERVER_ServerModelIsReady(TRITONSERVER_Server* server, const char*, int64_t, bool* ready) {
  *ready = server->target_ready;
  return kFine;
}
Fails TRITONSERVER_ServerModelTransactionProperties(TRITONSERVER_Server*, const char*, int64_t, uint32_t* flags,
                                                    void**) {
  *flags = TRITONSERVER_TXN_DECOUPLED;
  return kFine;
}
Fails TRITONSERVER_ServerInferAsync(TRITONSERVER_Server* server, TRITONSERVER_InferenceRequest* request,
                                    TRITONSERVER_InferenceTrace*) {
  if (server->refuses) return TRITONSERVER_ErrorNew(TRITONSERVER_ERROR_UNAVAILABLE, "the server stops");
  server->Infer(request);
  return kFine;
}

Fails TRITONSERVER_InferenceRequestNew(TRITONSERVER_InferenceRequest** out, TRITONSERVER_Server* server, const char*,
                                       int64_t) {
  ++server->inner_requests;
  *out = new TRITONSERVER_InferenceRequest;
  return kFine;
}
Fails TRITONSERVER_InferenceRequestDelete(TRITONSERVER_InferenceRequest* request) {
  TRITONSERVER_Server* const server = FakeServerOfTest();
  --server->inner_requests;
  if (!request->released) ++server->wrong;
  delete request;
  return kFine;
}
Fails TRITONSERVER_InferenceRequestCancel(TRITONSERVER_InferenceRequest* request) {
  request->cancelled = true;
  return kFine;
}
Fails TRITONSERVER_InferenceRequestSetId(TRITONSERVER_InferenceRequest*, const char*) {
  return kFine;
}
Fails TRITONSERVER_InferenceRequestSetFlags(TRITONSERVER_InferenceRequest*, uint32_t) {
  return kFine;
}
Fails TRITONSERVER_InferenceRequestSetCorrelationId(TRITONSERVER_InferenceRequest*, uint64_t) {
  return kFine;
}
Fails TRITONSERVER_InferenceRequestSetCorrelationIdString(TRITONSERVER_InferenceRequest*, const char*) {
  return kFine;
}
Fails TRITONSERVER_InferenceRequestSetTimeoutMicroseconds(TRITONSERVER_InferenceRequest*, uint64_t) {
  return kFine;
}
Fails TRITONSERVER_InferenceRequestSetStringParameter(TRITONSERVER_InferenceRequest*, const char*, const char*) {
  return kFine;
}
Fails TRITONSERVER_InferenceRequestSetIntParameter(TRITONSERVER_InferenceRequest*, const char*, int64_t) {
  return kFine;
}
Fails TRITONSERVER_InferenceRequestSetBoolParameter(TRITONSERVER_InferenceRequest*, const char*, bool) {
  return kFine;
}
Fails TRITONSERVER_InferenceRequestAddInput(TRITONSERVER_InferenceRequest*, const char*, TRITONSERVER_DataType,
                                            const int64_t*, uint64_t) {
  return kFine;
}
Fails TRITONSERVER_InferenceRequestAppendInputData(TRITONSERVER_InferenceRequest*, const char*, const void*, size_t,
                                                   TRITONSERVER_MemoryType, int64_t) {
  return kFine;
}
Fails TRITONSERVER_InferenceRequestAddRequestedOutput(TRITONSERVER_InferenceRequest*, const char*) {
  return kFine;
}
Fails TRITONSERVER_InferenceRequestSetReleaseCallback(TRITONSERVER_InferenceRequest* request,
                                                      TRITONSERVER_InferenceRequestReleaseFn_t callback, void* user) {
  request->on_release = callback;
  request->release_user = user;
  return kFine;
}
Fails TRITONSERVER_InferenceRequestSetResponseCallback(TRITONSERVER_InferenceRequest* request,
                                                       TRITONSERVER_ResponseAllocator*, void*,
                                                       TRITONSERVER_InferenceResponseCompleteFn_t callback,
                                                       void* user) {
  request->on_response = callback;
  request->response_user = user;
  return kFine;
}

Fails TRITONSERVER_InferenceResponseDelete(TRITONSERVER_InferenceResponse* response) {
  --response->server->inner_responses;
  if (response->error != nullptr) TRITONSERVER_ErrorDelete(response->error);
  delete response;
  return kFine;
}
Fails TRITONSERVER_InferenceResponseError(TRITONSERVER_InferenceResponse* response) {
  return response->error;
}
Fails TRITONSERVER_InferenceResponseOutputCount(TRITONSERVER_InferenceResponse*, uint32_t* count) {
  *count = 1;
  return kFine;
}
Fails TRITONSERVER_InferenceResponseOutput(TRITONSERVER_InferenceResponse*, uint32_t, const char** name,
                                           TRITONSERVER_DataType* type, const int64_t** shape, uint64_t* dimensions,
                                           const void** base, size_t* bytes, TRITONSERVER_MemoryType* memory, int64_t*,
                                           void**) {
  *name = "TOKEN";
  *type = TRITONSERVER_TYPE_BYTES;
  *shape = kShape;
  *dimensions = 1;
  *base = kText;
  *bytes = kTextBytes;
  *memory = TRITONSERVER_MEMORY_CPU;
  return kFine;
}
Fails TRITONSERVER_InferenceResponseParameterCount(TRITONSERVER_InferenceResponse*, uint32_t* count) {
  *count = 0;
  return kFine;
}
Fails TRITONSERVER_InferenceResponseParameter(TRITONSERVER_InferenceResponse*, uint32_t, const char**,
                                              TRITONSERVER_ParameterType*, const void**) {
  return kFine;
}

}  // extern "C"
