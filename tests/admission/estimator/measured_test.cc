// The formulas against what engines logged (tests/data/models/README.md says where from). An error is taken after what
// the log's last printed place may hide.
#include <gtest/gtest.h>

#include <map>
#include <set>
#include <sstream>
#include <string>

#include "tests/admission/estimator/measured_rows.h"
#include "tests/admission/estimator/test_models.h"

namespace vramgate {
namespace {

const std::string kModels = std::string(VRAMGATE_TEST_DATA) + "/models";

TEST(MeasuredTest, EveryStartOfVllm) {
  const std::vector<Row> starts = ReadRows(kModels + "/starts.csv");
  ASSERT_EQ(starts.size(), 49u);
  double pool_sum = 0;
  for (const Row& start : starts) {
    SCOPED_TRACE(start.at("line"));
    const absl::StatusOr<std::vector<Figure>> figures = PriceStart(kModels, start);
    ASSERT_TRUE(figures.ok()) << figures.status();
    const bool pipeline = start.at("pp") != "1";
    const std::map<std::string, double> allowed = {{"weights", 0.006},
                                                   {"activation", 0.07},
                                                   {"pool", 0.03},
                                                   {"kv_tokens", pipeline ? 0.015 : 0.001},
                                                   {"concurrency", 0.015}};
    for (const Figure& f : *figures) {
      const double error = f.quantity == "weights" || f.quantity == "kv_tokens" ? f.ErrorBeyondPrint() : f.Error();
      EXPECT_LE(error, allowed.at(f.quantity)) << f.quantity << ": priced " << f.priced << ", logged " << f.logged;
      if (f.quantity == "pool") pool_sum += f.Error();
    }
  }
  EXPECT_LE(pool_sum / static_cast<double>(starts.size()), 0.01);
}

TEST(MeasuredTest, BuffersOfLlamaCppToTheByte) {
  const std::vector<Row> buffers = ReadRows(kModels + "/buffers.csv");
  ASSERT_GE(buffers.size(), 22u);
  for (const Row& buffer : buffers) {
    SCOPED_TRACE(buffer.at("line"));
    const absl::StatusOr<Figure> f = PriceBuffer(kModels, buffer);
    ASSERT_TRUE(f.ok()) << f.status();
    EXPECT_EQ(f->ErrorBeyondPrint(), 0) << "priced " << f->priced / (1 << 20) << " MiB";
  }
}

TEST(MeasuredTest, FiguresOfOtherEnginesAndVersions) {
  const std::vector<Row> rows = ReadRows(kModels + "/figures.csv");
  ASSERT_GE(rows.size(), 35u);
  for (const Row& row : rows) {
    SCOPED_TRACE(row.at("line"));
    const absl::StatusOr<Figure> f = PriceFigure(kModels, row);
    ASSERT_TRUE(f.ok()) << f.status();
    EXPECT_LE(f->ErrorBeyondPrint(), std::stod(row.at("tolerance_percent")) / 100)
        << "priced " << f->priced << ", logged " << f->logged;
  }
}

// A start's family and the types of its weights and its cache, as profiles name them.
std::string Backing(const std::string& family, const std::string& weights, DType kv) {
  return family + " " + weights + " " + std::string(DTypeName(kv));
}

std::string WeightsOf(const ModelShape& shape, const std::string& dtype) {
  std::string names;
  for (const WeightFormat& format : shape.formats) {
    if (format.bits > 0) names += (names.empty() ? "" : "+") + format.name;
  }
  const absl::StatusOr<DType> own = ParseDType(dtype);
  return names.empty() && own.ok() ? std::string(DTypeName(*own)) : names;
}

// EXACT is said where a profile lists family and types: every such entry needs a start above.
TEST(MeasuredTest, WhatProfilesCallMeasuredIsMeasured) {
  std::set<std::string> rows;
  for (const Row& start : ReadRows(kModels + "/starts.csv")) {
    ModelOverrides overrides;
    if (!start.at("quantization").empty()) overrides.quantization = start.at("quantization");
    const absl::StatusOr<ModelShape> shape = ReadModel(kModels + "/" + start.at("shape") + ".json", overrides);
    ASSERT_TRUE(shape.ok()) << shape.status();
    const absl::StatusOr<DType> kv = ParseDType(start.at(start.at("kv_dtype").empty() ? "dtype" : "kv_dtype"));
    ASSERT_TRUE(kv.ok()) << kv.status();
    rows.insert(Backing(shape->family, WeightsOf(*shape, start.at("dtype")), *kv));
  }
  std::stringstream names(EngineProfileNames());
  size_t entries = 0;
  for (std::string name; std::getline(names >> std::ws, name, ',');) {
    for (const EngineProfile::Measured& m : Engine(name).measured) {
      for (const std::string& family : m.families) {
        for (const std::string& weights : m.weights) {
          for (const DType kv : m.kv) {
            ++entries;
            EXPECT_EQ(name, "vllm-0.19") << "no start of another engine is in the tests";
            EXPECT_EQ(rows.count(Backing(family, weights, kv)), 1u) << name << ": " << Backing(family, weights, kv);
          }
        }
      }
    }
  }
  EXPECT_GE(entries, 20u);
}

}  // namespace
}  // namespace vramgate
