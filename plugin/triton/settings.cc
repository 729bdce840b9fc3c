#include "plugin/triton/settings.h"

#include <charconv>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>

namespace vramgate {
namespace {

using nlohmann::json;

constexpr size_t kMostNames = 16;
constexpr size_t kMostNameBytes = 256;
constexpr int64_t kMiB = 1048576;
constexpr int64_t kNanosecondsPerMillisecond = 1000000;

Error Invalid(std::string_view key, std::string_view value, std::string_view what) {
  std::string text = "vramgate: config.pbtxt: parameters: ";
  text.append(key).append(": \"").append(value).append("\" ").append(what);
  return MakeError(TRITONSERVER_ERROR_INVALID_ARG, text);
}

// The parameters by their keys, each taken once, so that what is left over is unknown.
class Parameters {
 public:
  explicit Parameters(const json& config) {
    const auto found = config.find("parameters");
    if (found == config.end() || !found->is_object()) return;
    for (const auto& [key, value] : found->items()) {
      const auto text = value.is_object() ? value.find("string_value") : value.end();
      if (text != value.end() && text->is_string()) values_[key] = text->get<std::string>();
    }
  }

  std::optional<std::string> Take(std::string_view key) {
    const auto found = values_.find(std::string(key));
    if (found == values_.end()) return std::nullopt;
    std::string value = std::move(found->second);
    values_.erase(found);
    return value;
  }

  // The first that nobody took; null where none is left.
  const std::string* left() const { return values_.empty() ? nullptr : &values_.begin()->first; }

