// Every shape in tests/data/models: what it counts against what its publisher says, and that no way of running it and
// no absurd size in it breaks anything.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

#include <nlohmann/json.hpp>
#include "admission/estimator/estimate.h"
#include "admission/estimator/model_families.h"
#include "tests/admission/estimator/measured_rows.h"
#include "tests/admission/estimator/test_models.h"

namespace vramgate {
namespace {

using nlohmann::json;

const std::string kModels = std::string(VRAMGATE_TEST_DATA) + "/models";

std::vector<std::filesystem::path> ModelFiles() {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(kModels)) {
    if (entry.path().extension() == ".json") files.push_back(entry.path());
  }
  return files;
}

// parameters.csv: counts as published (the models' cards, or sums over their checkpoints' tensors). Where `exact` is 0
// the published figure is rounded, or counts what an engine does not load. KV and state are of one device at 16 bits,
// without an engine's padding.
TEST(GoldenShapesTest, ParametersKvAndStates) {
  const std::vector<Row> rows = ReadRows(kModels + "/parameters.csv");
  ASSERT_GE(rows.size(), 80u);
  for (const Row& row : rows) {
    SCOPED_TRACE(row.at("line"));
    const CostTable table = Compiled(ReadShape(row.at("shape")), {.activation = ActivationMode::kResident});
    const int64_t published = std::stoll(row.at("parameters"));
    if (row.at("exact") == "1") {
      EXPECT_EQ(table.parameters(), published);
    } else {
      EXPECT_NEAR(static_cast<double>(table.parameters()) / static_cast<double>(published), 1, 0.005);
    }
    EXPECT_EQ(table.kv_bytes_per_token(), std::stoll(row.at("kv_bytes_per_token")));
    EXPECT_EQ(table.layout().state_bytes(), std::stoll(row.at("state_bytes")));
  }
}

// Families that no model in tests/data stands for: their formulas have a source, but no count or row to hold them to.
constexpr char kUncounted[] =
    " falcon_h1 gemma3n gemma3n_text granitemoehybrid granitemoeshared hunyuan_v1_dense lfm2_moe mbart mimo_v2 "
    "minimax ministral ministral3 mllama_text_model mt5 pangu_ultra_moe rwkv6 rwkv7 step3p5 zamba2 ";

TEST(GoldenShapesTest, EveryFamilyHasAModelHereOrIsListed) {
  std::set<std::string> seen;
  for (const std::filesystem::path& path : ModelFiles()) {
    std::ifstream file(path);
    const json config = json::parse(file);
    seen.insert(config.value("model_type", ""));
    if (config.contains("text_config")) seen.insert(config["text_config"].value("model_type", ""));
  }
  std::stringstream families(KnownFamilies());
  for (std::string family; std::getline(families >> std::ws, family, ',');) {
    const bool listed = std::string_view(kUncounted).find(" " + family + " ") != std::string_view::npos;
    EXPECT_NE(seen.count(family) > 0, listed) << family << (listed ? " is listed, but has a model" : " has no model");
  }
}

TEST(GoldenShapesTest, EveryModelHasASensiblePriceOnEveryEngine) {
  std::stringstream names(EngineProfileNames());
  for (std::string engine; std::getline(names >> std::ws, engine, ',');) {
    for (const std::filesystem::path& path : ModelFiles()) {
      SCOPED_TRACE(engine + " " + path.stem().string());
      const ModelShape shape = ReadShape(path.stem().string());
      for (const int devices : {1, 2, 4, 8}) {
        if (shape.heads % devices != 0) continue;
        const CostOptions options = {.tensor_parallel = devices, .context_tokens = 4096, .profile = Engine(engine)};
        const absl::StatusOr<CostTable> table = CostTable::Compile(shape, options);
        ASSERT_TRUE(table.ok()) << table.status();
        EXPECT_GT(table->parameters(), 100'000'000);
        EXPECT_GE(table->weights_bytes() * devices, table->parameters() * 48 / 100) << "4 bits are the least";
        EXPECT_LE(table->weights_bytes(), table->parameters() * 5);
        EXPECT_GT(table->activation_bytes(), 0);
        EXPECT_GT(table->KvBytes(4096, Phase::kPeak), 0);
        EXPECT_GE(table->KvBytes(4096, Phase::kPeak), table->KvBytes(4096, Phase::kSteady));
        const absl::StatusOr<Estimate> card = EstimateCard(*table, {.prompt_tokens = 4096, .concurrency = 3});
        ASSERT_TRUE(card.ok()) << card.status();
        int64_t sum = 0;
        for (const Term& term : card->terms) sum += term.bytes * (term.per_request ? 3 : 1);
        EXPECT_EQ(sum, card->total_bytes);
      }
    }
  }
}

// Every number of every config, one after the other: refused or priced, soon, and never more layers than there can be.
TEST(GoldenShapesTest, AbsurdSizesInAnyFieldAreRefusedOrPriced) {
  const auto check = [](const json& config, const std::string& what) {
    const absl::StatusOr<ModelShape> shape = ParseModelConfig(config.dump(), what);
    if (!shape.ok()) {
      EXPECT_EQ(shape.status().code(), absl::StatusCode::kInvalidArgument) << what << ": " << shape.status();
      return;
    }
    EXPECT_LE(shape->layers(), kMaxLayers) << what;
    const absl::StatusOr<CostTable> table = CostTable::Compile(*shape, {});
    if (!table.ok()) return;
    EXPECT_GE(table->weights_bytes(), 0) << what;
    EXPECT_GE(table->KvBytes(int64_t{1} << 40, Phase::kPeak), 0) << what;
  };
  for (const std::filesystem::path& path : ModelFiles()) {
    std::ifstream file(path);
    const json config = json::parse(file).flatten();
    for (const auto& [key, value] : config.items()) {
      if (!value.is_number_integer()) continue;
      for (const int64_t size : {int64_t{0}, int64_t{1}, int64_t{1} << 20, int64_t{1} << 30, int64_t{1} << 62}) {
        json bent = config;
        bent[key] = size;
        check(bent.unflatten(), path.stem().string() + " " + key + " " + std::to_string(size));
      }
    }
  }
}

}  // namespace
}  // namespace vramgate
