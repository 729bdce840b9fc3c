// The models that are served: the config's models with their cost tables compiled, found by name or alias.
//
//   absl::StatusOr<ModelTable> models = ModelTable::Load(loaded);       // every error names file, line and field
//   const ServedModel* model = models->Find("llama-3.1-8b");            // null: unknown
//   Costs costs = model->Price(900, 100, 1);                            // nanoseconds, allocates nothing
//
// Made once at start by serve and check. Immutable: any thread may read it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "admission/estimator/cost_table.h"
#include "admission/gate/gate_config.h"
#include "admission/server/config.h"
#include "admission/types.h"

namespace vramgate {

struct ServedModel {
  struct Instance {
    std::string name;
    InstanceId id = kAnyInstance;
    std::vector<std::string> devices;
    int price_class = 0;
    int64_t fixed_bytes = 0;  // on each device, the pool not included
    std::optional<int64_t> pool_bytes;
    bool loaded = true;  // at start
  };

  std::string name;
  ModelId id{0};
  std::vector<CostTable> classes;  // by price class
  std::vector<Instance> instances;
  int64_t max_model_len = 0;
  std::optional<int64_t> default_max_output_tokens;
  double min_tokens_per_s = 10;
  double tokens_per_byte = 1;
  bool calibrated = false;  // less than that bound is charged, where enough has been learned
  AssuranceSpec assurance;

  // Of the prompt alone, to the end of its last block: what StartCosts grow from. REQUIRES: prompt_tokens >= 0.
  Costs StartPrice(int64_t prompt_tokens, int64_t sequences) const;
  // In every price class. REQUIRES: all >= 0.
  Costs Price(int64_t prompt_tokens, int64_t output_tokens, int64_t sequences) const;
  // The longest that generating `output_tokens` can believably take: bounds a linger after an unseen end.
  absl::Duration DrainTime(int64_t output_tokens) const;
  // Null: no such instance.
  const Instance* FindInstance(std::string_view instance) const;
};

class ModelTable {
 public:
  // INVALID_ARGUMENT: a model cannot be read or priced; each error is "file:line: field: ...", a line each.
  static absl::StatusOr<ModelTable> Load(const LoadedConfig& loaded);

  const ServedModel* Find(std::string_view name) const;
  const std::vector<ServedModel>& models() const { return models_; }
  const ServedModel& model(ModelId id) const { return models_[Index(id)]; }
  // Instances are counted over all models, in the config's order.
  const ServedModel::Instance& instance(InstanceId id) const;

 private:
  std::vector<ServedModel> models_;
  absl::flat_hash_map<std::string, size_t> by_name_;
  std::vector<std::pair<size_t, size_t>> instances_;  // by InstanceId: model, instance
};

// What the gate is built from. `device_totals` are in the config's order: what each device has, less its headroom.
GateConfig MakeGateConfig(const v1::Config& config, const ModelTable& models,
                          const std::vector<int64_t>& device_budgets);

// Every instance's fixed bytes must fit its devices. OK, or a line for each device that is over, with the way out.
absl::Status CheckFits(const LoadedConfig& loaded, const ModelTable& models,
                       const std::vector<int64_t>& device_budgets);

// What `check` can say without touching a device: every model can be priced, and fits the devices that are simulated. A
// real device's size is known to serve alone.
absl::Status CheckModels(const LoadedConfig& loaded);

}  // namespace vramgate
