#include "tests/admission/estimator/measured_rows.h"

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "admission/estimator/deployment.h"
#include "admission/estimator/gpu_card.h"
#include "admission/estimator/model.h"
#include "admission/units.h"

namespace vramgate {
namespace {

std::string Cell(const Row& row, const char* name) {
  const auto it = row.find(name);
  return it == row.end() ? "" : it->second;
}

double Number(const Row& row, const char* name) {
  return std::strtod(Cell(row, name).c_str(), nullptr);
}

int64_t Whole(const Row& row, const char* name, int64_t fallback) {
  const std::string cell = Cell(row, name);
  return cell.empty() ? fallback : std::strtoll(cell.c_str(), nullptr, 10);
}

int64_t GibBytes(double gib) {
  return std::llround(gib * static_cast<double>(kGiB));
}

double Gib(int64_t bytes) {
  return static_cast<double>(bytes) / static_cast<double>(kGiB);
}

// 12 full layers and 36 windows of 512, all of 8 KV heads of 128 (its converter knows no config of it).
ModelShape Laguna() {
  ModelShape shape{.hidden = 1, .heads = 8, .vocab = 1, .weights_bytes = 1};
  for (int i = 0; i < 48; ++i) {
    const bool full = i % 4 == 3;
    shape.Add({.kept = {{.kind = full ? KeptKind::kTokens : KeptKind::kWindow,
                         .heads = 8,
                         .key_dim = 128,
                         .value_dim = 128,
                         .span = full ? 0 : 512}}});
  }
  return shape;
}

// Converted without latent attention: 16 heads of 192 for keys and 128 for values.
ModelShape DeepSeekWithoutLatents() {
  ModelShape shape{.hidden = 1, .heads = 16, .vocab = 1, .weights_bytes = 1};
  for (int i = 0; i < 27; ++i) {
    shape.Add({.kept = {{.kind = KeptKind::kTokens, .heads = 16, .key_dim = 192, .value_dim = 128}}});
  }
  return shape;
}

absl::StatusOr<DeploymentOptions> RowOptions(const Row& row, const ModelShape& shape, const std::string& engine) {
  DeploymentOptions o;
  const absl::StatusOr<EngineProfile> profile = FindEngineProfile(engine);
  if (!profile.ok()) return profile.status();
  o.cost.profile = *profile;
  o.cost.tensor_parallel = static_cast<int>(Whole(row, "tp", 1));
  o.cost.pipeline_parallel = static_cast<int>(Whole(row, "pp", 1));
  o.cost.weights_dtype = shape.dtype.value_or(DType::kBf16);
  if (const std::string dtype = Cell(row, "dtype"); !dtype.empty()) {
    const absl::StatusOr<DType> parsed = ParseDType(dtype);
    if (!parsed.ok()) return parsed.status();
    o.cost.weights_dtype = *parsed;
  }
  o.cost.kv_dtype = o.cost.weights_dtype;
  if (const std::string dtype = Cell(row, "kv_dtype"); !dtype.empty()) {
    const absl::StatusOr<DType> parsed = ParseDType(dtype);
    if (!parsed.ok()) return parsed.status();
    o.cost.kv_dtype = *parsed;
  }
  const EngineProfile::Step& step = profile->StepFor(80 * kGiB);
  o.cost.max_batched_tokens = Whole(row, "step_tokens", step.max_batched_tokens);
  o.cost.max_sequences = step.max_sequences;
  o.cost.block_tokens = Whole(row, "block_tokens", 0);
  o.max_model_len = Whole(row, "max_model_len", shape.max_positions);
  return o;
}

}  // namespace

double Figure::Error() const {
  return std::abs(priced - logged) / logged;
}

double Figure::ErrorBeyondPrint() const {
  return std::max(0.0, std::abs(priced - logged) - printed) / logged;
}

std::vector<Row> ReadRows(const std::string& path) {
  std::vector<Row> rows;
  std::ifstream file(path);
  std::vector<std::string> names;
  for (std::string line; std::getline(file, line);) {
    std::vector<std::string> cells;
    std::stringstream stream(line);
    for (std::string cell; std::getline(stream, cell, ',');) cells.push_back(cell);
    if (names.empty()) {
      names = cells;
      continue;
    }
    Row row;
    for (size_t i = 0; i < names.size(); ++i) row[names[i]] = i < cells.size() ? cells[i] : "";
    row["line"] = line;
    rows.push_back(std::move(row));
  }
  return rows;
}

absl::StatusOr<ModelShape> RowShape(const std::string& dir, const std::string& name) {
  if (name == "laguna") return Laguna();
  if (name == "deepseek-coder-v2-16b") return DeepSeekWithoutLatents();
  return ReadModel(absl::StrCat(dir, "/", name, ".json"));
}

absl::StatusOr<std::vector<Figure>> PriceStart(const std::string& dir, const Row& row) {
  ModelOverrides overrides;
  if (const std::string quantization = Cell(row, "quantization"); !quantization.empty()) {
    overrides.quantization = quantization;
  }
  const absl::StatusOr<ModelShape> shape = ReadModel(absl::StrCat(dir, "/", Cell(row, "shape"), ".json"), overrides);
  if (!shape.ok()) return shape.status();
  absl::StatusOr<DeploymentOptions> options = RowOptions(row, *shape, "vllm-0.19");
  if (!options.ok()) return options.status();
  const absl::StatusOr<GpuCard> card = FindGpuCard("H100-80GB");
  if (!card.ok()) return card.status();
  options->device_bytes = card->bytes;
  options->utilization = Number(row, "utilization");
  const absl::StatusOr<Deployment> alone = Deploy(*shape, *options);
  if (!alone.ok()) return alone.status();
  options->kv_pool_bytes = GibBytes(Number(row, "kv_pool_gib"));
  const absl::StatusOr<Deployment> given = Deploy(*shape, *options);
  if (!given.ok()) return given.status();

  const StageReport& rank = alone->stages.front();
  const Pool& pool = given->worst().pool;
  const double printed = 0.005 / Number(row, "kv_pool_gib");
  const double tokens = Number(row, "kv_tokens");
  const double concurrency = Number(row, "max_concurrency");
  return std::vector<Figure>{
      {"weights", Gib(rank.estimate.weights_bytes), Number(row, "weights_gib"), 0.005},
      {"activation", Gib(rank.estimate.activation_bytes), Number(row, "activation_gib"), 0.005},
      {"pool", Gib(rank.pool.bytes), Number(row, "kv_pool_gib"), 0.005},
      {"kv_tokens", static_cast<double>(pool.tokens), tokens, printed * tokens},
      {"concurrency", pool.max_concurrency, concurrency, 0.005 + printed * concurrency},
  };
}

absl::StatusOr<Figure> PriceBuffer(const std::string& dir, const Row& row) {
  const absl::StatusOr<ModelShape> shape = RowShape(dir, Cell(row, "shape"));
  if (!shape.ok()) return shape.status();
  absl::StatusOr<DeploymentOptions> options = RowOptions(row, *shape, "llama.cpp");
  if (!options.ok()) return options.status();
  const int64_t slots = Whole(row, "slots", 1);
  options->cost.max_sequences = slots;
  const absl::StatusOr<CostTable> table = CostTable::Compile(*shape, options->cost);
  if (!table.ok()) return table.status();
  const int64_t bytes = Cell(row, "part") == "state"
                            ? table->layout().state_bytes() * slots
                            : CellPoolBytes(*table, Whole(row, "context", 0), slots, Whole(row, "unified", 0) != 0);
  constexpr double kMib = 1 << 20;
  return Figure{"bytes", static_cast<double>(bytes), Number(row, "mib") * kMib, 0.005 * kMib};
}

absl::StatusOr<Figure> PriceFigure(const std::string& dir, const Row& row) {
  const absl::StatusOr<ModelShape> shape = RowShape(dir, Cell(row, "shape"));
  if (!shape.ok()) return shape.status();
  absl::StatusOr<DeploymentOptions> options = RowOptions(row, *shape, Cell(row, "engine"));
  if (!options.ok()) return options.status();
  const double pool_gib = Number(row, "pool_gib");
  if (pool_gib > 0) options->kv_pool_bytes = GibBytes(pool_gib);
  const absl::StatusOr<Deployment> deployment = Deploy(*shape, *options);
  if (!deployment.ok()) return deployment.status();
  const StageReport& rank = deployment->worst();
  Figure f{.quantity = Cell(row, "quantity"), .logged = Number(row, "value"), .printed = Number(row, "printed")};
  if (pool_gib > 0) f.printed += 0.005 / pool_gib * f.logged;
  if (f.quantity == "weights_gib") {
    f.priced = Gib(rank.estimate.weights_bytes);
  } else if (f.quantity == "tokens") {
    f.priced = static_cast<double>(rank.pool.tokens);
  } else if (f.quantity == "blocks") {
    f.priced = static_cast<double>(rank.pool.blocks);
  } else if (f.quantity == "concurrency") {
    f.priced = rank.pool.max_concurrency;
  } else {
    return absl::InvalidArgumentError(absl::StrCat(f.quantity, " is not a quantity of figures.csv"));
  }
  return f;
}

}  // namespace vramgate
