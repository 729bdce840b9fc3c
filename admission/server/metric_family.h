// One metric family in the making: its series by the values of their labels, each there once, so that what shares its
// labels is added up and no page says one thing twice.
//
//   MetricFamilyBuilder leases("vramgate_leases", "Leases, by state.", prometheus::MetricType::Gauge, {"model"});
//   leases.At({"llama"}).gauge.value += 3;
//   families.push_back(leases.Build());
//
// Used by the metrics page. Plain value, no thread rule.
#pragma once

#include <array>
#include <limits>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "admission/check.h"
#include "admission/gate/stats.h"
#include "prometheus/client_metric.h"
#include "prometheus/metric_family.h"
#include "prometheus/metric_type.h"

namespace vramgate {

class MetricFamilyBuilder {
 public:
  MetricFamilyBuilder(std::string name, std::string help, prometheus::MetricType type, std::vector<std::string> labels)
      : name_(std::move(name)), help_(std::move(help)), type_(type), labels_(std::move(labels)) {}

  // The series with these values, made where there is none. REQUIRES: as many values as labels.
  prometheus::ClientMetric& At(std::vector<std::string> values) {
    CHECK(values.size() == labels_.size(), "MetricFamilyBuilder: not as many values as labels");
    return series_[std::move(values)];
  }

  prometheus::MetricFamily Build() const {
    prometheus::MetricFamily family{name_, help_, type_, {}};
    for (const auto& [values, metric] : series_) {
      prometheus::ClientMetric& added = family.metric.emplace_back(metric);
      for (size_t i = 0; i < labels_.size(); ++i) added.label.push_back({labels_[i], values[i]});
    }
    return family;
  }

 private:
  std::string name_;
  std::string help_;
  prometheus::MetricType type_;
  std::vector<std::string> labels_;
  std::map<std::vector<std::string>, prometheus::ClientMetric> series_;
};

// Adds counts, cumulated as the format wants them, to a histogram that is empty or has the same bounds.
template <size_t N>
void AddBuckets(const std::array<double, N>& bounds, const BucketCounts<N>& counts,
                prometheus::ClientMetric::Histogram& histogram) {
  histogram.bucket.resize(N + 1);
  uint64_t below = 0;
  for (size_t b = 0; b <= N; ++b) {
    below += static_cast<uint64_t>(counts.counts[b]);
    histogram.bucket[b].upper_bound = b < N ? bounds[b] : std::numeric_limits<double>::infinity();
    histogram.bucket[b].cumulative_count += below;
  }
  histogram.sample_count += below;
  histogram.sample_sum += counts.sum;
}

}  // namespace vramgate
