// ./dev bench estimator: how far the estimator is from what engines logged, and what a price costs.
//
//   QUANTITY_error_mean, _max    relative (0.001 is 0.1 %), over the starts of vLLM in tests/data/models/starts.csv:
//                                weights, activation, pool from the config alone; kv_tokens, concurrency given the pool
//   kv_tokens_error_pipeline_max the starts with stages: their pool is one rank's and their tokens another's
//   figures_error_mean, _max     single figures of other engines and versions, beyond their last printed place
//   llama_cpp_bytes_off          over all logged buffers, beyond their last printed place
//   price_ns                     one request of a model of four groups, median of batches
//   allocations_per_price        operator new in the same
#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <map>
#include <string>
#include <vector>

#include "admission/check.h"
#include "admission/estimator/cost_table.h"
#include "tests/admission/estimator/measured_rows.h"
#include "tests/bench/counting_new.h"
#include "tests/bench/report.h"

namespace vramgate {
namespace {

const std::string kModels = std::string(VRAMGATE_TEST_DATA) + "/models";

struct Errors {
  std::vector<double> all;
  std::string worst;  // the row of the largest

  void Add(double error, const std::string& row) {
    if (all.empty() || error > Max()) worst = row;
    all.push_back(error);
  }
  double Max() const { return all.empty() ? 0 : *std::max_element(all.begin(), all.end()); }
  double Mean() const {
    double sum = 0;
    for (const double e : all) sum += e;
    return all.empty() ? 0 : sum / static_cast<double>(all.size());
  }
};

void PrintErrors(const std::string& name, const Errors& errors) {
  std::printf("%-20s %5zu %10.4f %10.4f   %s\n", name.c_str(), errors.all.size(), 100 * errors.Mean(),
              100 * errors.Max(), errors.worst.c_str());
}

void MeasureStarts(Report& report) {
  std::map<std::string, Errors> errors;
  for (const Row& start : ReadRows(kModels + "/starts.csv")) {
    const absl::StatusOr<std::vector<Figure>> figures = PriceStart(kModels, start);
    CHECK(figures.ok(), "a start cannot be priced: see estimator_measured_test");
    for (const Figure& f : *figures) {
      const bool apart = f.quantity == "kv_tokens" && start.at("pp") != "1";
      errors[apart ? "kv_tokens (pp > 1)" : f.quantity].Add(
          f.Error(), start.at("shape") + " tp " + start.at("tp") + " pp " + start.at("pp"));
    }
  }
  CHECK(!errors.empty(), "tests/data/models/starts.csv cannot be read");
  for (const auto& [name, e] : errors) {
    PrintErrors(name, e);
    if (name == "kv_tokens (pp > 1)") {
      report.Value("kv_tokens_error_pipeline_max", e.Max());
    } else {
      report.Value(name + "_error_mean", e.Mean());
      report.Value(name + "_error_max", e.Max());
    }
  }
}

void MeasureFigures(Report& report) {
  std::map<std::string, Errors> errors;
  Errors all;
  for (const Row& row : ReadRows(kModels + "/figures.csv")) {
    const absl::StatusOr<Figure> f = PriceFigure(kModels, row);
    CHECK(f.ok(), "a figure cannot be priced: see estimator_measured_test");
    const std::string where = row.at("shape") + " " + row.at("logged_by");
    errors[row.at("engine") + " " + f->quantity].Add(f->ErrorBeyondPrint(), where);
    all.Add(f->ErrorBeyondPrint(), where);
  }
  for (const auto& [name, e] : errors) PrintErrors(name.substr(0, 20), e);
  report.Value("figures_error_mean", all.Mean());
  report.Value("figures_error_max", all.Max());
  double off = 0;
  Errors buffers;
  for (const Row& row : ReadRows(kModels + "/buffers.csv")) {
    const absl::StatusOr<Figure> f = PriceBuffer(kModels, row);
    CHECK(f.ok(), "a buffer cannot be priced: see estimator_measured_test");
    off += f->ErrorBeyondPrint() * f->logged;
    buffers.Add(f->ErrorBeyondPrint(), row.at("shape"));
  }
  PrintErrors("llama.cpp buffers", buffers);
  report.Value("llama_cpp_bytes_off", off);
}

// Full attention, windows, a state and a compressed cache: four ways to grow.
CostTable FourGroups() {
  ModelShape shape{.hidden = 4096, .heads = 32, .vocab = 1, .weights_bytes = 1, .activation_bytes = 1};
  const Layer full{.kept = {{.kind = KeptKind::kTokens, .heads = 8, .key_dim = 128, .value_dim = 128}}};
  const Layer window{.kept = {{.kind = KeptKind::kWindow, .heads = 8, .key_dim = 128, .value_dim = 128, .span = 1024}}};
  const Layer state{
      .kept = {{.kind = KeptKind::kState, .taps = 3, .conv = {SplitAxis(8192)}, .state = SplitAxis(32, 16384)}}};
  const Layer compressed{.kept = {{.kind = KeptKind::kCompressed, .width = 512, .rope = 64, .ratio = 4}}};
  for (const Layer& layer : {full, window, state, compressed}) {
    for (int i = 0; i < 8; ++i) shape.Add(layer);
  }
  const absl::StatusOr<EngineProfile> profile = FindEngineProfile("vllm-0.19");
  CHECK(profile.ok(), "the profile is built in");
  absl::StatusOr<CostTable> table = CostTable::Compile(shape, {.profile = *profile});
  CHECK(table.ok() && table->layout().groups().size() == 4, "the model has four groups");
  return *std::move(table);
}

void MeasurePrice(Report& report, int rounds) {
  constexpr int kBatch = 10'000;
  const CostTable table = FourGroups();
  std::vector<double> ns;
  ns.reserve(static_cast<size_t>(rounds) * 100);
  int64_t sum = 0;
  const int64_t before = Allocations();
  for (int batch = 0; batch < rounds * 100; ++batch) {
    const auto start = std::chrono::steady_clock::now();
    for (int64_t i = 0; i < kBatch; ++i) sum += table.Price(900 + i * 7, 100 + (i & 255), 1).kv_bytes & 0xff;
    const std::chrono::duration<double, std::nano> took = std::chrono::steady_clock::now() - start;
    ns.push_back(took.count() / kBatch);
  }
  const int64_t allocations = Allocations() - before;
  CHECK(sum >= 0, "the sum keeps the prices from being dropped");
  report.Value("price_ns", Median(ns));
  report.Value("allocations_per_price",
               static_cast<double>(allocations) / (static_cast<double>(rounds) * 100 * kBatch));
}

int Run(int rounds, const std::string& json) {
  Report report(rounds);
  std::printf("%-20s %5s %10s %10s   %s\n", "error [%]", "rows", "mean", "max", "the largest");
  MeasureStarts(report);
  MeasureFigures(report);
  std::printf("\n");
  MeasurePrice(report, rounds);
  return report.Write(json);
}

}  // namespace
}  // namespace vramgate

int main(int argc, char** argv) {
  CLI::App app("Compares prices with what engines logged, and measures what a price costs.");
  std::string json;
  int rounds = 5;
  app.add_option("--json", json, "Write the figures to this file");
  app.add_option("--rounds", rounds, "Rounds of 100 batches of prices, of which the median is taken")
      ->check(CLI::Range(1, 1000));
  CLI11_PARSE(app, argc, argv);
  return vramgate::Run(rounds, json);
}
