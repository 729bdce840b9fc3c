#include "admission/replay/access_log.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "admission/replay/trace.h"

namespace vramgate {
namespace {

using Json = nlohmann::json;

constexpr double kMaxSeconds = 9e9;  // the year 2255: below int64's nanoseconds

absl::Status Wrong(std::string_view field, const char* what) {
  return absl::InvalidArgumentError(absl::StrCat(absl::string_view(field.data(), field.size()), ": ", what));
}

const Json* Member(const Json* object, const char* key) {
  if (object == nullptr || !object->is_object()) return nullptr;
  const auto it = object->find(key);
  return it == object->end() ? nullptr : &*it;
}

absl::StatusOr<int64_t> Tokens(const Json& usage, const char* key, int64_t least) {
  const Json* value = Member(&usage, key);
  if (value == nullptr && least == 0) return 0;  // an embedding: nothing was generated
  if (value == nullptr || !value->is_number_integer()) return Wrong(key, "not a whole number");
  const auto tokens = value->get<int64_t>();
  if (tokens < least || tokens > Trace::kMaxTokens || (value->is_number_unsigned() && tokens < 0))
    return Wrong(key, "out of range");
  return tokens;
}

absl::StatusOr<int64_t> Time(const Json& value, const char* key) {
  if (value.is_number()) {
    const auto seconds = value.get<double>();
    if (!(seconds >= 0) || seconds > kMaxSeconds) return Wrong(key, "not seconds of Unix time");
    return static_cast<int64_t>(std::llround(seconds * 1e9));
  }
  if (value.is_string()) return ParseTimestamp(value.get_ref<const std::string&>());
  return Wrong(key, "neither seconds nor a date with a time");
}

}  // namespace

absl::StatusOr<std::optional<AccessLogLine>> ParseAccessLogLine(std::string_view line) {
  const Json root = Json::parse(line.begin(), line.end(), nullptr, /*allow_exceptions=*/false);
  if (root.is_discarded()) return absl::InvalidArgumentError("not a JSON object");
  if (!root.is_object()) return absl::InvalidArgumentError("not a JSON object");
  const Json* const response = Member(&root, "response");
  const Json* const places[] = {&root, response, Member(response, "body")};
  const Json* usage = nullptr;
  for (const Json* place : places) {
    if (usage == nullptr) usage = Member(place, "usage");
  }
  if (usage == nullptr || !usage->is_object()) return std::nullopt;

  AccessLogLine out;
  const absl::StatusOr<int64_t> prompt = Tokens(*usage, "prompt_tokens", 1);
  if (!prompt.ok()) return prompt.status();
  const absl::StatusOr<int64_t> output = Tokens(*usage, "completion_tokens", 0);
  if (!output.ok()) return output.status();
  out.prompt_tokens = *prompt;
  out.output_tokens = *output;
  bool timed = false;
  for (const Json* place : places) {
    for (const char* key : {"arrival_s", "timestamp", "time", "ts", "created"}) {
      const Json* value = Member(place, key);
      if (value == nullptr || timed) continue;
      const absl::StatusOr<int64_t> time = Time(*value, key);
      if (!time.ok()) return time.status();
      out.time_ns = *time;
      timed = true;
    }
    for (const char* key : {"tenant", "user"}) {
      const Json* value = Member(place, key);
      if (value != nullptr && value->is_string() && out.tenant.empty()) out.tenant = value->get<std::string>();
    }
  }
  if (!timed) return Wrong("timestamp", "missing: one of arrival_s, timestamp, time, ts and created says when it came");
  return out;
}

}  // namespace vramgate