 private:
  std::map<std::string, std::string> values_;
};

struct Integer {
  const char* key;
  int64_t least;
  int64_t most;
  int64_t scale;  // the key's unit in ours
  int64_t* out;
};

Error ReadInteger(Parameters& parameters, const Integer& integer) {
  const std::optional<std::string> text = parameters.Take(integer.key);
  if (!text.has_value()) return nullptr;
  int64_t value = 0;
  const auto [end, status] = std::from_chars(text->data(), text->data() + text->size(), value);
  if (status != std::errc() || end != text->data() + text->size() || value < integer.least || value > integer.most) {
    return Invalid(
        integer.key, *text,
        "is not a whole number from " + std::to_string(integer.least) + " to " + std::to_string(integer.most));
  }
  *integer.out = value * integer.scale;
  return nullptr;
}

Error ReadNames(Parameters& parameters, std::string_view key, std::string_view default_names,
                std::vector<std::string>* names) {
  const std::string text = parameters.Take(key).value_or(std::string(default_names));
  size_t begin = 0;
  while (begin <= text.size()) {
    const size_t end = std::min(text.find(',', begin), text.size());
    std::string_view name = std::string_view(text).substr(begin, end - begin);
    while (!name.empty() && name.front() == ' ') name.remove_prefix(1);
    while (!name.empty() && name.back() == ' ') name.remove_suffix(1);
    if (name.size() > kMostNameBytes || names->size() == kMostNames) {
      return Invalid(key, text, "is too long: at most 16 names of at most 256 bytes, separated by commas");
    }
    if (!name.empty()) names->emplace_back(name);
    begin = end + 1;
  }
  return nullptr;
}

Error ReadWhenAway(Parameters& parameters, GateSettings* settings) {
  const std::string text = parameters.Take("WHEN_AWAY").value_or("fail_closed");
  if (text == "fail_closed") {
    settings->when_away = VG_FAIL_CLOSED;
  } else if (text == "fail_open") {
    settings->when_away = VG_FAIL_OPEN;
  } else if (text == "local_share") {
    settings->when_away = VG_LOCAL_SHARE;
  } else {
    return Invalid("WHEN_AWAY", text, "is none of fail_closed, fail_open, local_share");
  }
  if ((settings->when_away == VG_LOCAL_SHARE) != (settings->local_share_bytes > 0)) {
    return Invalid("LOCAL_SHARE_MIB", std::to_string(settings->local_share_bytes / kMiB),
                   "goes with WHEN_AWAY local_share: give both, or neither");
  }
  return nullptr;
}

Error ReadTexts(Parameters& parameters, GateSettings* settings) {
  settings->target_model = parameters.Take("TARGET_MODEL").value_or("");
  settings->gate = parameters.Take("GATE").value_or("unix:/run/vramgate/plugin.sock");
  settings->gate_model = parameters.Take("GATE_MODEL").value_or(settings->target_model);
  settings->gate_instance = parameters.Take("GATE_INSTANCE").value_or("");
  if (settings->target_model.empty()) {
    return Invalid("TARGET_MODEL", "", "is missing: name the model of this server that requests are forwarded to");
  }
  if (settings->target_model == settings->model) {
    return Invalid("TARGET_MODEL", settings->target_model, "is this model itself: give the gate a name of its own");
  }
  if (settings->gate.rfind("unix:", 0) != 0) {
    return Invalid("GATE", settings->gate, "is no address of a plugin socket: unix:PATH, as listeners.plugin has it");
  }
  const std::string revocable = parameters.Take("REVOCABLE").value_or("false");
  if (revocable != "true" && revocable != "false") return Invalid("REVOCABLE", revocable, "is neither true nor false");
  settings->revocable = revocable == "true";
  return nullptr;
}

}  // namespace

Error ReadSettings(const json& config, GateSettings* settings) {
  Parameters parameters(config);
  settings->model = config.value("name", "");
  settings->batched = config.value("max_batch_size", 0) > 0;
  const auto policy = config.find("model_transaction_policy");
  settings->decoupled = policy != config.end() && policy->is_object() && policy->value("decoupled", false);
  if (Error error = ReadTexts(parameters, settings)) return error;

  settings->starts_per_second = 400;
  settings->most_held_requests = 10000;
  settings->most_held_bytes = 256 * kMiB;
  constexpr int64_t kMostTokens = 1 << 20;
  for (const Integer& integer : {
           Integer{"TARGET_VERSION", -1, std::numeric_limits<int32_t>::max(), 1, &settings->target_version},
           Integer{"LOCAL_SHARE_MIB", 1, int64_t{1} << 30, kMiB, &settings->local_share_bytes},
           Integer{"MAX_WAIT_MS", 0, int64_t{86400} * 1000, kNanosecondsPerMillisecond, &settings->max_wait_ns},
           Integer{"TOKENS_PER_RESPONSE", 0, kMostTokens, 1, &settings->tokens_per_response},
           Integer{"STARTS_PER_SECOND", 0, 1000000, 1, &settings->starts_per_second},
           Integer{"MAX_HELD_REQUESTS", 1, 1000000, 1, &settings->most_held_requests},
           Integer{"MAX_HELD_MIB", 1, 1 << 20, kMiB, &settings->most_held_bytes},
       }) {
    if (Error error = ReadInteger(parameters, integer)) return error;
  }
  if (Error error = ReadWhenAway(parameters, settings)) return error;

  struct Names {
    const char* key;
    const char* default_names;
    std::vector<std::string>* out;
  };
  for (const Names& names : {
           Names{"PROMPT_TOKENS", "input_ids,INPUT_IDS", &settings->prompt_tokens},
           Names{"PROMPT_TEXT", "text_input,prompt,PROMPT", &settings->prompt_text},
           Names{"MAX_TOKENS", "max_tokens,max_output_tokens,request_output_len,sampling_parameters.max_tokens",
                 &settings->max_tokens},
           Names{"SEQUENCES", "n,beam_width,sampling_parameters.n", &settings->sequences},
           Names{"TENANT", "x-tenant-id", &settings->tenant},
           Names{"PRIORITY", "x-priority", &settings->priority},
       }) {
    if (Error error = ReadNames(parameters, names.key, names.default_names, names.out)) return error;
  }
  if (const std::string* left = parameters.left()) {
    return Invalid(*left, "", "is no parameter of the backend vramgate; docs/triton.md lists them");
  }
  return nullptr;
}

}  // namespace vramgate
