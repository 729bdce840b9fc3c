// The measured rows of tests/data/models, and what the estimator says to each: read by the golden tests and by the
// benchmark that prints the table of errors.
//
//   for (const Row& row : ReadRows(dir + "/starts.csv")) {
//     for (const Figure& f : *PriceStart(dir, row)) std::cout << f.quantity << " " << f.Error() << "\n";
//   }
//
// Plain values and pure functions: no thread rule.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "admission/estimator/model_shape.h"

namespace vramgate {

using Row = std::map<std::string, std::string>;  // cells by the names in the file's first line

// A quantity as priced and as an engine logged it, in the same unit.
struct Figure {
  std::string quantity;
  double priced = 0;
  double logged = 0;
  double printed = 0;  // half of the last place that the log shows: what `logged` may be off by itself
  // Relative.
  double Error() const;
  // Relative, after what the log's last place may hide.
  double ErrorBeyondPrint() const;
};

// Empty where it cannot be read.
std::vector<Row> ReadRows(const std::string& path);

// The shape that a row names: `dir`/NAME.json, or one written by hand here.
absl::StatusOr<ModelShape> RowShape(const std::string& dir, const std::string& name);

// starts.csv: weights, activation, pool (rank 0, from the config alone), tokens and concurrency (given the pool).
absl::StatusOr<std::vector<Figure>> PriceStart(const std::string& dir, const Row& row);
// buffers.csv: what llama.cpp allocates [MiB].
absl::StatusOr<Figure> PriceBuffer(const std::string& dir, const Row& row);
// figures.csv: one logged figure of any engine.
absl::StatusOr<Figure> PriceFigure(const std::string& dir, const Row& row);

}  // namespace vramgate
