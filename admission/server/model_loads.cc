#include "admission/server/model_loads.h"

#include <string>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "admission/units.h"
#include "admission/utf8.h"

namespace vramgate {
namespace {

struct Named {
  const ServedModel* model = nullptr;
  const ServedModel::Instance* instance = nullptr;
  Refusal refusal;  // where there is none
};

Named Find(const Converter& converter, std::string_view model_name, std::string_view instance_name) {
  Named named{.model = converter.models().Find(model_name)};
  if (named.model == nullptr) {
    named.refusal = {Outcome::kRejectedUnknownModel, "model",
                     absl::StrCat(Quoted(model_name), " is not in the config")};
    return named;
  }
  if (!instance_name.empty()) {
    named.instance = named.model->FindInstance(instance_name);
    if (named.instance == nullptr) {
      named.refusal = {Outcome::kRejectedUnknownModel, "instance",
                       absl::StrCat(Quoted(instance_name), " is no instance of the model")};
    }
  } else if (named.model->instances.size() == 1) {
    named.instance = &named.model->instances.front();
  } else {
    named.refusal = {Outcome::kRejectedInvalidRequest, "instance", "the model has several: name one"};
  }
  return named;
}

grpc::Status Refused(const Controller& controller, const Named& named, const Gate::LoadAnswer& answer) {
  const std::string what = absl::StrCat(named.model->name, "/", named.instance->name, " (",
                                        FormatBytes(answer.fixed_bytes), " on each device)");
  if (answer.lacking == kNoAccount) {
    return MakeStatus(grpc::StatusCode::UNAVAILABLE, "shutting down: nothing is loaded any more",
                      {.reason = OutcomeReason(Outcome::kRejectedDraining), .retry_after = kDefaultRetryAfter});
  }
  const std::string device = controller.GetAccount(answer.lacking).name;
  if (answer.stale) {
    return MakeStatus(grpc::StatusCode::UNAVAILABLE,
                      absl::StrCat("no fresh memory reading of ", device, ": ", what, " is not loaded blind"),
                      {.reason = OutcomeReason(Outcome::kRejectedTelemetryStale), .retry_after = kDefaultRetryAfter});
  }
  const std::string lacks = absl::StrCat(device, " lacks ", FormatBytes(answer.missing_bytes),
                                         " for the weights, overhead, ", "activation and pool of ", what);
  if (!answer.ever) {
    return MakeStatus(grpc::StatusCode::FAILED_PRECONDITION,
                      absl::StrCat(lacks, ", and would lack them empty: use more devices, or a smaller kv_pool"),
                      {.reason = OutcomeReason(Outcome::kRejectedNeverFits)});
  }
  return MakeStatus(grpc::StatusCode::RESOURCE_EXHAUSTED,
                    absl::StrCat(lacks, ": unload another model, or wait for leases"),
                    {.reason = OutcomeReason(Outcome::kRejectedBudgetExhausted), .retry_after = kDefaultRetryAfter});
}

}  // namespace

grpc::Status LoadModel(Controller& controller, const Converter& converter, const v1::LoadModelRequest& request,
                       v1::LoadModelResponse* response) {
  const Named named = Find(converter, request.model(), request.instance());
  if (named.instance == nullptr) return converter.ToStatus(named.refusal);
  const Gate::LoadAnswer answer = controller.Load(named.instance->id);
  if (!answer.loaded) return Refused(controller, named, answer);
  for (const std::string& device : named.instance->devices) {
    v1::DeviceCharge& charge = *response->add_charges();
    charge.set_device(device);
    charge.set_vram_bytes(answer.fixed_bytes);
  }
  response->set_fixed_bytes(answer.fixed_bytes * std::ssize(named.instance->devices));
  return grpc::Status::OK;
}

grpc::Status UnloadModel(Controller& controller, const Converter& converter, const v1::UnloadModelRequest& request,
                         v1::UnloadModelResponse* response) {
  const Named named = Find(converter, request.model(), request.instance());
  if (named.instance == nullptr) return converter.ToStatus(named.refusal);
  const int64_t leases = controller.Unload(named.instance->id);
  response->set_leases(static_cast<int32_t>(leases));
  response->set_draining(leases > 0);
  return grpc::Status::OK;
}

}  // namespace vramgate
