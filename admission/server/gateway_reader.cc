#include "admission/server/gateway_reader.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "admission/check.h"
#include "admission/server/ext_proc_messages.h"
#include "admission/server/request_body.h"
#include "admission/utf8.h"

namespace vramgate {
namespace {

using Use = GatewayCounters::Use;

constexpr size_t kMostRouteBytes = 128;
constexpr size_t kMostValueBytes = 64;  // of a header that is a number or a word
constexpr size_t kTraceBytes = 55;      // 00-<32 hex>-<16 hex>-<2 hex>
constexpr absl::Duration kLongestTimeout = absl::Hours(24);

Refusal Invalid(std::string_view field, std::string message) {
  return {Outcome::kRejectedInvalidRequest, std::string(field), std::move(message)};
}

Refusal Unpriced() {
  return Invalid("path",
                 "generates, but what it will need cannot be told from its body; gate it inside the engine (a plugin), "
                 "and let it pass here: gateways.paths, or the filter turned off for the route");
}

std::vector<Endpoints::Path> PathsOf(const v1::Gateways& config) {
  std::vector<Endpoints::Path> paths;
  for (const auto& [path, api] : config.paths()) paths.push_back({path, EndpointOf(api)});
  // A whole path before what it ends in, a longer ending before a shorter.
  std::sort(paths.begin(), paths.end(), [](const Endpoints::Path& a, const Endpoints::Path& b) {
    const auto rank = [](const Endpoints::Path& p) { return std::pair(p.path.starts_with('*'), -std::ssize(p.path)); };
    return rank(a) < rank(b);
  });
  return paths;
}

bool IsTrace(std::string_view value) {
  if (value.size() != kTraceBytes || value[2] != '-' || value[35] != '-' || value[52] != '-') return false;
  return std::all_of(value.begin(), value.end(), [](char c) {
    return c == '-' || absl::ascii_isdigit(static_cast<unsigned char>(c)) || (c >= 'a' && c <= 'f');
  });
}

// "250ms", "1.5s", "2m"; a plain number is in seconds, or in milliseconds where the header's name ends in -ms.
std::optional<absl::Duration> ParseTimeout(std::string_view name, std::string_view text) {
  const std::string value(text.substr(0, kMostValueBytes));
  absl::Duration timeout;
  double number = 0;
  if (name == "grpc-timeout") {
    constexpr std::string_view kUnits = "HMSmun";
    constexpr std::array<int64_t, 6> kUnits_ns = {3'600'000'000'000, 60'000'000'000, 1'000'000'000, 1'000'000, 1000, 1};
    const size_t unit = value.empty() ? std::string_view::npos : kUnits.find(value.back());
    int32_t count = 0;
    if (unit == std::string_view::npos || value.size() > 9) return std::nullopt;
    if (!absl::SimpleAtoi(value.substr(0, value.size() - 1), &count)) return std::nullopt;
    timeout = absl::Nanoseconds(kUnits_ns[unit]) * count;
  } else if (absl::SimpleAtod(value, &number) && !std::isnan(number)) {
    timeout = name.ends_with("-ms") ? absl::Milliseconds(number) : absl::Seconds(number);
  } else if (!absl::ParseDuration(value, &timeout)) {
    return std::nullopt;
  }
  if (!(timeout > absl::ZeroDuration())) return std::nullopt;
  return std::min(timeout, kLongestTimeout);
}

}  // namespace

Endpoint EndpointOf(v1::Gateways::Api api) {
  switch (api) {
    case v1::Gateways::CHAT:
      return Endpoint::kChat;
    case v1::Gateways::CHAT_BATCH:
      return Endpoint::kChatBatch;
    case v1::Gateways::COMPLETIONS:
      return Endpoint::kCompletions;
    case v1::Gateways::RESPONSES:
      return Endpoint::kResponses;
    case v1::Gateways::MESSAGES:
      return Endpoint::kMessages;
    case v1::Gateways::EMBEDDINGS:
      return Endpoint::kEmbeddings;
    case v1::Gateways::GENERATE:
      return Endpoint::kGenerate;
    case v1::Gateways::TOKENS:
      return Endpoint::kTokens;
    case v1::Gateways::OLLAMA:
      return Endpoint::kOllama;
    case v1::Gateways::LLAMA_CPP:
      return Endpoint::kLlamaCpp;
    case v1::Gateways::REFUSE:
      return Endpoint::kUnpriced;
    case v1::Gateways::PASS:
      return Endpoint::kNone;
    default:  // an enum of proto3 is open; the config's reader lets no other value through
      CHECK(false, "gateways.paths: no such API");
  }
}

GatewayReader::GatewayReader(const Converter& converter, const Caller& caller, const v1::Config& config)
    : converter_(converter), caller_(caller), config_(config.gateways()), endpoints_(PathsOf(config.gateways())) {}

std::optional<Refusal> GatewayReader::ReadHeaders(const HttpHeaders& headers, Instant now, GatewayRequest* out) const {
  const std::string_view path = HeaderOf(headers, ":path");
  const Endpoints::Target target = endpoints_.Find(HeaderOf(headers, ":method"), path);
  out->endpoint = target.endpoint;
  counters_->Count(target.endpoint);
  if (target.endpoint == Endpoint::kNone) return std::nullopt;
  out->request_id = HeaderOf(headers, "x-request-id").substr(0, kMostRouteBytes);
  if (const std::string_view trace = HeaderOf(headers, "traceparent"); IsTrace(trace)) out->trace = trace;
  if (target.endpoint == Endpoint::kUnpriced) return Unpriced();
  const std::string_view route = path.substr(0, std::min(path.find('?'), kMostRouteBytes));
  if (IsValidUtf8(route)) out->admit.set_route(std::string(route));
  out->admit.set_model(target.model);
  if (auto refusal = ReadTenant(headers, out)) return refusal;
  ReadPriority(headers, out);
  ReadTimeout(headers, now, out);
  if (auto refusal = ReadPromptTokens(headers, out)) return refusal;
  constexpr char kJsonBytes[] = "inference-header-content-length";
  const std::string_view json_bytes = HeaderOf(headers, kJsonBytes);
  if (json_bytes.empty()) return std::nullopt;
  int64_t bytes = 0;
  if (!absl::SimpleAtoi(std::string(json_bytes.substr(0, kMostValueBytes)), &bytes) || bytes < 0) {
    return Invalid(kJsonBytes, "must be a whole number of bytes");
  }
  out->json_bytes = bytes;
  return std::nullopt;
}

// Which of two a proxy behind would take is not known; the wrong one would be charged.
std::optional<Refusal> GatewayReader::ReadTenant(const HttpHeaders& headers, GatewayRequest* out) const {
  std::string_view tenant;
  for (const std::string& name : config_.tenant_headers()) {
    for (const auto& header : headers.headers().headers()) {
      if (header.key() != name) continue;
      const std::string_view value = header.raw_value().empty() ? header.value() : header.raw_value();
      if (!caller_.trusted_headers) {
        counters_->Count(Header::kTenant, Use::kUntrusted);
        return std::nullopt;
      }
      if (!tenant.empty() && !value.empty() && value != tenant) {
        return Invalid(name, "names another tenant than a header before it: let the gateway overwrite it");
      }
      if (!IsValidUtf8(value)) return Invalid(name, "not valid UTF-8");
      if (!value.empty()) tenant = value;
    }
  }
  if (!tenant.empty()) counters_->Count(Header::kTenant, Use::kUsed);
  out->admit.set_tenant(std::string(tenant));
  return std::nullopt;
}

// As the Gateway API has it: an objective that nobody has configured is of priority 0.
void GatewayReader::ReadPriority(const HttpHeaders& headers, GatewayRequest* out) const {
  for (const std::string& name : config_.priority_headers()) {
    const std::string value(HeaderOf(headers, name).substr(0, kMostValueBytes * 4));
    if (value.empty()) continue;
    if (!caller_.trusted_headers) return counters_->Count(Header::kPriority, Use::kUntrusted);
    int32_t priority = 0;
    if (const auto it = config_.priorities().find(value); it != config_.priorities().end()) {
      priority = it->second;
    } else if (!absl::SimpleAtoi(value, &priority) || priority > kMaxPriority || priority < -kMaxPriority) {
      return counters_->Count(Header::kPriority, Use::kUnknown);
    }
    out->admit.set_priority(priority);
    return counters_->Count(Header::kPriority, Use::kUsed);
  }
}

// The shortest of several.
void GatewayReader::ReadTimeout(const HttpHeaders& headers, Instant now, GatewayRequest* out) const {
  for (const std::string& name : config_.timeout_headers()) {
    const std::string_view value = HeaderOf(headers, name);
    if (value.empty()) continue;
    const std::optional<absl::Duration> timeout = ParseTimeout(name, value);
    counters_->Count(Header::kTimeout, timeout ? Use::kUsed : Use::kUnknown);
    if (timeout) out->deadline = std::min(out->deadline, now + *timeout);
  }
}

// A count lowers the charge, as a price would.
std::optional<Refusal> GatewayReader::ReadPromptTokens(const HttpHeaders& headers, GatewayRequest* out) const {
  for (const std::string& name : config_.prompt_tokens_headers()) {
    const std::string_view value = HeaderOf(headers, name);
    if (value.empty()) continue;
    if (!caller_.trusted_cost) {
      counters_->Count(Header::kPromptTokens, Use::kUntrusted);
      return std::nullopt;
    }
    int64_t tokens = 0;
    if (!absl::SimpleAtoi(std::string(value.substr(0, kMostValueBytes)), &tokens) || tokens < 1 ||
        tokens > kMostCount) {
      return Invalid(name, absl::StrCat("must be a whole number within 1 and ", kMostCount));
    }
    out->prompt_tokens = tokens;
    counters_->Count(Header::kPromptTokens, Use::kUsed);
    return std::nullopt;
  }
  return std::nullopt;
}

std::optional<Refusal> GatewayReader::NameModel(std::string&& named, GatewayRequest* asked) const {
  const std::string& in_path = asked->admit.model();
  if (in_path.empty()) {
    asked->admit.set_model(std::move(named));
  } else if (!named.empty() && named != in_path) {
    return Invalid("model", absl::StrCat("the body names ", Quoted(named), ", the path ", Quoted(in_path)));
  }
  return std::nullopt;
}

std::optional<Refusal> GatewayReader::ReadBody(std::string_view bytes, GatewayRequest* asked, Request* request) const {
  RequestBody body;
  const BodyText text = {.bytes = bytes, .json_bytes = asked->json_bytes};
  if (auto refusal = ReadRequestBody(asked->endpoint, text, &body)) return refusal;
  if (auto refusal = NameModel(std::move(body.model), asked)) return refusal;
  v1::Demand& demand = *asked->admit.mutable_demand();
  demand.set_prompt_bytes(body.prompt_bytes);
  demand.set_sequences(body.sequences);
  if (body.max_output_tokens) demand.set_max_output_tokens(*body.max_output_tokens);
  const std::optional<int64_t> counted = asked->prompt_tokens ? asked->prompt_tokens : body.prompt_tokens;
  if (counted) demand.set_prompt_tokens(*counted);
  Converter::Tokens tokens;
  if (auto refusal = converter_.ToRequest(asked->admit, caller_, request, &tokens)) return refusal;
  request->log_id = asked->request_id;
  request->trace = asked->trace;
  request->deadline = asked->deadline;
  if (!counted && body.prompts == 1 && body.prompt_bytes < kUnboundedPromptBytes) {
    asked->learns = converter_.models().Find(asked->admit.model());
    asked->prompt = {.source = tokens.source, .prompt_bytes = body.prompt_bytes, .charged_tokens = tokens.prompt};
  }
  return std::nullopt;
}

void GatewayReader::Learn(const GatewayRequest& asked, const UsageReader::Usage& usage) const {
  if (asked.learns == nullptr || !usage.prompt_tokens) return;
  TokenRatios::Sample sample = asked.prompt;
  sample.prompt_tokens = *usage.prompt_tokens;
  converter_.LearnPrompt(asked.learns->id, sample);
}

}  // namespace vramgate
