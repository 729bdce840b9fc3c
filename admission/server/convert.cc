#include "admission/server/convert.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "admission/estimator/estimate.h"
#include "admission/server/durations.h"
#include "admission/units.h"
#include "admission/utf8.h"

namespace vramgate {
namespace {

constexpr int64_t kMostTokens = int64_t{1} << 40;  // no context is longer; sums of these cannot overflow
constexpr int64_t kMostSequences = 4096;
constexpr int kMostLabels = 64;

Refusal Invalid(std::string_view field, std::string message) {
  return {Outcome::kRejectedInvalidRequest, std::string(field), std::move(message)};
}

bool Malformed(const google::protobuf::Duration& d) {
  return d.seconds() < 0 || d.nanos() < 0 || d.nanos() > 999'999'999;
}

// The bytes of `total` that fall on each of `ranks` devices, rounded up.
int64_t PerRank(int64_t total_bytes, int64_t ranks) {
  return total_bytes / ranks + (total_bytes % ranks != 0 ? 1 : 0);
}

}  // namespace

Converter::Converter(const ModelTable& models, const Controller& controller, const v1::Config& config)
    : models_(models),
      controller_(controller),
      ratios_(std::make_unique<TokenRatios>(models.models().size())),
      most_id_bytes_(static_cast<size_t>(config.limits().request_id_bytes())),
      confirm_within_(FromProto(config.leases().confirm_within())),
      ttl_(FromProto(config.leases().ttl())) {}

std::optional<Refusal> Converter::CheckIds(const v1::AdmitRequest& in) const {
  const std::pair<const char*, const std::string*> ids[] = {{"request_id", &in.request_id()},
                                                            {"model", &in.model()},
                                                            {"tenant", &in.tenant()},
                                                            {"instance", &in.instance()},
                                                            {"route", &in.route()}};
  for (const auto& [field, id] : ids) {
    if (id->size() > most_id_bytes_) {
      return Invalid(field, absl::StrCat(id->size(), " bytes are over the limit of ", most_id_bytes_, ": shorten it"));
    }
    // Protobuf itself refuses ill-formed UTF-8 in what comes by gRPC; other doors come here too.
    if (!IsValidUtf8(*id)) return Invalid(field, "not valid UTF-8");
  }
  if (in.labels_size() > kMostLabels)
    return Invalid("labels", absl::StrCat(in.labels_size(), ": at most ", kMostLabels));
  for (const auto& [key, value] : in.labels()) {
    if (key.size() > most_id_bytes_ || value.size() > most_id_bytes_) {
      return Invalid("labels", absl::StrCat("a key or value is over the limit of ", most_id_bytes_, " bytes"));
    }
  }
  return std::nullopt;
}

std::optional<Refusal> Converter::CountTokens(const v1::Demand& demand, const ServedModel& model,
                                              Tokens* tokens) const {
  const std::pair<const char*, std::optional<int64_t>> counts[] = {
      {"demand.prompt_tokens", demand.has_prompt_tokens() ? std::optional(demand.prompt_tokens()) : std::nullopt},
      {"demand.prompt_bytes", demand.has_prompt_bytes() ? std::optional(demand.prompt_bytes()) : std::nullopt},
      {"demand.cached_prefix_tokens",
       demand.has_cached_prefix_tokens() ? std::optional(demand.cached_prefix_tokens()) : std::nullopt}};
  for (const auto& [field, count] : counts) {
    if (count && (*count < 0 || *count > kMostTokens))
      return Invalid(field, absl::StrCat(*count, " is not within 0 and ", kMostTokens));
  }
  if (demand.has_prompt_tokens()) {
    tokens->prompt = demand.prompt_tokens();
    tokens->source = PromptSource::kGiven;
    if (tokens->prompt == 0) return Invalid("demand.prompt_tokens", "0: a prompt has at least one token");
  } else if (demand.has_prompt_bytes()) {
    const double bound = std::ceil(static_cast<double>(demand.prompt_bytes()) * model.tokens_per_byte);
    tokens->source = PromptSource::kBound;
    tokens->prompt = static_cast<int64_t>(std::clamp(bound, 1.0, static_cast<double>(model.max_model_len - 1)));
    if (const auto learned = ratios_->TokensFor(model.id, demand.prompt_bytes()); model.calibrated && learned) {
      if (*learned < tokens->prompt) tokens->source = PromptSource::kCalibrated;
      tokens->prompt = std::min(tokens->prompt, *learned);
    }
  } else {
    return Invalid("demand.prompt_tokens", "missing: give prompt_tokens, or prompt_bytes as a bound");
  }
  if (tokens->prompt >= model.max_model_len) {
    return Refusal{
        Outcome::kRejectedNeverFits, "demand.prompt_tokens",
        absl::StrCat(tokens->prompt, " tokens leave no room for an answer within the model's ", model.max_model_len)};
  }
  const int64_t room = model.max_model_len - tokens->prompt;
  if (!demand.has_max_output_tokens()) {
    tokens->output = std::min(room, model.default_max_output_tokens.value_or(room));
  } else if (demand.max_output_tokens() <= 0 || demand.max_output_tokens() > kMostTokens) {
    return Invalid("demand.max_output_tokens",
                   absl::StrCat(demand.max_output_tokens(), " is not within 1 and ", kMostTokens));
  } else {
    tokens->output = std::min(room, demand.max_output_tokens());  // the engine stops at max_model_len
  }
  tokens->sequences = demand.has_sequences() ? demand.sequences() : 1;
  if (tokens->sequences < 1 || tokens->sequences > kMostSequences) {
    return Invalid("demand.sequences", absl::StrCat(tokens->sequences, " is not within 1 and ", kMostSequences));
  }
  return std::nullopt;
}

// The model's price, and what the caller says of it: anybody may raise it, those in trusted_cost may lower it.
std::optional<Refusal> Converter::Price(const v1::Demand& demand, const ServedModel& model, bool trusted,
                                        const Tokens& tokens, Request* request) const {
  int64_t prompt = tokens.prompt;
  if (trusted && demand.has_cached_prefix_tokens()) prompt -= std::min(prompt - 1, demand.cached_prefix_tokens());
  request->costs = model.Price(prompt, tokens.output, tokens.sequences);
  request->max_output_tokens = tokens.output;
  request->prompt_tokens = prompt;
  request->start_costs = model.StartPrice(prompt, tokens.sequences);
  if (!demand.has_vram_bytes()) return std::nullopt;
  if (demand.vram_bytes() <= 0) {
    return Invalid("demand.vram_bytes",
                   absl::StrCat(demand.vram_bytes(), " bytes: leave it out, or say what the request takes"));
  }
  for (size_t c = 0; c < model.classes.size(); ++c) {
    RankCost& cost = request->costs[c];
    const int64_t claimed = PerRank(demand.vram_bytes(), model.classes[c].options().tensor_parallel);
    const int64_t kv_claimed = std::max<int64_t>(0, claimed - cost.activation_bytes);
    cost.kv_bytes = trusted ? kv_claimed : std::max(cost.kv_bytes, kv_claimed);
    if (trusted) cost.activation_bytes = std::min(cost.activation_bytes, claimed);
  }
  // How such bytes come about is not known: they are held from the start.
  request->prompt_tokens = 0;
  request->start_costs = request->costs;
  return std::nullopt;
}

std::optional<Refusal> Converter::ToRequest(const v1::AdmitRequest& in, const Caller& caller, Request* request,
                                            Tokens* out) const {
  if (auto refusal = CheckIds(in)) return refusal;
  if (in.model().empty()) return Invalid("model", "missing: name one of the config's models");
  const ServedModel* model = models_.Find(in.model());
  if (model == nullptr) {
    return Refusal{Outcome::kRejectedUnknownModel, "model", absl::StrCat(Quoted(in.model()), " is not served here")};
  }
  if (in.priority() > kMaxPriority || in.priority() < -kMaxPriority) {
    return Invalid("priority", absl::StrCat(in.priority(), " is not within -", kMaxPriority, " and ", kMaxPriority));
  }
  if (in.has_max_wait() && Malformed(in.max_wait())) return Invalid("max_wait", "negative or malformed");
  if (in.has_lease_ttl() && (Malformed(in.lease_ttl()) || FromProto(in.lease_ttl()) <= absl::ZeroDuration())) {
    return Invalid("lease_ttl", "must be more than 0");
  }
  Tokens tokens;
  if (auto refusal = CountTokens(in.demand(), *model, &tokens)) return refusal;
  request->request_id = in.request_id();
  request->caller = caller.id;
  request->tenant = in.tenant();
  request->route = in.route();
  request->model = model->id;
  request->instance = kAnyInstance;
  if (!in.instance().empty()) {
    const ServedModel::Instance* instance = model->FindInstance(in.instance());
    if (instance == nullptr) {
      return Refusal{Outcome::kRejectedUnknownModel, "instance",
                     absl::StrCat("model ", model->name, " has no instance ", Quoted(in.instance()))};
    }
    request->instance = instance->id;
  }
  request->priority = in.priority();
  request->prompt_source = tokens.source;
  if (auto refusal = Price(in.demand(), *model, caller.trusted_cost, tokens, request)) return refusal;
  request->tokens = (tokens.prompt + tokens.output) * tokens.sequences;
  request->sequences = static_cast<int32_t>(tokens.sequences);
  request->revocable = in.revocable();
  request->max_wait = in.has_max_wait() ? FromProto(in.max_wait()) : absl::InfiniteDuration();
  // A caller may ask for a shorter TTL than the config's, or up to an hour: bytes of dead callers must come back.
  if (in.has_lease_ttl()) request->ttl = std::min(FromProto(in.lease_ttl()), std::max(ttl_, absl::Hours(1)));
  request->drain = model->DrainTime(tokens.output);
  if (out != nullptr) *out = tokens;
  return std::nullopt;
}

std::optional<Costs> Converter::ToCosts(const v1::Usage& usage, const ServedModel& model, int32_t sequences) const {
  const int64_t prompt = usage.has_prompt_tokens() ? usage.prompt_tokens() : 0;
  const int64_t output = usage.has_output_tokens() ? usage.output_tokens() : 0;
  if (prompt < 0 || output < 0 || prompt > kMostTokens || output > kMostTokens) return std::nullopt;
  // Each sequence keeps the prompt; how the output spreads over them is not told: evenly.
  return model.Price(prompt, output / sequences + (output % sequences != 0 ? 1 : 0), sequences);
}

int64_t Converter::OutputTokens(const v1::Usage& usage, int32_t sequences) {
  if (!usage.has_output_tokens() || usage.output_tokens() < 0 || usage.output_tokens() > kMostTokens) return -1;
  return usage.output_tokens() / sequences + (usage.output_tokens() % sequences != 0 ? 1 : 0);
}

void Converter::AddCharges(const ServedModel::Instance& instance, const RankCost& cost, v1::Lease* out) {
  for (const std::string& device : instance.devices) {
    v1::DeviceCharge* charge = out->add_charges();
    charge->set_device(device);
    int64_t bytes = 0;  // a price that can never fit saturates
    if (__builtin_add_overflow(cost.kv_bytes, cost.activation_bytes, &bytes))
      bytes = std::numeric_limits<int64_t>::max();
    charge->set_vram_bytes(bytes);
  }
}

void Converter::ToLease(const Decision& decision, std::string_view tenant, bool stream, v1::Lease* out) const {
  const ServedModel& model = models_.model(decision.model);
  const ServedModel::Instance& instance = models_.instance(decision.instance);
  const absl::Time wall = absl::Now();
  out->set_name(LeaseName(decision.lease.id));
  out->set_state(v1::Lease::HELD);
  out->set_instance(instance.name);
  AddCharges(instance, decision.cost, out);
  out->set_model(model.name);
  out->set_tenant(std::string(tenant));
  out->set_assurance(std::string(AssuranceName(model.assurance.level)));
  out->set_granted_tokens(decision.granted_tokens);
  out->set_revocable(decision.revocable);
  out->set_prompt_tokens(decision.prompt_tokens);
  out->set_prompt_tokens_source(std::string(PromptSourceName(decision.prompt_source)));
  ToProto(wall, out->mutable_grant_time());
  if (stream) return;
  ToProto(wall + confirm_within_, out->mutable_expire_time());
  ToProto(std::min(confirm_within_, ttl_) / 3, out->mutable_renew_interval());
}

void Converter::ToLease(const LeaseView& view, Instant now, v1::Lease* out) const {
  const ServedModel& model = models_.model(view.model);
  const absl::Time wall = absl::Now();
  out->set_name(LeaseName(view.id));
  switch (view.state) {
    case LeaseState::kWaiting:
    case LeaseState::kPlaceKept:
      out->set_state(v1::Lease::WAITING);
      break;
    case LeaseState::kHeld:
      out->set_state(v1::Lease::HELD);
      break;
    case LeaseState::kLingering:
      out->set_state(v1::Lease::LINGERING);
      break;
    case LeaseState::kFree:
      break;
  }
  const bool holds = view.instance != kAnyInstance;
  const ServedModel::Instance& instance = holds ? models_.instance(view.instance) : model.instances.front();
  if (holds) out->set_instance(instance.name);
  AddCharges(instance, view.cost, out);
  out->set_model(model.name);
  out->set_tenant(view.tenant);
  out->set_assurance(std::string(AssuranceName(model.assurance.level)));
  out->set_granted_tokens(view.granted_tokens);
  out->set_revocable(view.revocable);
  if (holds) ToProto(wall - (now - view.granted), out->mutable_grant_time());
  if (view.expires != kNever) ToProto(wall + (view.expires - now), out->mutable_expire_time());
  if (view.state == LeaseState::kHeld && view.expires != kNever) ToProto(ttl_ / 3, out->mutable_renew_interval());
}

const ServedModel::Instance& Converter::FirstAlternative(const Request& request) const {
  if (request.instance != kAnyInstance) return models_.instance(request.instance);
  return models_.model(request.model).instances.front();
}

void Converter::ToPriced(const Request& request, v1::Lease* out) const {
  const ServedModel::Instance& instance = FirstAlternative(request);
  out->set_instance(instance.name);
  out->set_model(models_.model(request.model).name);
  out->set_tenant(std::string(request.tenant));
  out->set_assurance(std::string(AssuranceName(models_.model(request.model).assurance.level)));
  AddCharges(instance, request.costs[static_cast<size_t>(instance.price_class)], out);
}

grpc::Status Converter::ToEstimate(const Request& request, const Tokens& tokens, const Gate::WhatIf& what_if,
                                   v1::EstimateResponse* out) const {
  const ServedModel::Instance& instance = FirstAlternative(request);
  const CostTable& table = models_.model(request.model).classes[static_cast<size_t>(instance.price_class)];
  const absl::StatusOr<vramgate::Estimate> card = EstimateCard(
      table, {.prompt_tokens = tokens.prompt, .output_tokens = tokens.output, .sequences = tokens.sequences});
  if (!card.ok()) {
    return ToStatus(Refusal{Outcome::kRejectedNeverFits, "demand", std::string(card.status().message())});
  }
  const RankCost& cost = request.costs[static_cast<size_t>(instance.price_class)];
  const auto devices = static_cast<int64_t>(instance.devices.size());
  int64_t total = 0;
  if (__builtin_add_overflow(cost.kv_bytes, cost.activation_bytes, &total) ||
      __builtin_mul_overflow(total, devices, &total)) {
    total = std::numeric_limits<int64_t>::max();
  }
  out->set_vram_bytes(total);
  for (const vramgate::Term& term : card->terms) {
    v1::Term* added = out->add_terms();
    added->set_name(term.name);
    added->set_bytes(term.bytes);
    added->set_formula(term.formula);
    added->set_per_request(term.per_request);
  }
  out->set_quality(std::string(QualityName(card->quality)));
  out->set_fits_now(what_if.fits_now);
  out->set_fits_ever(what_if.fits_ever);
  if (what_if.estimated_wait) ToProto(*what_if.estimated_wait, out->mutable_estimated_wait());
  return grpc::Status::OK;
}

void Converter::ToQueued(const QueuePosition& position, v1::Queued* out) {
  out->set_position(position.position);
  out->set_ahead_total(position.ahead_total);
  if (position.estimated_wait) ToProto(*position.estimated_wait, out->mutable_estimated_wait());
}

Gate::EndKind ToEndKind(const v1::EndReport& end) {
  switch (end.reason()) {
    case v1::EndReport::CLIENT_GONE:
      return Gate::EndKind::kClientGone;
    case v1::EndReport::BACKEND_ERROR:
    case v1::EndReport::BACKEND_OUT_OF_MEMORY:
      return Gate::EndKind::kFailed;
    default:
      return Gate::EndKind::kCompleted;  // an enum of proto3 is open: what is not known is no reason to keep bytes
  }
}

}  // namespace vramgate
