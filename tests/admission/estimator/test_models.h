// Where the tests of the estimator find their models, and how they read them.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "admission/estimator/cost_table.h"
#include "admission/estimator/model.h"
#include "admission/estimator/plain_shape.h"

namespace vramgate {

inline std::string ModelPath(const std::string& name) {
  return std::string(VRAMGATE_TEST_DATA) + "/models/" + name + ".json";
}

// The shape in tests/data/models; one that keeps and weighs nothing where it cannot be read, and the test fails.
inline ModelShape ReadShape(const std::string& name) {
  const absl::StatusOr<ModelShape> shape = ReadModel(ModelPath(name));
  EXPECT_TRUE(shape.ok()) << shape.status();
  return shape.ok() ? *shape : ModelShape{.parameters = 1, .kv_bytes_per_token = 1, .activation_bytes = 1};
}

inline CostTable Compiled(const ModelShape& shape, const CostOptions& options) {
  absl::StatusOr<CostTable> table = CostTable::Compile(shape, options);
  if (!table.ok()) {
    ADD_FAILURE() << table.status();
    table = CostTable::Compile({.parameters = 1, .kv_bytes_per_token = 1, .activation_bytes = 1}, {});
  }
  return *std::move(table);
}

inline EngineProfile Engine(const std::string& name) {
  absl::StatusOr<EngineProfile> profile = FindEngineProfile(name);
  EXPECT_TRUE(profile.ok()) << profile.status();
  return profile.ok() ? *std::move(profile) : GenericProfile();
}

// The textbook example: 72e9 parameters of 4 bytes, 48 layers of 32 heads of 128, all keys and values kept.
inline PlainShape ClassicalPlain(double quantization_factor) {
  return {.parameters = 72'000'000'000,
          .parameter_bytes = 4,
          .quantization_factor = quantization_factor,
          .layers = 48,
          .heads = 32,
          .head_dim = 128,
          .hidden = 4096};
}

inline ModelShape Shape(const PlainShape& plain) {
  const absl::StatusOr<ModelShape> shape = ShapeOf(plain);
  EXPECT_TRUE(shape.ok()) << shape.status();
  return shape.ok() ? *shape : ModelShape{.parameters = 1, .kv_bytes_per_token = 1, .activation_bytes = 1};
}

inline ModelShape ClassicalShape(double quantization_factor) {
  return Shape(ClassicalPlain(quantization_factor));
}

inline CostOptions ClassicalOptions() {
  return {.block_tokens = 1,
          .activation = ActivationMode::kResident,
          .weights_dtype = DType::kFp16,
          .kv_dtype = DType::kFp16,
          .overhead_ratio = 0.15};
}

}  // namespace vramgate
