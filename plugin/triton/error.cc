#include "plugin/triton/error.h"

#include <string>

namespace vramgate {
namespace {

constexpr size_t kMostTextBytes = 4096;
constexpr int64_t kNanosecondsPerMillisecond = 1000000;

}  // namespace

Error MakeError(TRITONSERVER_Error_Code code, std::string_view text) {
  return Error(TRITONSERVER_ErrorNew(code, std::string(text.substr(0, kMostTextBytes)).c_str()));
}

TRITONSERVER_Error_Code TritonCode(int32_t code) {
  switch (code) {
    case VG_RESOURCE_EXHAUSTED:
    case VG_UNAVAILABLE:
    case VG_DEADLINE_EXCEEDED:
    case VG_ABORTED:
      return TRITONSERVER_ERROR_UNAVAILABLE;
    case VG_INVALID_ARGUMENT:
    case VG_FAILED_PRECONDITION:
    case VG_OUT_OF_RANGE:
      return TRITONSERVER_ERROR_INVALID_ARG;
    case VG_NOT_FOUND:
      return TRITONSERVER_ERROR_NOT_FOUND;
    case VG_ALREADY_EXISTS:
      return TRITONSERVER_ERROR_ALREADY_EXISTS;
    case VG_UNIMPLEMENTED:
    case VG_PERMISSION_DENIED:
    case VG_UNAUTHENTICATED:
      return TRITONSERVER_ERROR_UNSUPPORTED;
    case VG_CANCELLED:
      return TRITONSERVER_ERROR_CANCELLED;
    default:  // a number from the library, not an enumeration: a newer one may send more
      return TRITONSERVER_ERROR_INTERNAL;
  }
}

Error Refusal(const vg_decision& decision) {
  std::string text = "vramgate: ";
  text += decision.reason[0] != '\0' ? decision.reason : "REFUSED";
  if (decision.message[0] != '\0') text.append(": ").append(decision.message);
  if (decision.retry_after_ns >= 0) {
    // Rounded up: a client that comes back at the hinted time should not be early.
    const int64_t milliseconds = decision.retry_after_ns / kNanosecondsPerMillisecond +
                                 (decision.retry_after_ns % kNanosecondsPerMillisecond != 0);
    text.append("; retry_after_ms=").append(std::to_string(milliseconds));
  }
  return MakeError(TritonCode(decision.code), text);
}

void Log(TRITONSERVER_LogLevel level, std::string_view text) {
  // An error of the log itself has nowhere to go.
  Error(TRITONSERVER_LogMessage(level, "vramgate", 0, std::string(text.substr(0, kMostTextBytes)).c_str()));
}

void LogError(std::string_view what, TRITONSERVER_Error* owned) {
  const Error error(owned);
  if (error == nullptr) return;
  Log(TRITONSERVER_LOG_ERROR, std::string(what) + ": " + TRITONSERVER_ErrorMessage(error.get()));
}

}  // namespace vramgate
