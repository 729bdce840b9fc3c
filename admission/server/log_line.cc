#include "admission/server/log_line.h"

#include "admission/check.h"
#include "nlohmann/json.hpp"

namespace vramgate {
namespace {

using Json = nlohmann::ordered_json;

// 2024-05-01T12:00:00.000Z: milliseconds always, so that lines sort as text.
std::string Rfc3339(absl::Time time) {
  return absl::FormatTime("%E4Y-%m-%dT%H:%M:%E3SZ", time, absl::UTCTimeZone());
}

Json Begin(absl::Time time, LogLevel level, std::string_view event) {
  return {{"time", Rfc3339(time)}, {"level", LogLevelName(level)}, {"event", event}};
}

// A text cut within a character, or one that never was UTF-8, gets U+FFFD for what is broken.
std::string Line(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::string_view EventName(const Decision& decision) {
  if (decision.kind == Decision::Kind::kLate) return "late";
  if (decision.kind != Decision::Kind::kStop || decision.outcome != Outcome::kRevoked)
    return OutcomeName(decision.outcome);
  return decision.grace_over ? "revoke_grace_over" : "revoke_asked";
}

void AddText(Json& json, const char* key, std::string_view text) {
  if (!text.empty()) json[key] = text;
}

}  // namespace

std::string_view LogLevelName(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return "debug";
    case LogLevel::kInfo:
      return "info";
    case LogLevel::kWarning:
      return "warning";
    case LogLevel::kError:
      return "error";
  }
  CHECK(false, "LogLevelName: no such level");
}

LogLevel LevelOf(const Decision& decision) {
  if (decision.kind == Decision::Kind::kLate) return LogLevel::kWarning;
  switch (decision.outcome) {
    case Outcome::kGranted:
    case Outcome::kCompleted:
    case Outcome::kCancelled:
    case Outcome::kDeadline:
    case Outcome::kSuperseded:
      return LogLevel::kInfo;
    case Outcome::kRejectedQueueFull:
    case Outcome::kRejectedQueueTimeout:
    case Outcome::kRejectedBudgetExhausted:
    case Outcome::kRejectedTenantQuota:
    case Outcome::kRejectedDeadlineInfeasible:
    case Outcome::kRejectedNeverFits:
    case Outcome::kRejectedUnknownModel:
    case Outcome::kRejectedModelNotLoaded:
    case Outcome::kRejectedDraining:
    case Outcome::kRejectedTelemetryStale:
    case Outcome::kRejectedInvalidRequest:
    case Outcome::kAborted:
    case Outcome::kExpired:
    case Outcome::kRevoked:
      return LogLevel::kWarning;
  }
  CHECK(false, "LevelOf: no such outcome");
}

LogLines::LogLines(const GateConfig& config) {
  for (const ModelSpec& model : config.models) {
    models_.push_back(model.name);
    for (const InstanceSpec& instance : model.instances)
      instances_.push_back({instance.name, static_cast<int64_t>(instance.devices.size())});
  }
}

std::string LogLines::OfDecision(absl::Time time, const Decision& decision, int sampled) const {
  Json json = Begin(time, LevelOf(decision), EventName(decision));
  if (decision.lease.id.value != 0) json["lease"] = LeaseName(decision.lease.id);
  AddText(json, "request_id", decision.request_id.view());
  AddText(json, "tenant", decision.tenant.view());
  if (Index(decision.model) < models_.size()) json["model"] = models_[Index(decision.model)];
  if (decision.instance != kAnyInstance && Index(decision.instance) < instances_.size()) {
    const Instance& instance = instances_[Index(decision.instance)];
    json["instance"] = instance.name;
    // A holder's cost was reserved, so it does not overflow.
    const int64_t bytes = (decision.cost.kv_bytes + decision.cost.activation_bytes) * instance.devices;
    if (bytes > 0) json["bytes"] = bytes;
  }
  if (decision.kind == Decision::Kind::kAnswer) json["waited_ms"] = absl::ToDoubleMilliseconds(decision.waited);
  if (decision.estimated_wait) json["estimated_wait_ms"] = absl::ToDoubleMilliseconds(*decision.estimated_wait);
  AddText(json, "traceparent", decision.trace.view());
  if (decision.kind == Decision::Kind::kAnswer && decision.prompt_source != PromptSource::kNone) {
    json["prompt_tokens_source"] = PromptSourceName(decision.prompt_source);
    if (decision.prompt_tokens > 0) json["prompt_tokens"] = decision.prompt_tokens;
  }
  AddText(json, "reason", OutcomeReason(decision.outcome));
  if (decision.kind == Decision::Kind::kStop && decision.outcome == Outcome::kRevoked)
    json["grace_ms"] = absl::ToDoubleMilliseconds(decision.grace);
  if (decision.by_policy) json["by"] = "policy";
  if (sampled > 0) json["sampled"] = sampled;
  return Line(json);
}

std::string LogLines::OfMessage(absl::Time time, LogLevel level, std::string_view message) {
  Json json = Begin(time, level, "message");
  json["message"] = message;
  return Line(json);
}

std::string LogLines::OfDropped(absl::Time time, int64_t lines) {
  Json json = Begin(time, LogLevel::kWarning, "log_dropped");
  json["lines"] = lines;
  return Line(json);
}

}  // namespace vramgate
