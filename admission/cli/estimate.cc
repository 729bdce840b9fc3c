#include "admission/cli/estimate.h"

#include <iostream>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "admission/cli/estimate_question.h"
#include "admission/cli/estimate_report.h"
#include "admission/cli/flag_reader.h"

namespace vramgate {
namespace {

absl::Status Run(const EstimateFlags& flags) {
  absl::StatusOr<std::vector<Question>> questions = ReadQuestions(flags);
  if (!questions.ok()) return questions.status();
  std::vector<Answer> answers;
  for (Question& question : *questions) {
    absl::StatusOr<Deployment> deployment = Deploy(question.shape, question.options);
    if (!deployment.ok()) return deployment.status();
    answers.push_back({std::move(question), *std::move(deployment)});
  }
  std::cout << (flags.format == "json" ? EstimateJson(answers) : EstimateText(answers));
  return absl::OkStatus();
}

}  // namespace

Command EstimateCommand() {
  const auto flags = std::make_shared<EstimateFlags>();
  return {
      .name = "estimate",
      .help = "What a model and its requests take on a device, term by term",
      .flags = FlagsOf(*flags),
      .run =
          [flags](const Command& command) {
            const absl::Status status = Run(*flags);
            if (status.ok()) return ExitCode::kDone;
            const absl::string_view message = status.message();
            std::cerr << "estimate: " << WithFlagNames(command, {message.data(), message.size()}) << "\n";
            return ExitCode::kUsage;
          },
  };
}

}  // namespace vramgate
