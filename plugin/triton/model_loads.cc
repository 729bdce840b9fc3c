#include "plugin/triton/model_loads.h"

#include <charconv>
#include <iterator>
#include <utility>

namespace vramgate {
namespace {

constexpr int64_t kNanosecondsPerMillisecond = 1000000;
constexpr int64_t kMostMilliseconds = 600000;
constexpr int64_t kDefaultMilliseconds = 10000;

Error Invalid(const std::string& key, const std::string& value, const std::string& what) {
  return MakeError(TRITONSERVER_ERROR_INVALID_ARG,
                   "vramgate: config.pbtxt: model_repository_agents: " + key + ": \"" + value + "\" " + what);
}

vg_str View(const std::string& text) {
  return {text.data(), text.size()};
}

}  // namespace

Error ReadLoadTarget(const std::map<std::string, std::string>& parameters, const std::string& name,
                     LoadTarget* target) {
  target->name = target->model = name;
  target->timeout_ns = kDefaultMilliseconds * kNanosecondsPerMillisecond;
  for (const auto& [key, value] : parameters) {
    if (key == "GATE") {
      if (value.rfind("unix:", 0) != 0) return Invalid(key, value, "is no address of a plugin socket: unix:PATH");
      target->gate.target = value;
    } else if (key == "MODEL") {
      target->model = value;
    } else if (key == "INSTANCE") {
      target->instance = value;
    } else if (key == "TIMEOUT_MS") {
      int64_t milliseconds = 0;
      const auto [end, status] = std::from_chars(value.data(), value.data() + value.size(), milliseconds);
      if (status != std::errc() || end != value.data() + value.size() || milliseconds < 1 ||
          milliseconds > kMostMilliseconds) {
        return Invalid(key, value, "is not a whole number from 1 to " + std::to_string(kMostMilliseconds));
      }
      target->timeout_ns = milliseconds * kNanosecondsPerMillisecond;
    } else if (key == "WHEN_AWAY") {
      if (value != "fail_closed" && value != "fail_open")
        return Invalid(key, value, "is neither fail_closed nor fail_open");
      target->gate.when_away = value == "fail_open" ? VG_FAIL_OPEN : VG_FAIL_CLOSED;
    } else if (key == "RELOAD") {
      if (value != "refuse" && value != "allow") return Invalid(key, value, "is neither refuse nor allow");
      target->reload = value == "allow";
    } else {
      return Invalid(key, value, "is no parameter of the agent vramgate; docs/triton.md lists them");
    }
  }
  if (target->model.empty()) return Invalid("MODEL", "", "is empty: name the model as the gate's config does");
  return nullptr;
}

Error ModelLoads::AskLocked(const LoadTarget& target) {
  vg_client* client = nullptr;
  if (Error error = clients_.Get(target.gate, &client)) return error;
  vg_decision decision = VG_DECISION_INIT;
  const vg_code code =
      clients_.api().load_model(client, View(target.model), View(target.instance), target.timeout_ns, &decision);
  if (code != VG_OK) {
    decision.code = code;
    return Refusal(decision);
  }
  Log(TRITONSERVER_LOG_INFO, "vramgate: " + target.model + ": " + std::to_string(decision.vram_bytes) +
                                 " fixed bytes admitted" +
                                 ((decision.flags & VG_FLAG_AWAY) != 0 ? " without the gate, which is away" : ""));
  return nullptr;
}

Error ModelLoads::Load(const LoadTarget& target, Copy* copy) {
  const std::lock_guard lock(mutex_);
  bool is_charged = false;
  for (auto place = copies_.begin(); place != copies_.end();) {
    const Loaded& other = place->second;
    const bool same = other.target.model == target.model && other.target.instance == target.instance;
    const bool failed = same && other.target.name == target.name && !other.complete;
    if (same && !failed && !target.reload) {
      return MakeError(TRITONSERVER_ERROR_UNAVAILABLE,
                       "vramgate: ALREADY_LOADED: a copy of " + target.model +
                           " is loaded, and Triton would hold both until it has swapped them: unload it first, or set "
                           "RELOAD to allow where there is room for two");
    }
    is_charged = is_charged || same;
    place = failed ? copies_.erase(place) : std::next(place);
  }
  if (!is_charged) {
    if (Error error = AskLocked(target)) return error;
  }
  *copy = ++last_;
  copies_[*copy].target = target;
  return nullptr;
}

void ModelLoads::Complete(Copy copy) {
  const std::lock_guard lock(mutex_);
  const auto found = copies_.find(copy);
  if (found != copies_.end()) found->second.complete = true;
}

void ModelLoads::Unload(Copy copy) {
  const std::lock_guard lock(mutex_);
  const auto found = copies_.find(copy);
  if (found == copies_.end()) return;
  const LoadTarget target = std::move(found->second.target);
  copies_.erase(found);
  for (const auto& [id, other] : copies_) {
    if (other.target.model == target.model && other.target.instance == target.instance) return;
  }
  vg_client* client = nullptr;
  Error error = clients_.Get(target.gate, &client);
  if (error == nullptr) {
    vg_decision decision = VG_DECISION_INIT;
    const vg_code code =
        clients_.api().unload_model(client, View(target.model), View(target.instance), target.timeout_ns, &decision);
    decision.code = code;
    if (code != VG_OK) error = Refusal(decision);
  }
  // It is gone from the GPU whatever the gate says: what the gate counts is too much until it hears of a load again.
  LogError("vramgate: " + target.model + ": the gate does not know that it is unloaded", error.release());
}

}  // namespace vramgate
