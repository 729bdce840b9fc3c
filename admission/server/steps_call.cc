// AdmissionService.ReportSteps: an engine's plugin says what its steps did.
#include <optional>

#include "admission/server/admission_service.h"
#include "admission/server/step_reports.h"

namespace vramgate {
namespace {

class StepsCall final : public grpc::ServerBidiReactor<v1::StepReport, v1::StepAnswer> {
 public:
  StepsCall(Controller& controller, const Converter& converter, StreamLimit& streams, const Caller& caller)
      : converter_(converter), ticket_(streams), reports_(controller, converter) {
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
    if (const std::optional<Refusal> refusal = reports_.Take(report_, &answer_))
      return Finish(converter_.ToStatus(*refusal));
    StartWrite(&answer_);
  }
  void OnWriteDone(bool ok) override {
    if (ok) return StartRead(&report_);
    Finish(grpc::Status::CANCELLED);
  }
  void OnDone() override {
    reports_.End();
    delete this;
  }

 private:
  const Converter& converter_;
  const StreamLimit::Ticket ticket_;
  StepReports reports_;
  v1::StepReport report_;
  v1::StepAnswer answer_;
};

}  // namespace

grpc::ServerBidiReactor<v1::StepReport, v1::StepAnswer>* AdmissionServiceImpl::ReportSteps(
    grpc::CallbackServerContext*) {
  return new StepsCall(controller_, converter_, streams_, caller_);
}

}  // namespace vramgate
