// What an engine's plugin reports of its steps, whatever carries it: validated, given to the gate, answered.
//
//   StepReports reports(controller, converter, connection);
//   if (std::optional<Refusal> refusal = reports.Take(report, &answer)) ...   // else `answer` is the answer
//   reports.End();                              // nobody will report any more: the instances count as silent
//
// Used by ReportSteps' reactor and the plugin socket. Thread rule: one thread at a time. Lifetime rule: what is passed
// in outlives it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "admission/gate/controller.h"
#include "admission/server/convert.h"

namespace vramgate {

class StepReports {
 public:
  // `connection`: whose end is that of the engine's process; 0: there is none such.
  StepReports(Controller& controller, const Converter& converter, uint64_t connection = 0)
      : controller_(controller), converter_(converter), connection_(connection) {}

  // nullopt: it was done, and *answer, which is cleared first, is the answer.
  std::optional<Refusal> Take(const v1::StepReport& report, v1::StepAnswer* answer);
  // Later calls do nothing.
  void End();

 private:
  Controller& controller_;
  const Converter& converter_;
  const uint64_t connection_;
  std::vector<InstanceId> reported_;  // no duplicates
  std::vector<Gate::StepReport::Ended> ended_;
  std::vector<Gate::StepReport::Emitted> emitted_;
};

}  // namespace vramgate
