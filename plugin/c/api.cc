// The border: every function of vramgate_plugin.h checks and copies what it is given, keeps exceptions in, and leaves
// the rest to the Client.
#include <algorithm>
#include <cstring>
#include <memory>
#include <new>
#include <string>
#include <type_traits>

#include "plugin/c/client.h"
#include "plugin/c/decision.h"
#include "plugin/c/vramgate_plugin.h"

struct vg_client : vramgate::plugin::Client {
  using Client::Client;
};

namespace vramgate::plugin {
namespace {

constexpr size_t kMostTextBytes = 4096;
constexpr int64_t kMostTokens = int64_t{1} << 40;
constexpr int32_t kMostSequences = 4096;
constexpr uint32_t kDefaultLeases = 65536;
constexpr uint32_t kMostLeases = 1u << 20;
constexpr int64_t kNsPerS = 1'000'000'000;
constexpr size_t kMostProgress = 100'000;

// Of a caller with an older header the rest stays as it is in `out`; of one with a newer header what is not known is
// left out.
template <typename T>
bool Copy(const T* in, T* out) {
  static_assert(std::is_trivially_copyable_v<T>);
  if (in == nullptr || in->struct_size < sizeof(size_t)) return false;
  std::memcpy(out, in, std::min(in->struct_size, sizeof(T)));
  out->struct_size = sizeof(T);
  return true;
}

template <typename T>
void Give(const T& from, T* to) {
  if (to == nullptr || to->struct_size <= sizeof(size_t)) return;
  const size_t struct_size = to->struct_size;
  std::memcpy(to, &from, std::min(struct_size, sizeof(T)));
  to->struct_size = struct_size;
}

vg_code Give(const Answer& answer, vg_decision* to) {
  vg_decision decision = VG_DECISION_INIT;
  ToDecision(answer, &decision);
  Give(decision, to);
  return static_cast<vg_code>(answer.code);
}

vg_code Invalid(vg_decision* to, std::string message) {
  return Give(Answer{.code = VG_INVALID_ARGUMENT, .reason = "INVALID_REQUEST", .message = std::move(message)}, to);
}

// No exception leaves.
template <typename Call>
vg_code Guard(Call call) noexcept {
  try {
    return call();
  } catch (const std::bad_alloc&) {
    return VG_RESOURCE_EXHAUSTED;
  } catch (...) {
    return VG_INTERNAL;
  }
}

// Whether a call may be made: VG_OK, or what it says instead.
vg_code Usable(const vg_client* client) {
  if (client == nullptr) return VG_INVALID_ARGUMENT;
  return client->here() ? VG_OK : VG_FAILED_PRECONDITION;
}
vg_code MayWait(const vg_client* client) {
  if (const vg_code code = Usable(client); code != VG_OK) return code;
  return client->on_own_thread() ? VG_FAILED_PRECONDITION : VG_OK;
}

// "" or what is wrong.
std::string Wrong(const vg_admit_args& args) {
  if (args.model.data == nullptr || args.model.size == 0) return "model: missing: name one of the sidecar's config";
  const std::pair<const char*, const vg_str*> texts[] = {
      {"request_id", &args.request_id}, {"model", &args.model}, {"tenant", &args.tenant}, {"instance", &args.instance}};
  for (const auto& [name, text] : texts) {
    if (text->size > kMostTextBytes) return std::string(name) + ": more than 4096 bytes: shorten it";
    if (text->size > 0 && text->data == nullptr) return std::string(name) + ": has a size and no data";
  }
  const std::pair<const char*, int64_t> counts[] = {{"prompt_tokens", args.prompt_tokens},
                                                    {"max_output_tokens", args.max_output_tokens},
                                                    {"prompt_bytes", args.prompt_bytes},
                                                    {"cached_tokens", args.cached_tokens}};
  for (const auto& [name, count] : counts) {
    if (count < -1 || count > kMostTokens) return std::string(name) + ": not within -1 (unknown) and 2^40";
  }
  if (args.sequences < 1 || args.sequences > kMostSequences) return "sequences: not within 1 and 4096";
  if (args.vram_bytes < -1) return "vram_bytes: below -1 (the gate's estimate)";
  if (args.max_wait_ns < -1) return "max_wait_ns: below -1 (the sidecar's own)";
  return "";
}

std::string Wrong(const vg_client_options& options) {
  const std::string_view target = View(options.target);
  if (!target.starts_with("unix:") || target.size() == 5 || target.starts_with("unix://"))
    return "target: must be unix:/path of the sidecar's plugin socket";
  if (target.size() > 5 + 107) return "target: a Unix socket's path has at most 107 bytes";
  if (options.when_away < VG_FAIL_CLOSED || options.when_away > VG_LOCAL_SHARE) return "when_away: no such policy";
  if (options.local_share_bytes < 0) return "local_share_bytes: negative";
  if (options.max_leases > kMostLeases) return "max_leases: more than 1048576";
  if (options.away_after_ns < -1 || options.away_after_ns > 3600 * kNsPerS)
    return "away_after_ns: not within -1 (one second) and an hour";
  return "";
}

vg_code ClientCreate(const vg_client_options* in, vg_client** out) noexcept {
  return Guard([&] {
    vg_client_options options = VG_CLIENT_OPTIONS_INIT;
    if (out == nullptr) return VG_INVALID_ARGUMENT;
    *out = nullptr;
    if (!Copy(in, &options)) return VG_INVALID_ARGUMENT;
    if (const std::string wrong = Wrong(options); !wrong.empty()) {
      if (options.log != nullptr) options.log(options.log_user, 2, wrong.data(), wrong.size());
      return VG_INVALID_ARGUMENT;
    }
    if (options.max_leases == 0) options.max_leases = kDefaultLeases;
    if (options.away_after_ns < 0) options.away_after_ns = kNsPerS;
    auto client = std::make_unique<vg_client>(options);
    if (!client->Start()) return VG_RESOURCE_EXHAUSTED;
    *out = client.release();
    return VG_OK;
  });
}

vg_code ClientDestroy(vg_client* client) noexcept {
  return Guard([&] {
    if (const vg_code code = MayWait(client); code != VG_OK) return code;
    client->Destroy();
    delete client;
    return VG_OK;
  });
}

vg_code AdmitAsync(vg_client* client, const vg_admit_args* in, const vg_callbacks* callbacks, vg_lease* out) noexcept {
  return Guard([&] {
    if (out != nullptr) *out = 0;
    if (const vg_code code = Usable(client); code != VG_OK) return code;
    vg_admit_args args = VG_ADMIT_ARGS_INIT;
    vg_callbacks to = VG_CALLBACKS_INIT;
    if (out == nullptr || !Copy(in, &args) || !Wrong(args).empty()) return VG_INVALID_ARGUMENT;
    if (callbacks != nullptr && !Copy(callbacks, &to)) return VG_INVALID_ARGUMENT;
    return client->AdmitAsync(args, callbacks == nullptr ? nullptr : &to, out);
  });
}

vg_code TryAdmit(vg_client* client, const vg_admit_args* in, int64_t timeout_ns, vg_decision* decision,
                 vg_lease* out) noexcept {
  return Guard([&] {
    if (out != nullptr) *out = 0;
    if (const vg_code code = MayWait(client); code != VG_OK) return code;
    vg_admit_args args = VG_ADMIT_ARGS_INIT;
    if (out == nullptr || !Copy(in, &args)) return Invalid(decision, "args or out: null, or without its struct_size");
    if (std::string wrong = Wrong(args); !wrong.empty()) return Invalid(decision, std::move(wrong));
    Answer answer;
    (void)client->TryAdmit(args, timeout_ns, &answer, out);
    return Give(answer, decision);
  });
}

vg_code Poll(vg_client* client, vg_lease lease, vg_decision* decision) noexcept {
  return Guard([&] {
    if (const vg_code code = Usable(client); code != VG_OK) return code;
    Answer answer;
    (void)client->Poll(lease, &answer);
    return Give(answer, decision);
  });
}

vg_code Extend(vg_client* client, vg_lease lease, int64_t tokens) noexcept {
  return Guard([&] {
    if (const vg_code code = Usable(client); code != VG_OK) return code;
    if (tokens < 0 || tokens > kMostTokens) return VG_INVALID_ARGUMENT;
    return client->Extend(lease, tokens);
  });
}

bool CopyUsage(const vg_usage* in, vg_usage* out) {
  if (!Copy(in, out)) return false;
  return out->prompt_tokens >= -1 && out->prompt_tokens <= kMostTokens && out->output_tokens >= -1 &&
         out->output_tokens <= kMostTokens && out->outcome >= 0 && out->outcome <= VG_BACKEND_OUT_OF_MEMORY;
}

vg_code Report(vg_client* client, vg_lease lease, const vg_usage* in) noexcept {
  return Guard([&] {
    if (const vg_code code = Usable(client); code != VG_OK) return code;
    vg_usage usage = VG_USAGE_INIT;
    if (!CopyUsage(in, &usage)) return VG_INVALID_ARGUMENT;
    return client->Report(lease, usage);
  });
}

// An end is one whatever is said of it: what makes no sense is left out.
void Release(vg_client* client, vg_lease lease, const vg_usage* in) noexcept {
  (void)Guard([&] {
    if (const vg_code code = Usable(client); code != VG_OK) return code;
    vg_usage usage = VG_USAGE_INIT;
    if (in != nullptr && !CopyUsage(in, &usage)) usage = VG_USAGE_INIT;
    client->End(lease, usage);
    return VG_OK;
  });
}

void Cancel(vg_client* client, vg_lease lease) noexcept {
  vg_usage usage = VG_USAGE_INIT;
  usage.outcome = VG_CLIENT_GONE;
  Release(client, lease, &usage);
}

void RevokeAck(vg_client* client, vg_lease lease) noexcept {
  (void)Guard([&] {
    if (const vg_code code = Usable(client); code != VG_OK) return code;
    client->RevokeAck(lease);
    return VG_OK;
  });
}

bool Sound(const vg_progress* list, size_t count) {
  if (count > 0 && list == nullptr) return false;
  return std::all_of(list, list + count, [](const vg_progress& progress) {
    return progress.lease.data != nullptr && progress.lease.size <= kMostTextBytes && progress.output_tokens >= -1 &&
           progress.output_tokens <= kMostTokens;
  });
}

vg_code ReportSteps(vg_client* client, const vg_step_report* in,
                    void (*on_answer)(void* user, const vg_step_answer* answer), void* user) noexcept {
  return Guard([&] {
    if (const vg_code code = Usable(client); code != VG_OK) return code;
    vg_step_report report = VG_STEP_REPORT_INIT;
    if (!Copy(in, &report) || report.steps < 0 || View(report.model).empty() || report.model.size > kMostTextBytes ||
        report.instance.size > kMostTextBytes || report.ended_count > kMostProgress ||
        report.emitted_count > kMostProgress - report.ended_count || !Sound(report.ended, report.ended_count) ||
        !Sound(report.emitted, report.emitted_count))
      return VG_INVALID_ARGUMENT;
    return client->ReportSteps(report, on_answer, user);
  });
}

vg_code Load(bool load, vg_client* client, vg_str model, vg_str instance, int64_t timeout_ns,
             vg_decision* decision) noexcept {
  return Guard([&] {
    if (const vg_code code = MayWait(client); code != VG_OK) return code;
    if (View(model).empty() || model.size > kMostTextBytes || instance.size > kMostTextBytes)
      return Invalid(decision, "model: missing, or more than 4096 bytes; or instance is");
    Answer answer;
    (void)client->Load(load, View(model), View(instance), timeout_ns, &answer);
    return Give(answer, decision);
  });
}

vg_code LoadModel(vg_client* client, vg_str model, vg_str instance, int64_t timeout_ns, vg_decision* out) noexcept {
  return Load(true, client, model, instance, timeout_ns, out);
}

vg_code UnloadModel(vg_client* client, vg_str model, vg_str instance, int64_t timeout_ns, vg_decision* out) noexcept {
  return Load(false, client, model, instance, timeout_ns, out);
}

vg_code ClientState(vg_client* client, vg_client_state* out) noexcept {
  return Guard([&] {
    if (const vg_code code = Usable(client); code != VG_OK) return code;
    if (out == nullptr || out->struct_size < sizeof(size_t)) return VG_INVALID_ARGUMENT;
    vg_client_state state{};
    client->State(&state);
    Give(state, out);
    return VG_OK;
  });
}

const char* CodeName(int32_t code) noexcept {
  switch (static_cast<vg_code>(code)) {
    case VG_PENDING:
      return "PENDING";
    case VG_OK:
      return "OK";
    case VG_CANCELLED:
      return "CANCELLED";
    case VG_UNKNOWN:
      return "UNKNOWN";
    case VG_INVALID_ARGUMENT:
      return "INVALID_ARGUMENT";
    case VG_DEADLINE_EXCEEDED:
      return "DEADLINE_EXCEEDED";
    case VG_NOT_FOUND:
      return "NOT_FOUND";
    case VG_ALREADY_EXISTS:
      return "ALREADY_EXISTS";
    case VG_PERMISSION_DENIED:
      return "PERMISSION_DENIED";
    case VG_RESOURCE_EXHAUSTED:
      return "RESOURCE_EXHAUSTED";
    case VG_FAILED_PRECONDITION:
      return "FAILED_PRECONDITION";
    case VG_ABORTED:
      return "ABORTED";
    case VG_OUT_OF_RANGE:
      return "OUT_OF_RANGE";
    case VG_UNIMPLEMENTED:
      return "UNIMPLEMENTED";
    case VG_INTERNAL:
      return "INTERNAL";
    case VG_UNAVAILABLE:
      return "UNAVAILABLE";
    case VG_DATA_LOSS:
      return "DATA_LOSS";
    case VG_UNAUTHENTICATED:
      return "UNAUTHENTICATED";
  }
  return "UNKNOWN";
}

constexpr vg_api kApi = {sizeof(vg_api), VG_ABI_MAJOR, VG_ABI_MINOR, ClientCreate, ClientDestroy, AdmitAsync,
                         TryAdmit,       Poll,         Extend,       Report,       Release,       Cancel,
                         RevokeAck,      ReportSteps,  LoadModel,    UnloadModel,  ClientState,   CodeName};

}  // namespace
}  // namespace vramgate::plugin

extern "C" const vg_api* vramgate_get_api(uint32_t want_major, uint32_t want_minor) {
  return want_major == VG_ABI_MAJOR && want_minor <= VG_ABI_MINOR ? &vramgate::plugin::kApi : nullptr;
}
