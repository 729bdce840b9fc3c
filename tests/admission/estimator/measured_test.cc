// The formulas against what vLLM 0.19 logged on H100 (tests/data/models/README.md says where from): weights within 0.6
// %, KV tokens given the pool within 0.1 %, batched activation within 7 %, each plus the half unit that the log's 0.01
// GiB hides.
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <sstream>

#include "admission/units.h"
#include "tests/admission/estimator/test_models.h"

namespace vramgate {
namespace {

struct Start {
  std::string line, shape;
  int devices = 0;
  DType weights_dtype, kv_dtype;
  double weights_gib = 0, activation_gib = 0, kv_pool_gib = 0, kv_tokens = 0;
};

std::vector<Start> ReadStarts() {
  std::vector<Start> starts;
  std::ifstream file(std::string(VRAMGATE_TEST_DATA) + "/models/measured.csv");
  std::string line;
  std::getline(file, line);  // the header
  while (std::getline(file, line)) {
    std::vector<std::string> cells;
    std::stringstream stream(line);
    for (std::string cell; std::getline(stream, cell, ',');) cells.push_back(cell);
    const auto weights = cells.size() == 8 ? ParseDType(cells[2]) : absl::InternalError("columns");
    const auto kv = cells.size() == 8 ? ParseDType(cells[3]) : absl::InternalError("columns");
    if (!weights.ok() || !kv.ok()) {
      ADD_FAILURE() << "bad row: " << line;
      continue;
    }
    starts.push_back({line, cells[0], std::stoi(cells[1]), *weights, *kv, std::stod(cells[4]), std::stod(cells[5]),
                      std::stod(cells[6]), std::stod(cells[7])});
  }
  return starts;
}

double GiB(int64_t bytes) {
  return static_cast<double>(bytes) / static_cast<double>(kGiB);
}

TEST(MeasuredTest, WeightsKvAndActivationOfRealStarts) {
  const std::vector<Start> starts = ReadStarts();
  ASSERT_GE(starts.size(), 20u);
  for (const Start& start : starts) {
    SCOPED_TRACE(start.line);
    const CostTable table = Compiled(ReadShape(start.shape), {.tensor_parallel = start.devices,
                                                              .weights_dtype = start.weights_dtype,
                                                              .kv_dtype = start.kv_dtype,
                                                              .max_batched_tokens = 8192,
                                                              .max_sequences = 1024});
    EXPECT_NEAR(GiB(table.weights_bytes()), start.weights_gib, 0.006 * start.weights_gib + 0.005);
    EXPECT_NEAR(GiB(table.activation_bytes()), start.activation_gib, 0.07 * start.activation_gib + 0.005);
    const double tokens =
        start.kv_pool_gib * static_cast<double>(kGiB) / static_cast<double>(table.kv_bytes_per_token());
    const double printed = 0.005 / start.kv_pool_gib;
    EXPECT_NEAR(tokens, start.kv_tokens, (0.001 + printed) * start.kv_tokens);
  }
}

}  // namespace
}  // namespace vramgate
