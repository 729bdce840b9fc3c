#include "admission/server/step_reports.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace vramgate {
namespace {

constexpr int kMostReports = 100'000;  // ended and emitted, in one message
constexpr size_t kMostInstances = 64;  // of one stream

Refusal Invalid(std::string_view field, std::string message) {
  return {Outcome::kRejectedInvalidRequest, std::string(field), std::move(message)};
}

// nullopt: it is no lease's name, and stands in the answer as lost.
std::optional<LeaseId> Named(const std::string& name, v1::StepAnswer* answer) {
  const std::optional<LeaseId> id = ParseLeaseName(name);
  if (!id) answer->add_lost(name);
  return id;
}

}  // namespace

std::optional<Refusal> StepReports::Take(const v1::StepReport& report, v1::StepAnswer* answer) {
  const ServedModel* model = converter_.models().Find(report.model());
  if (model == nullptr) return Refusal{Outcome::kRejectedUnknownModel, "model", "names no model that is served here"};
  const ServedModel::Instance* instance = model->FindInstance(report.instance());
  if (instance == nullptr) {
    return Refusal{Outcome::kRejectedUnknownModel, "instance", absl::StrCat("names no instance of ", model->name)};
  }
  if (report.steps() < 0) return Invalid("steps", "negative");
  if (report.ended_size() + report.emitted_size() > kMostReports) {
    return Invalid("ended", absl::StrCat("with emitted, at most ", kMostReports, " in one message"));
  }
  if (std::find(reported_.begin(), reported_.end(), instance->id) == reported_.end()) {
    if (reported_.size() == kMostInstances) return Invalid("instance", "too many for one stream");
    reported_.push_back(instance->id);
  }
  answer->Clear();
  ended_.clear();
  emitted_.clear();
  for (const v1::StepReport::Progress& ended : report.ended()) {
    if (const auto id = Named(ended.lease(), answer))
      ended_.push_back({{*id}, std::max<int64_t>(-1, ended.output_tokens())});
  }
  for (const v1::StepReport::Progress& emitted : report.emitted()) {
    if (emitted.output_tokens() < 0) return Invalid("emitted.output_tokens", "negative");
    if (const auto id = Named(emitted.lease(), answer)) emitted_.push_back({*id, emitted.output_tokens()});
  }
  std::vector<LeaseId> stop;
  std::vector<LeaseId> lost;
  controller_.Step(instance->id,
                   {.steps = report.steps(), .ended = ended_, .emitted = emitted_, .connection = connection_}, &stop,
                   &lost);
  for (const LeaseId id : stop) answer->add_stop(LeaseName(id));
  for (const LeaseId id : lost) answer->add_lost(LeaseName(id));
  return std::nullopt;
}

void StepReports::End() {
  for (const InstanceId instance : reported_) controller_.StepsEnd(instance);
  reported_.clear();
}

}  // namespace vramgate
