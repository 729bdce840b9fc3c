#include "admission/server/gateway_metrics.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "admission/server/metric_family.h"

namespace vramgate {

using prometheus::MetricType;

void AddPromptRatios(const Snapshot& snapshot, const std::function<TokenRatios::View(ModelId)>& prompts,
                     std::vector<prometheus::MetricFamily>& out) {
  MetricFamilyBuilder ratios("vramgate_prompt_tokens_ratio",
                             "Prompt tokens that the engine counted, over those that were charged, where only bytes "
                             "were known: above 1, too few were charged.",
                             MetricType::Histogram, {"model", "source"});
  MetricFamilyBuilder learned(
      "vramgate_prompt_tokens_per_byte",
      "Tokens a byte that `prompt_tokens: calibrated` charges, by the prompt's size. No series: "
      "too little is known.",
      MetricType::Gauge, {"model", "up_to_bytes"});
  for (size_t m = 0; m < snapshot.models.size(); ++m) {
    const std::string& model = snapshot.models[m].name;
    const TokenRatios::View view = prompts(ModelId{static_cast<int32_t>(m)});
    for (const PromptSource source : {PromptSource::kBound, PromptSource::kCalibrated}) {
      AddBuckets(kPromptRatioBounds, view.ratios[static_cast<size_t>(source)],
                 ratios.At({model, std::string(PromptSourceName(source))}).histogram);
    }
    for (size_t c = 0; c < TokenRatios::kClasses; ++c) {
      if (view.tokens_per_byte[c] == 0) continue;
      const bool last = c + 1 == TokenRatios::kClasses;
      learned.At({model, last ? "+Inf" : absl::StrCat(TokenRatios::kClassBytes[c])}).gauge.value =
          view.tokens_per_byte[c];
    }
  }
  out.push_back(ratios.Build());
  out.push_back(learned.Build());
}

void AddGateways(const std::vector<std::shared_ptr<const GatewayCounters>>& listeners,
                 std::vector<prometheus::MetricFamily>& out) {
  using Header = GatewayCounters::Header;
  using Use = GatewayCounters::Use;
  MetricFamilyBuilder requests("vramgate_gateway_requests_total",
                               "HTTP requests that gateways sent on, by how their bodies are read; none: not gated, "
                               "unpriced: refused.",
                               MetricType::Counter, {"endpoint"});
  MetricFamilyBuilder headers("vramgate_gateway_headers_total",
                              "Headers of HTTP requests that say who asks and how urgently, by what was made of them.",
                              MetricType::Counter, {"header", "use"});
  for (const std::shared_ptr<const GatewayCounters>& counters : listeners) {
    for (size_t e = 0; e < kEndpoints; ++e) {
      const auto endpoint = static_cast<Endpoint>(e);
      requests.At({std::string(EndpointName(endpoint))}).counter.value +=
          static_cast<double>(counters->count(endpoint));
    }
    for (const Header header : {Header::kTenant, Header::kPriority, Header::kTimeout, Header::kPromptTokens}) {
      for (const Use use : {Use::kUsed, Use::kUntrusted, Use::kUnknown}) {
        headers.At({std::string(GatewayHeaderName(header)), std::string(GatewayUseName(use))}).counter.value +=
            static_cast<double>(counters->count(header, use));
      }
    }
  }
  out.push_back(requests.Build());
  out.push_back(headers.Build());
}

}  // namespace vramgate
