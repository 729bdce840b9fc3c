// What `vramgate estimate` answers, for scripts and for people.
#pragma once

#include <string>
#include <vector>

#include "admission/cli/estimate_question.h"
#include "admission/estimator/deployment.h"

namespace vramgate {

struct Answer {
  Question question;
  Deployment deployment;
};

// One object for one model; for several {"models": [...], "total_bytes", "fits"}.
std::string EstimateJson(const std::vector<Answer>& answers);

// The bar of the card, every term with its formula, what fits and what would make it fit.
std::string EstimateText(const std::vector<Answer>& answers);

}  // namespace vramgate
