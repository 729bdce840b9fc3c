// Logs for the tests of their reader: files of tests/data/engines, and lines.
#pragma once

#include <cmath>
#include <fstream>
#include <sstream>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include "admission/estimator/engine_log.h"
#include "admission/units.h"

namespace vramgate {

inline EnginePool ReadFile(const std::string& name) {
  std::ifstream file(std::string(VRAMGATE_TEST_DATA "/engines/") + name);
  EXPECT_TRUE(file.good()) << name;
  const absl::StatusOr<EnginePool> pool = ReadEngineLog(file);
  EXPECT_TRUE(pool.ok()) << name << ": " << pool.status();
  return pool.value_or(EnginePool{});
}

inline EnginePool ReadLines(const std::string& lines) {
  EngineLogReader reader;
  std::istringstream in(lines);
  for (std::string line; std::getline(in, line);) reader.Line(line);
  return reader.pool();
}

MATCHER_P2(IsSize, number, unit, "") {
  const double bytes = number * static_cast<double>(unit);
  return arg.has_value() && std::abs(static_cast<double>(arg->bytes) - bytes) <= 1 &&
         arg->tolerance_bytes <= unit / 200 + 1;
}

}  // namespace vramgate
