// What the plugins use of Triton's in-process server API (tritonserver.h, BSD-3-Clause), declared from its public
// signatures: no package carries the headers. Nothing is linked: the server that loads a plugin has the symbols.
//
// Used by the backend and the repository agent. tests/peers/triton checks every name here against what real servers
// export.
//
// A server refuses a library that needs a symbol it lacks. So what came after 2.41 is VRAMGATE_TRITON_WEAK, and null
// there:
//
//   if (TRITONSERVER_InferenceRequestSetDoubleParameter != nullptr) ...
//
// Thread rule and lifetime rule: the server's own. A returned TRITONSERVER_Error is the caller's; null means success.
#pragma once

#include <cstddef>
#include <cstdint>

#define VRAMGATE_TRITON_WEAK __attribute__((weak))
#define VRAMGATE_TRITON_EXPORT extern "C" __attribute__((visibility("default")))

struct TRITONSERVER_Error;
struct TRITONSERVER_InferenceRequest;
struct TRITONSERVER_InferenceResponse;
struct TRITONSERVER_InferenceTrace;
struct TRITONSERVER_Message;
struct TRITONSERVER_ResponseAllocator;
struct TRITONSERVER_Server;

// Enumerations of the ABI are ints; a newer server may send values that are not named here.
enum TRITONSERVER_Error_Code : int {
  TRITONSERVER_ERROR_UNKNOWN,
  TRITONSERVER_ERROR_INTERNAL,
  TRITONSERVER_ERROR_NOT_FOUND,
  TRITONSERVER_ERROR_INVALID_ARG,
  TRITONSERVER_ERROR_UNAVAILABLE,
  TRITONSERVER_ERROR_UNSUPPORTED,
  TRITONSERVER_ERROR_ALREADY_EXISTS,
  TRITONSERVER_ERROR_CANCELLED,
};
enum TRITONSERVER_LogLevel : int { TRITONSERVER_LOG_INFO, TRITONSERVER_LOG_WARN, TRITONSERVER_LOG_ERROR };
enum TRITONSERVER_DataType : int { TRITONSERVER_TYPE_BYTES = 13 };
enum TRITONSERVER_MemoryType : int { TRITONSERVER_MEMORY_CPU, TRITONSERVER_MEMORY_CPU_PINNED, TRITONSERVER_MEMORY_GPU };
enum TRITONSERVER_ParameterType : int {
  TRITONSERVER_PARAMETER_STRING,
  TRITONSERVER_PARAMETER_INT,
  TRITONSERVER_PARAMETER_BOOL,
  TRITONSERVER_PARAMETER_DOUBLE,
  TRITONSERVER_PARAMETER_BYTES,
};
inline constexpr uint32_t TRITONSERVER_REQUEST_RELEASE_ALL = 1;
inline constexpr uint32_t TRITONSERVER_RESPONSE_COMPLETE_FINAL = 1;
inline constexpr uint32_t TRITONSERVER_TXN_DECOUPLED = 2;

