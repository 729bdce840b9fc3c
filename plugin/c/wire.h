// The frames of the plugin socket (proto/vramgate/v1/plugin.proto), written and read with protozero: no Protobuf
// runtime.
//
//   AppendAdmit(stream, {.admit = EncodeAdmit(args, id)}, &out);      // a whole frame, with its length
//   Response response;
//   if (!Decode(frame, &response)) ...                                // no PluginResponse
//
// Used by Client. Pure; any thread. Lifetime rule: a Response's views are of the frame.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "plugin/c/vramgate_plugin.h"

namespace vramgate::plugin {

inline std::string_view View(const vg_str& text) {
  return {text.data == nullptr ? "" : text.data, text.data == nullptr ? 0 : text.size};
}

// An AdmitRequest, but for what changes between one sending and the next.
std::string EncodeAdmit(const vg_admit_args& args, std::string_view request_id);

struct Admit {
  std::string_view admit;     // by EncodeAdmit
  int64_t max_wait_ns = -1;   // -1: not said
  std::string_view reattach;  // the lease that was held; "": none
};
void AppendAdmit(uint64_t stream, const Admit& admit, std::string* out);
void AppendUsage(uint64_t stream, const vg_usage& usage, std::string* out);
void AppendExtend(uint64_t stream, int64_t tokens, std::string* out);
void AppendRevokeAck(uint64_t stream, std::string* out);
void AppendEnd(uint64_t stream, const vg_usage& usage, std::string* out);
void AppendSteps(uint64_t stream, const vg_step_report& report, std::string* out);
void AppendLoad(uint64_t stream, bool load, std::string_view model, std::string_view instance, std::string* out);
// A frame that says nothing, and is answered by a status all the same.
void AppendPing(uint64_t stream, std::string* out);

struct Response {
  enum class Kind : uint8_t { kOther, kQueued, kGranted, kExtended, kRevoke, kStatus, kSteps, kLoaded, kUnloaded };
  uint64_t stream = 0;
  Kind kind = Kind::kOther;
  // kQueued
  int32_t position = 0;
  int32_t ahead_total = 0;
  int64_t estimated_wait_ns = -1;
  // kGranted, kExtended
  std::string_view lease;
  std::string_view instance;
  int64_t vram_bytes = 0;  // over all devices; kLoaded: the fixed bytes
  int64_t granted_tokens = 0;
  // kRevoke, kStatus
  std::string_view reason;
  std::string_view message;
  int64_t grace_ns = -1;
  int32_t code = 0;
  int64_t retry_after_ns = -1;
  // kSteps
  std::vector<std::string_view> stop;
  std::vector<std::string_view> lost;
};
// False: it cannot be read. What is not known is passed over.
bool Decode(std::string_view frame, Response* out);

}  // namespace vramgate::plugin
