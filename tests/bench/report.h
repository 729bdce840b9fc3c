// What the benchmarks share: percentiles, medians over rounds, and the report as a table and as one flat JSON object.
//
//   Report report(rounds);
//   report.Value("decision_ns_64", 180.2);
//   report.Ratio("admit_over_null_p50", {1.02, 1.05, 1.03});   // median, and ..._min and ..._max over the rounds
//   return report.Write(json_path);
#pragma once

#include <string>
#include <vector>

#include <nlohmann/json.hpp>

namespace vramgate {

// The q-quantile (0 to 1) by nearest rank. REQUIRES: not empty.
double Quantile(std::vector<double> values, double q);
inline double Median(std::vector<double> values) {
  return Quantile(std::move(values), 0.5);
}

class Report {
 public:
  explicit Report(int rounds);
  void Value(const std::string& key, double value) { json_[key] = value; }
  void Ratio(const std::string& key, const std::vector<double>& rounds);
  // Prints the table; writes the JSON where `path` is not "". Returns the exit code.
  int Write(const std::string& path) const;

 private:
  nlohmann::ordered_json json_;
};

}  // namespace vramgate
