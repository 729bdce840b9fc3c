// AdmissionService.ReportSteps: an engine's plugin says what its steps did.
#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "admission/server/admission_service.h"

namespace vramgate {
namespace {

constexpr int kMostReports = 100'000;  // ended and emitted, in one message
constexpr size_t kMostInstances = 64;  // of one stream

class StepsCall final : public grpc::ServerBidiReactor<v1::StepReport, v1::StepAnswer> {
 public:
  StepsCall(Controller& controller, const Converter& converter, StreamLimit& streams, const Caller& caller)
      : controller_(controller), converter_(converter), ticket_(streams) {
    if (!ticket_.taken()) {
      Finish(converter_.ToStatus(TooManyStreams()));
    } else if (!caller.trusted_cost) {
      Finish(MakeStatus(grpc::StatusCode::PERMISSION_DENIED,
                        "steps lower what requests are charged: name this listener in trusted_cost to report them",
                        {.reason = "INVALID_REQUEST"}));
    } else {
      StartRead(&report_);
    }
  }

  void OnReadDone(bool ok) override {
    if (!ok) return Finish(grpc::Status::OK);
    if (const std::optional<Refusal> refusal = Report()) return Finish(converter_.ToStatus(*refusal));
    StartWrite(&answer_);
  }
  void OnWriteDone(bool ok) override {
    if (ok) return StartRead(&report_);
    Finish(grpc::Status::CANCELLED);
  }
  void OnDone() override {
    for (const InstanceId instance : reported_) controller_.StepsEnd(instance);
    delete this;
  }

 private:
  static Refusal Invalid(std::string_view field, std::string message) {
    return {Outcome::kRejectedInvalidRequest, std::string(field), std::move(message)};
  }
  // nullopt: it is no lease's name, and stands in the answer as lost.
  std::optional<LeaseId> Named(const std::string& name) {
    const std::optional<LeaseId> id = ParseLeaseName(name);
    if (!id) answer_.add_lost(name);
    return id;
  }
  std::optional<Refusal> Report();

  Controller& controller_;
  const Converter& converter_;
  const StreamLimit::Ticket ticket_;
  std::vector<InstanceId> reported_;  // by this stream; no duplicates
  std::vector<Gate::StepReport::Ended> ended_;
  std::vector<Gate::StepReport::Emitted> emitted_;
  v1::StepReport report_;
  v1::StepAnswer answer_;
};

// nullopt: it was done, and answer_ is the answer.
std::optional<Refusal> StepsCall::Report() {
  const ServedModel* model = converter_.models().Find(report_.model());
  if (model == nullptr) return Refusal{Outcome::kRejectedUnknownModel, "model", "names no model that is served here"};
  const ServedModel::Instance* instance = model->FindInstance(report_.instance());
  if (instance == nullptr) {
    return Refusal{Outcome::kRejectedUnknownModel, "instance", absl::StrCat("names no instance of ", model->name)};
  }
  if (report_.steps() < 0) return Invalid("steps", "negative");
  if (report_.ended_size() + report_.emitted_size() > kMostReports) {
    return Invalid("ended", absl::StrCat("with emitted, at most ", kMostReports, " in one message"));
  }
  if (std::find(reported_.begin(), reported_.end(), instance->id) == reported_.end()) {
    if (reported_.size() == kMostInstances) return Invalid("instance", "too many for one stream");
    reported_.push_back(instance->id);
  }
  answer_.Clear();
  ended_.clear();
  emitted_.clear();
  for (const v1::StepReport::Progress& ended : report_.ended()) {
    if (const auto id = Named(ended.lease())) ended_.push_back({{*id}, std::max<int64_t>(-1, ended.output_tokens())});
  }
  for (const v1::StepReport::Progress& emitted : report_.emitted()) {
    if (emitted.output_tokens() < 0) return Invalid("emitted.output_tokens", "negative");
    if (const auto id = Named(emitted.lease())) emitted_.push_back({*id, emitted.output_tokens()});
  }
  std::vector<LeaseId> stop;
  std::vector<LeaseId> lost;
  controller_.Step(instance->id, {.steps = report_.steps(), .ended = ended_, .emitted = emitted_}, &stop, &lost);
  for (const LeaseId id : stop) answer_.add_stop(LeaseName(id));
  for (const LeaseId id : lost) answer_.add_lost(LeaseName(id));
  return std::nullopt;
}

}  // namespace

grpc::ServerBidiReactor<v1::StepReport, v1::StepAnswer>* AdmissionServiceImpl::ReportSteps(
    grpc::CallbackServerContext*) {
  return new StepsCall(controller_, converter_, streams_, caller_);
}

}  // namespace vramgate