extern "C" {

using TRITONSERVER_ResponseAllocatorAllocFn_t =
    TRITONSERVER_Error* (*)(TRITONSERVER_ResponseAllocator*, const char* tensor, size_t bytes,
                            TRITONSERVER_MemoryType wanted, int64_t wanted_id, void* user, void** buffer,
                            void** buffer_user, TRITONSERVER_MemoryType* actual, int64_t* actual_id);
using TRITONSERVER_ResponseAllocatorReleaseFn_t = TRITONSERVER_Error* (*)(TRITONSERVER_ResponseAllocator*, void* buffer,
                                                                          void* buffer_user, size_t bytes,
                                                                          TRITONSERVER_MemoryType, int64_t memory_id);
using TRITONSERVER_ResponseAllocatorStartFn_t = TRITONSERVER_Error* (*)(TRITONSERVER_ResponseAllocator*, void* user);
using TRITONSERVER_InferenceRequestReleaseFn_t = void (*)(TRITONSERVER_InferenceRequest*, uint32_t flags, void* user);
using TRITONSERVER_InferenceResponseCompleteFn_t = void (*)(TRITONSERVER_InferenceResponse*, uint32_t flags,
                                                            void* user);

TRITONSERVER_Error* TRITONSERVER_LogMessage(TRITONSERVER_LogLevel, const char* file, int line, const char* text);
TRITONSERVER_Error* TRITONSERVER_ErrorNew(TRITONSERVER_Error_Code, const char* text);
void TRITONSERVER_ErrorDelete(TRITONSERVER_Error*);
TRITONSERVER_Error_Code TRITONSERVER_ErrorCode(TRITONSERVER_Error*);
const char* TRITONSERVER_ErrorMessage(TRITONSERVER_Error*);

TRITONSERVER_Error* TRITONSERVER_MessageNewFromSerializedJson(TRITONSERVER_Message**, const char* base, size_t bytes);
TRITONSERVER_Error* TRITONSERVER_MessageSerializeToJson(TRITONSERVER_Message*, const char** base, size_t* bytes);
TRITONSERVER_Error* TRITONSERVER_MessageDelete(TRITONSERVER_Message*);

TRITONSERVER_Error* TRITONSERVER_ServerModelConfig(TRITONSERVER_Server*, const char* model, int64_t version,
                                                   uint32_t config_version, TRITONSERVER_Message**);
TRITONSERVER_Error* TRITONSERVER_ServerModelIsReady(TRITONSERVER_Server*, const char* model, int64_t version, bool*);
TRITONSERVER_Error* TRITONSERVER_ServerModelTransactionProperties(TRITONSERVER_Server*, const char* model,
                                                                  int64_t version, uint32_t* flags, void** reserved);
TRITONSERVER_Error* TRITONSERVER_ServerInferAsync(TRITONSERVER_Server*, TRITONSERVER_InferenceRequest*,
                                                  TRITONSERVER_InferenceTrace*);

TRITONSERVER_Error* TRITONSERVER_ResponseAllocatorNew(TRITONSERVER_ResponseAllocator**,
                                                      TRITONSERVER_ResponseAllocatorAllocFn_t,
                                                      TRITONSERVER_ResponseAllocatorReleaseFn_t,
                                                      TRITONSERVER_ResponseAllocatorStartFn_t);
TRITONSERVER_Error* TRITONSERVER_ResponseAllocatorDelete(TRITONSERVER_ResponseAllocator*);

TRITONSERVER_Error* TRITONSERVER_InferenceRequestNew(TRITONSERVER_InferenceRequest**, TRITONSERVER_Server*,
                                                     const char* model, int64_t version);
TRITONSERVER_Error* TRITONSERVER_InferenceRequestDelete(TRITONSERVER_InferenceRequest*);
TRITONSERVER_Error* TRITONSERVER_InferenceRequestCancel(TRITONSERVER_InferenceRequest*);
TRITONSERVER_Error* TRITONSERVER_InferenceRequestSetId(TRITONSERVER_InferenceRequest*, const char*);
TRITONSERVER_Error* TRITONSERVER_InferenceRequestSetFlags(TRITONSERVER_InferenceRequest*, uint32_t);
TRITONSERVER_Error* TRITONSERVER_InferenceRequestSetCorrelationId(TRITONSERVER_InferenceRequest*, uint64_t);
TRITONSERVER_Error* TRITONSERVER_InferenceRequestSetCorrelationIdString(TRITONSERVER_InferenceRequest*, const char*);
TRITONSERVER_Error* TRITONSERVER_InferenceRequestSetPriorityUInt64(TRITONSERVER_InferenceRequest*, uint64_t);
TRITONSERVER_Error* TRITONSERVER_InferenceRequestSetTimeoutMicroseconds(TRITONSERVER_InferenceRequest*, uint64_t);
TRITONSERVER_Error* TRITONSERVER_InferenceRequestSetStringParameter(TRITONSERVER_InferenceRequest*, const char* key,
                                                                    const char*);
TRITONSERVER_Error* TRITONSERVER_InferenceRequestSetIntParameter(TRITONSERVER_InferenceRequest*, const char* key,
                                                                 int64_t);
TRITONSERVER_Error* TRITONSERVER_InferenceRequestSetBoolParameter(TRITONSERVER_InferenceRequest*, const char* key,
                                                                  bool);
VRAMGATE_TRITON_WEAK TRITONSERVER_Error* TRITONSERVER_InferenceRequestSetDoubleParameter(TRITONSERVER_InferenceRequest*,
                                                                                         const char* key,
                                                                                         double);  // since 2.45
TRITONSERVER_Error* TRITONSERVER_InferenceRequestAddInput(TRITONSERVER_InferenceRequest*, const char* name,
                                                          TRITONSERVER_DataType, const int64_t* shape,
                                                          uint64_t dimensions);
TRITONSERVER_Error* TRITONSERVER_InferenceRequestAppendInputData(TRITONSERVER_InferenceRequest*, const char* name,
                                                                 const void* base, size_t bytes,
                                                                 TRITONSERVER_MemoryType, int64_t memory_id);
TRITONSERVER_Error* TRITONSERVER_InferenceRequestAddRequestedOutput(TRITONSERVER_InferenceRequest*, const char* name);
TRITONSERVER_Error* TRITONSERVER_InferenceRequestSetReleaseCallback(TRITONSERVER_InferenceRequest*,
                                                                    TRITONSERVER_InferenceRequestReleaseFn_t,
                                                                    void* user);
TRITONSERVER_Error* TRITONSERVER_InferenceRequestSetResponseCallback(TRITONSERVER_InferenceRequest*,
                                                                     TRITONSERVER_ResponseAllocator*,
                                                                     void* allocator_user,
                                                                     TRITONSERVER_InferenceResponseCompleteFn_t,
                                                                     void* user);

TRITONSERVER_Error* TRITONSERVER_InferenceResponseDelete(TRITONSERVER_InferenceResponse*);
TRITONSERVER_Error* TRITONSERVER_InferenceResponseError(TRITONSERVER_InferenceResponse*);  // borrowed
TRITONSERVER_Error* TRITONSERVER_InferenceResponseOutputCount(TRITONSERVER_InferenceResponse*, uint32_t*);
TRITONSERVER_Error* TRITONSERVER_InferenceResponseOutput(TRITONSERVER_InferenceResponse*, uint32_t index,
                                                         const char** name, TRITONSERVER_DataType*,
                                                         const int64_t** shape, uint64_t* dimensions, const void** base,
                                                         size_t* bytes, TRITONSERVER_MemoryType*, int64_t* memory_id,
                                                         void** user);
TRITONSERVER_Error* TRITONSERVER_InferenceResponseParameterCount(TRITONSERVER_InferenceResponse*, uint32_t*);
TRITONSERVER_Error* TRITONSERVER_InferenceResponseParameter(TRITONSERVER_InferenceResponse*, uint32_t index,
                                                            const char** key, TRITONSERVER_ParameterType*,
                                                            const void**);

}  // extern "C"
