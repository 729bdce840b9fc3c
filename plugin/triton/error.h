// Triton's own error as a value: what every step of the gate backend and of the repository agent returns. Null is
// success.
//
// Used by all of plugin/triton. It is the host's type, since it ends as the host's answer, and a plugin brings no
// library along.
//
//   if (Error error{TRITONBACKEND_RequestId(request, &id)}) return error;
//   return MakeError(TRITONSERVER_ERROR_INVALID_ARG, "parameter GATE: ...");
//
// Thread rule: functions from any thread. Lifetime rule: an Error owns what it holds; Release() hands it to the server.
#pragma once

#include <memory>
#include <string_view>

#include "plugin/c/vramgate_plugin.h"
#include "plugin/triton/triton_api.h"

namespace vramgate {

struct ErrorDeleter {
  void operator()(TRITONSERVER_Error* error) const { TRITONSERVER_ErrorDelete(error); }
};
using Error = std::unique_ptr<TRITONSERVER_Error, ErrorDeleter>;

// Never null. `text` is cut at 4 KiB, since some of it may be a caller's.
[[nodiscard]] Error MakeError(TRITONSERVER_Error_Code code, std::string_view text);

// What a client of Triton is told when the gate says no: Triton knows eight codes, so the reason and, where a retry can
// succeed, `retry_after_ms=N` stand in the text. docs/triton.md has the table.
[[nodiscard]] Error Refusal(const vg_decision& decision);
TRITONSERVER_Error_Code TritonCode(int32_t code);

void Log(TRITONSERVER_LogLevel level, std::string_view text);
// For steps that have nobody to tell: writes "WHAT: message" where there is an error.
void LogError(std::string_view what, TRITONSERVER_Error* owned);

// The boundary to C: nothing that is thrown (the standard library's, memory above all) leaves. Returns what `body`
// returns.
template <typename Body>
TRITONSERVER_Error* Guarded(std::string_view what, Body body) noexcept {
  try {
    return Error(body()).release();
  } catch (...) {
    return MakeError(TRITONSERVER_ERROR_INTERNAL, what).release();
  }
}

}  // namespace vramgate
