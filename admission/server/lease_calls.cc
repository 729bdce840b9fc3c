#include "admission/server/lease_calls.h"

#include <algorithm>
#include <optional>

#include "absl/strings/str_cat.h"
#include "admission/server/durations.h"
#include "admission/utf8.h"

namespace vramgate {

void ToAdmitResponse(const Converter& converter, const Decision& grant, std::string_view tenant,
                     v1::AdmitResponse* response) {
  converter.ToLease(grant, tenant, /*stream=*/false, response->mutable_lease());
  ToProto(grant.waited, response->mutable_queued_for());
}

void RenewLease(Controller& controller, const Converter& converter, const Caller& caller, const v1::Renewal& renewal,
                v1::RenewLeasesResponse* response) {
  const std::optional<LeaseId> id = ParseLeaseName(renewal.name());
  LeaseView view;
  const Gate::Renewal kept = id ? controller.Renew(*id, caller.id, &view) : Gate::Renewal::kLost;
  if (kept == Gate::Renewal::kLost) {
    response->add_lost(renewal.name());
    return;
  }
  if (renewal.revoke_ack()) {
    controller.RevokeAck(*id, caller.id);
    return;
  }
  if (renewal.has_usage()) {
    if (const auto costs = converter.ToCosts(renewal.usage(), converter.models().model(view.model), view.sequences)) {
      controller.Progress(*id, caller.id, *costs, Converter::OutputTokens(renewal.usage(), view.sequences));
    }
  }
  if (renewal.has_extend()) controller.Extend(*id, caller.id, std::max<int64_t>(0, renewal.extend().tokens()));
  const std::optional<LeaseView> now = controller.View(*id, caller.id);
  if (kept == Gate::Renewal::kRevoked || (now && now->revoking)) response->add_revoked(renewal.name());
  converter.ToLease(now.value_or(view), controller.Now(), response->add_leases());
}

grpc::Status ReleaseLease(Controller& controller, const Converter& converter, const Caller& caller,
                          const v1::ReleaseLeaseRequest& request, v1::ReleaseLeaseResponse* response) {
  const std::optional<LeaseId> id = ParseLeaseName(request.name());
  if (!id) {
    return converter.ToStatus(Refusal{Outcome::kRejectedInvalidRequest, "name",
                                      absl::StrCat(Quoted(request.name()), " is no lease: write leases/<id>")});
  }
  int64_t output_tokens = -1;
  if (request.end().usage().has_output_tokens()) {
    const std::optional<LeaseView> view = controller.View(*id, caller.id);
    if (view) output_tokens = Converter::OutputTokens(request.end().usage(), view->sequences);
  }
  response->set_already_released(!controller.Release(*id, caller.id, ToEndKind(request.end()), output_tokens));
  return grpc::Status::OK;
}

}  // namespace vramgate
