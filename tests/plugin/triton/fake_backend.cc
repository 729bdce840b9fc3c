// The functions of a fake server that a backend answers its clients with: see fake_server.h.
#include <array>

#include "tests/plugin/triton/fake_server.h"

struct TRITONBACKEND_ResponseFactory {
  FakeClient* client;
};
struct TRITONBACKEND_Response {
  FakeClient* client;
};

namespace {

constexpr int64_t kShape[] = {1};
constexpr char kText[] = "\4\0\0\0text";
constexpr size_t kTextBytes = 8;

void Say(FakeClient* client, uint32_t flags, const TRITONSERVER_Error* error, bool response) {
  if (client->finals.load() > 0) ++client->after_final;
  if (response) ++client->responses;
  if (error != nullptr) ++client->errors;
  if ((flags & TRITONSERVER_RESPONSE_COMPLETE_FINAL) != 0) ++client->finals;
}

}  // namespace

using Fails = TRITONSERVER_Error*;
constexpr Fails kFine = nullptr;

extern "C" {

Fails TRITONBACKEND_RequestId(TRITONBACKEND_Request*, const char** id) {
  *id = "";
  return kFine;
}
Fails TRITONBACKEND_RequestFlags(TRITONBACKEND_Request*, uint32_t* flags) {
  *flags = 0;
  return kFine;
}
Fails TRITONBACKEND_RequestCorrelationId(TRITONBACKEND_Request* request, uint64_t* id) {
  *id = request->correlation_id;
  return kFine;
}
Fails TRITONBACKEND_RequestCorrelationIdString(TRITONBACKEND_Request*, const char** id) {
  *id = "";
  return kFine;
}
Fails TRITONBACKEND_InferenceRequestTimeoutMicroseconds(TRITONBACKEND_Request*, uint64_t* timeout_us) {
  *timeout_us = 0;
  return kFine;
}
Fails TRITONBACKEND_RequestParameterCount(TRITONBACKEND_Request*, uint32_t* count) {
  *count = 0;
  return kFine;
}
Fails TRITONBACKEND_RequestParameter(TRITONBACKEND_Request*, uint32_t, const char**, TRITONSERVER_ParameterType*,
                                     const void**) {
  return kFine;
}
Fails TRITONBACKEND_RequestInputCount(TRITONBACKEND_Request*, uint32_t* count) {
  *count = 1;
  return kFine;
}
Fails TRITONBACKEND_RequestInputByIndex(TRITONBACKEND_Request*, uint32_t, TRITONBACKEND_Input**) {
  return kFine;
}
Fails TRITONBACKEND_RequestOutputCount(TRITONBACKEND_Request*, uint32_t* count) {
  *count = 0;
  return kFine;
}
Fails TRITONBACKEND_RequestOutputName(TRITONBACKEND_Request*, uint32_t, const char**) {
  return kFine;
}
Fails TRITONBACKEND_RequestRelease(TRITONBACKEND_Request* request, uint32_t) {
  --FakeServerOfTest().load()->requests;
  delete request;
  return kFine;
}
Fails TRITONBACKEND_InputProperties(TRITONBACKEND_Input*, const char** name, TRITONSERVER_DataType* type,
                                    const int64_t** shape, uint32_t* dimensions, uint64_t* bytes, uint32_t* buffers) {
  *name = "PROMPT";
  *type = TRITONSERVER_TYPE_BYTES;
  *shape = kShape;
  *dimensions = 1;
  *bytes = kTextBytes;
  *buffers = 1;
  return kFine;
}
Fails TRITONBACKEND_InputBuffer(TRITONBACKEND_Input*, uint32_t, const void** base, uint64_t* bytes,
                                TRITONSERVER_MemoryType*, int64_t*) {
  *base = kText;
  *bytes = kTextBytes;
  return kFine;
}

Fails TRITONBACKEND_ResponseFactoryNew(TRITONBACKEND_ResponseFactory** out, TRITONBACKEND_Request* request) {
  ++request->client->factories;
  *out = new TRITONBACKEND_ResponseFactory{request->client};
  return kFine;
}
Fails TRITONBACKEND_ResponseFactoryDelete(TRITONBACKEND_ResponseFactory* factory) {
  --factory->client->factories;
  delete factory;
  return kFine;
}
Fails TRITONBACKEND_ResponseFactorySendFlags(TRITONBACKEND_ResponseFactory* factory, uint32_t flags) {
  Say(factory->client, flags, nullptr, false);
  return kFine;
}
Fails TRITONBACKEND_ResponseFactoryIsCancelled(TRITONBACKEND_ResponseFactory* factory, bool* left) {
  *left = factory->client->left;
  return kFine;
}
Fails TRITONBACKEND_ResponseNewFromFactory(TRITONBACKEND_Response** out, TRITONBACKEND_ResponseFactory* factory) {
  *out = new TRITONBACKEND_Response{factory->client};
  return kFine;
}
Fails TRITONBACKEND_ResponseDelete(TRITONBACKEND_Response* response) {
  delete response;
  return kFine;
}
Fails TRITONBACKEND_ResponseOutput(TRITONBACKEND_Response*, TRITONBACKEND_Output**, const char*, TRITONSERVER_DataType,
                                   const int64_t*, uint32_t) {
  return kFine;
}
Fails TRITONBACKEND_OutputBuffer(TRITONBACKEND_Output*, void** buffer, uint64_t, TRITONSERVER_MemoryType*, int64_t*) {
  static thread_local std::array<char, kTextBytes> room;
  *buffer = room.data();
  return kFine;
}
Fails TRITONBACKEND_ResponseSetStringParameter(TRITONBACKEND_Response*, const char*, const char*) {
  return kFine;
}
Fails TRITONBACKEND_ResponseSetIntParameter(TRITONBACKEND_Response*, const char*, int64_t) {
  return kFine;
}
Fails TRITONBACKEND_ResponseSetBoolParameter(TRITONBACKEND_Response*, const char*, bool) {
  return kFine;
}
Fails TRITONBACKEND_ResponseSend(TRITONBACKEND_Response* response, uint32_t flags, TRITONSERVER_Error* error) {
  Say(response->client, flags, error, true);
  delete response;
  return kFine;
}

}  // extern "C"
