#include "admission/server/operator_service.h"

#include <algorithm>
#include <charconv>
#include <string>

#include "absl/strings/str_cat.h"
#include "admission/server/durations.h"
#include "admission/server/model_loads.h"
#include "admission/utf8.h"

namespace vramgate {
namespace {

constexpr int32_t kDefaultPage = 100;
constexpr int32_t kMostPage = 1000;

LeaseState Wanted(v1::Lease::State state) {
  switch (state) {
    case v1::Lease::WAITING:
      return LeaseState::kWaiting;
    case v1::Lease::HELD:
      return LeaseState::kHeld;
    case v1::Lease::LINGERING:
      return LeaseState::kLingering;
    default:
      return LeaseState::kFree;
  }
}

void ToStatus(const Snapshot::AccountView& view, Instant now, v1::AccountStatus* out) {
  const Account& account = view.account;
  out->set_account(account.name);
  out->set_capacity_bytes(account.capacity_bytes);
  out->set_fixed_bytes(account.fixed_bytes);
  out->set_reserved_bytes(account.reserved_bytes);
  out->set_lingering_bytes(account.lingering_bytes);
  out->set_foreign_bytes(account.foreign_bytes);
  out->set_over_bytes(view.over_bytes());
  out->set_held(account.held);
  out->set_waiting(view.waiting);
  out->set_context_bytes(account.context_bytes);
  out->set_stale(account.stale);
  out->set_total_bytes(account.total_bytes);
  if (account.read_at.ns > 0) ToProto(now - account.read_at, out->mutable_telemetry_age());
}

void ToStatus(const Snapshot::AssuranceView& view, const std::string& model, v1::AssuranceStatus* out) {
  out->set_model(model);
  out->set_instance(view.instance);
  out->set_assurance(std::string(AssuranceName(view.level)));
  out->set_in_force(std::string(AssuranceName(view.in_force)));
  out->set_late(view.late);
  out->set_silent(view.silent);
  out->set_risk(view.risk);
  out->set_rate(view.rate);
  out->set_rate_bound(view.bound);
  out->set_deviations(view.deviations);
  out->set_windows(view.windows);
}

}  // namespace

grpc::ServerUnaryReactor* OperatorServiceImpl::GetStatus(grpc::CallbackServerContext* context,
                                                         const v1::GetStatusRequest*, v1::GetStatusResponse* response) {
  const Snapshot snapshot = controller_.GetSnapshot();
  for (const Snapshot::AccountView& view : snapshot.accounts) ToStatus(view, snapshot.at, response->add_accounts());
  for (const Snapshot::AssuranceView& view : snapshot.assurances)
    ToStatus(view, snapshot.models[Index(view.model)].name, response->add_assurances());
  response->set_bottleneck(snapshot.bottleneck);
  response->set_draining(snapshot.draining);
  response->set_version(version_);
  response->set_config_generation(1);
  response->set_held(static_cast<int32_t>(snapshot.held));
  response->set_waiting(static_cast<int32_t>(snapshot.waiting));
  response->set_lingering(static_cast<int32_t>(snapshot.lingering));
  return Finished(context, grpc::Status::OK);
}

grpc::ServerUnaryReactor* OperatorServiceImpl::ListLeases(grpc::CallbackServerContext* context,
                                                          const v1::ListLeasesRequest* request,
                                                          v1::ListLeasesResponse* response) {
  size_t from = 0;
  const std::string& token = request->page_token();
  const auto [end, error] = std::from_chars(token.data(), token.data() + token.size(), from);
  if (!token.empty() && (error != std::errc() || end != token.data() + token.size())) {
    return Finished(context, converter_.ToStatus(Refusal{Outcome::kRejectedInvalidRequest, "page_token",
                                                         "not one of ours: give the last next_page_token, or none"}));
  }
  if (request->page_size() < 0) {
    return Finished(context, converter_.ToStatus(Refusal{Outcome::kRejectedInvalidRequest, "page_size", "negative"}));
  }
  const int32_t size = request->page_size() == 0 ? kDefaultPage : std::min(request->page_size(), kMostPage);
  size_t next = 0;
  const Instant now = controller_.Now();
  for (const LeaseView& view : controller_.List(from, static_cast<size_t>(size), Wanted(request->state()), &next)) {
    converter_.ToLease(view, now, response->add_leases());
  }
  if (next != 0) response->set_next_page_token(absl::StrCat(next));
  return Finished(context, grpc::Status::OK);
}

grpc::ServerUnaryReactor* OperatorServiceImpl::RevokeLease(grpc::CallbackServerContext* context,
                                                           const v1::RevokeLeaseRequest* request,
                                                           v1::RevokeLeaseResponse*) {
  const std::optional<LeaseId> id = ParseLeaseName(request->name());
  const absl::Duration grace = FromProto(request->grace());
  if (!id || grace < absl::ZeroDuration()) {
    return Finished(
        context, converter_.ToStatus(Refusal{Outcome::kRejectedInvalidRequest, id ? "grace" : "name",
                                             id ? "negative" : absl::StrCat(Quoted(request->name()), " is no lease")}));
  }
  if (!controller_.Revoke(*id, grace, request->reason())) {
    return Finished(context,
                    MakeStatus(grpc::StatusCode::NOT_FOUND, absl::StrCat(request->name(), ": no such lease"), {}));
  }
  return Finished(context, grpc::Status::OK);
}

grpc::ServerUnaryReactor* OperatorServiceImpl::LoadModel(grpc::CallbackServerContext* context,
                                                         const v1::LoadModelRequest* request,
                                                         v1::LoadModelResponse* response) {
  return Finished(context, vramgate::LoadModel(controller_, converter_, *request, response));
}

grpc::ServerUnaryReactor* OperatorServiceImpl::UnloadModel(grpc::CallbackServerContext* context,
                                                           const v1::UnloadModelRequest* request,
                                                           v1::UnloadModelResponse* response) {
  return Finished(context, vramgate::UnloadModel(controller_, converter_, *request, response));
}

// Asks every holder to stop within `grace`.
void OperatorServiceImpl::RevokeAll(absl::Duration grace) {
  size_t next = 0;
  do {
    for (const LeaseView& view : controller_.List(next, kMostPage, LeaseState::kHeld, &next)) {
      controller_.Revoke(view.id, grace, "draining");
    }
  } while (next != 0);
}

grpc::ServerUnaryReactor* OperatorServiceImpl::Drain(grpc::CallbackServerContext* context,
                                                     const v1::DrainRequest* request, v1::DrainResponse* response) {
  if (FromProto(request->grace()) < absl::ZeroDuration()) {
    return Finished(context, converter_.ToStatus(Refusal{Outcome::kRejectedInvalidRequest, "grace", "negative"}));
  }
  const Snapshot before = controller_.GetSnapshot();
  controller_.Drain();
  if (request->has_grace()) RevokeAll(FromProto(request->grace()));
  response->set_held(static_cast<int32_t>(before.held));
  response->set_waiting(static_cast<int32_t>(before.waiting));
  return Finished(context, grpc::Status::OK);
}

}  // namespace vramgate
