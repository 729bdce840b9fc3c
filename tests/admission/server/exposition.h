// Reads a page of Prometheus' text format 0.0.4 as a scraper would, and fails the test for whatever one would refuse.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>
#include <regex>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"

namespace vramgate {

class Exposition {
 public:
  explicit Exposition(const std::string& page) {
    EXPECT_TRUE(page.ends_with('\n'));
    std::vector<std::string> lines = absl::StrSplit(page, '\n');
    lines.pop_back();
    for (const std::string& line : lines) line.starts_with('#') ? Comment(line) : Sample(line);
    CheckHistograms();
  }

  // By "name{label=\"value\",...}" as it stands on the page; NaN where there is none.
  double operator[](const std::string& series) const {
    const auto it = samples_.find(series);
    return it == samples_.end() ? std::numeric_limits<double>::quiet_NaN() : it->second;
  }
  const std::map<std::string, std::string>& types() const { return types_; }  // family to type
  const std::map<std::string, double>& samples() const { return samples_; }

  // All series of `name`, and the sum of those whose text contains `part`.
  int Count(const std::string& name, std::string_view part = "") const {
    int count = 0;
    Each(name, part, [&](double) { ++count; });
    return count;
  }
  double Sum(const std::string& name, std::string_view part = "") const {
    double sum = 0;
    Each(name, part, [&](double value) { sum += value; });
    return sum;
  }

 private:
  template <typename Visit>
  void Each(const std::string& name, std::string_view part, Visit visit) const {
    for (const auto& [series, value] : samples_) {
      if (series.substr(0, series.find('{')) == name && series.find(part) != std::string::npos) visit(value);
    }
  }

  void Comment(const std::string& line) {
    const std::vector<std::string> words = absl::StrSplit(line, absl::MaxSplits(' ', 3));
    ASSERT_EQ(words.size(), 4u) << line;
    if (words[1] == "TYPE") {
      EXPECT_TRUE(types_.emplace(words[2], words[3]).second) << "twice: " << line;
      EXPECT_EQ(words[3] == "counter", words[2].ends_with("_total")) << line;
    } else {
      EXPECT_EQ(words[1], "HELP") << line;
    }
    family_ = words[2];
  }

  void Sample(const std::string& line) {
    static const std::regex kSample(R"re(([a-z_]+)(\{([a-z_]+="([^"\\\n]|\\["\\n])*"(,(?=[a-z]))?)*\})? (\S+))re");
    std::smatch parts;
    ASSERT_TRUE(std::regex_match(line, parts, kSample)) << line;
    EXPECT_TRUE(parts[1].str().starts_with(family_)) << line << " stands under " << family_;
    double value = 0;
    ASSERT_TRUE(absl::SimpleAtod(parts[6].str(), &value)) << line;
    EXPECT_TRUE(samples_.emplace(line.substr(0, line.rfind(' ')), value).second) << "twice: " << line;
    if (const std::string name = parts[1]; name.ends_with("_bucket")) AddBucket(line, value);
  }

  void AddBucket(const std::string& line, double value) {
    static const std::regex kBound(R"re(,?le="([^"]*)")re");
    std::smatch bound;
    ASSERT_TRUE(std::regex_search(line, bound, kBound)) << line;
    double le = 0;
    ASSERT_TRUE(absl::SimpleAtod(bound[1].str(), &le)) << line;
    std::string series = std::regex_replace(line.substr(0, line.rfind(' ')), kBound, "");
    if (series.ends_with("{}")) series.resize(series.size() - 2);
    EXPECT_TRUE(buckets_[series].emplace(le, value).second) << "twice: " << line;
  }

  void CheckHistograms() const {
    for (const auto& [series, buckets] : buckets_) {
      double before = 0;
      for (const auto& [le, count] : buckets) {
        EXPECT_GE(count, before) << series << " le " << le;
        before = count;
      }
      EXPECT_TRUE(std::isinf(buckets.rbegin()->first)) << series << " has no +Inf";
      std::string count_series = series;
      count_series.replace(count_series.find("_bucket"), 7, "_count");
      EXPECT_EQ((*this)[count_series], before) << count_series;
    }
  }

  std::string family_;
  std::map<std::string, std::string> types_;
  std::map<std::string, double> samples_;
  std::map<std::string, std::map<double, double>> buckets_;
};

}  // namespace vramgate
