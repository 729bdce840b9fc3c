#include "admission/server/model_table.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "admission/estimator/dtype.h"
#include "admission/estimator/engine_profile.h"
#include "admission/estimator/model.h"
#include "admission/estimator/plain_shape.h"
#include "admission/server/durations.h"
#include "admission/server/engine_defaults.h"
#include "admission/units.h"

namespace vramgate {
namespace {

PlainShape InlineShape(const v1::Model& model) {
  const v1::ModelShape& given = model.shape();
  PlainShape plain;
  plain.parameters = given.parameters();
  if (given.has_parameter_bytes()) plain.parameter_bytes = given.parameter_bytes();
  plain.quantization_factor = given.quantization_factor();
  plain.layers = given.layers();
  plain.heads = given.heads();
  if (given.has_kv_heads()) plain.kv_heads = given.kv_heads();
  if (given.has_head_dim()) plain.head_dim = given.head_dim();
  plain.hidden = given.hidden();
  plain.intermediate = given.intermediate();
  plain.vocab = given.vocab();
  if (model.has_kv_bytes_per_token()) plain.kv_bytes_per_token = model.kv_bytes_per_token().value();
  if (model.has_state_bytes()) plain.state_bytes = model.state_bytes().value();
  if (model.has_weights_bytes()) plain.weights_bytes = model.weights_bytes().value();
  if (model.has_activation_bytes()) plain.activation_bytes = model.activation_bytes().value();
  return plain;
}

// The shape of `model`, with what the config overrides.
absl::StatusOr<ModelShape> ReadShape(const v1::Model& model, const LoadedConfig& loaded) {
  if (!model.has_source()) return ShapeOf(InlineShape(model));
  ModelOverrides overrides;
  if (model.has_kv_bytes_per_token()) overrides.kv_bytes_per_token = model.kv_bytes_per_token().value();
  if (model.has_state_bytes()) overrides.state_bytes = model.state_bytes().value();
  if (model.has_quantization()) overrides.quantization = model.quantization();
  if (model.has_weights_bytes()) overrides.weights_bytes = model.weights_bytes().value();
  if (model.has_activation_bytes()) overrides.activation_bytes = model.activation_bytes().value();
  return ReadModel(loaded.Resolve(model.source()), overrides);
}

absl::StatusOr<CostOptions> OptionsOf(const v1::Model& model, const ModelShape& shape, const LoadedConfig& loaded) {
  CostOptions options;
  absl::StatusOr<EngineProfile> profile = FindEngineProfile(EngineOf(loaded, model));
  if (!profile.ok()) return absl::InvalidArgumentError(absl::StrCat("engine: ", profile.status().message()));
  options.profile = *std::move(profile);
  if (model.has_block_tokens()) options.block_tokens = model.block_tokens();
  options.activation = model.activation() == v1::Model::BATCHED ? ActivationMode::kBatched : ActivationMode::kResident;
  options.weights_dtype = shape.dtype.value_or(DType::kBf16);
  if (model.has_dtype()) {
    absl::StatusOr<DType> dtype = ParseWeightsDType(model.dtype());
    if (!dtype.ok()) return absl::InvalidArgumentError(absl::StrCat("dtype: ", dtype.status().message()));
    options.weights_dtype = *dtype;
  }
  // Engines keep KV at 16 bits beside 8-bit weights, unless told.
  options.kv_dtype = DTypeBytes(options.weights_dtype) > 1 ? options.weights_dtype : DType::kBf16;
  if (model.has_kv_dtype()) {
    absl::StatusOr<DType> dtype = ParseDType(model.kv_dtype());
    if (!dtype.ok()) return absl::InvalidArgumentError(absl::StrCat("kv_dtype: ", dtype.status().message()));
    options.kv_dtype = *dtype;
  }
  if (model.has_overhead_ratio()) options.overhead_ratio = model.overhead_ratio();
  if (model.has_max_batched_tokens()) options.max_batched_tokens = model.max_batched_tokens();
  if (model.has_max_sequences()) options.max_sequences = model.max_sequences();
  return options;
}

// Compiles a table for each number of devices that the model's instances have.
absl::Status CompileClasses(const v1::Model& config, const ModelShape& shape, CostOptions options, ServedModel& model) {
  std::map<int, int> class_of;
  for (const v1::Instance& spec : config.instances()) {
    options.tensor_parallel = spec.devices_size();
    options.context_tokens = std::min<int64_t>(model.max_model_len, int64_t{1} << 30);
    auto [it, added] = class_of.try_emplace(spec.devices_size(), static_cast<int>(model.classes.size()));
    if (added) {
      absl::StatusOr<CostTable> table = CostTable::Compile(shape, options);
      if (!table.ok()) return table.status();
      model.classes.push_back(*std::move(table));
    }
    const CostTable& table = model.classes[static_cast<size_t>(it->second)];
    const int64_t overhead = config.has_overhead_bytes() ? config.overhead_bytes().value() : table.overhead_bytes();
    ServedModel::Instance instance{.name = spec.name(), .price_class = it->second};
    instance.devices.assign(spec.devices().begin(), spec.devices().end());
    instance.fixed_bytes = table.weights_bytes() + table.activation_bytes() + overhead;
    instance.loaded = spec.loaded();
    if (spec.pool() == v1::Instance::PREALLOCATED) instance.pool_bytes = spec.kv_pool().value();
    model.instances.push_back(std::move(instance));
  }
  return absl::OkStatus();
}

// What a sequence's next `block_tokens` tokens take at most, on each device. All groups of the layout may fill a block
// at once, and none fills more than it takes for so many tokens.
int64_t LargestBlock(const PoolLayout& layout, int64_t block_tokens) {
  int64_t bytes = 0;
  for (const PoolGroup& group : layout.groups()) {
    if (!group.grows) continue;
    const int64_t tokens = group.block_tokens * group.ratio;
    const int64_t blocks = block_tokens / tokens + (block_tokens % tokens != 0 ? 1 : 0);
    bytes += blocks * group.block_bytes * group.copies;
  }
  return bytes;
}

Assurance LevelOf(v1::Model::Assurance level) {
  switch (level) {
    case v1::Model::LOCKSTEP:
      return Assurance::kLockstep;
    case v1::Model::STATISTICAL:
      return Assurance::kStatistical;
    default:
      return Assurance::kWorstCase;
  }
}

// REQUIRES: the model's classes are compiled.
AssuranceSpec AssuranceOf(const v1::Model& config, const ServedModel& model) {
  constexpr int64_t kLongOutput = 8192;  // longer ones are told apart by some steps at a time
  AssuranceSpec spec;
  spec.level = LevelOf(config.assurance());
  const v1::Steps& steps = config.steps();
  if (config.has_risk()) spec.risk = config.risk();
  spec.typical_output_tokens = model.default_max_output_tokens.value_or(std::min(model.max_model_len - 1, kLongOutput));
  // A power of two, of which every group's block is a part or a multiple but for odd sizes, which LargestBlock bounds.
  int64_t block_tokens = int64_t{1} << 16;
  for (const CostTable& table : model.classes) block_tokens = std::min(block_tokens, table.layout().smallest_block());
  spec.block_tokens = static_cast<int64_t>(std::bit_floor(static_cast<uint64_t>(std::max<int64_t>(1, block_tokens))));
  for (const CostTable& table : model.classes)
    spec.block_bytes.push_back(LargestBlock(table.layout(), spec.block_tokens));
  spec.max_sequences = config.max_sequences();
  spec.prompt_tokens_per_step = steps.prompt_tokens();
  spec.start_steps = steps.start_steps();
  spec.min_tokens_per_step = steps.min_tokens();
  spec.max_tokens_per_step = steps.max_tokens();
  spec.steps_per_s = steps.per_s();
  spec.lookahead_tokens = steps.lookahead_tokens();
  spec.report_within = FromProto(steps.report_within());
  return spec;
}

absl::Status LoadModel(const v1::Model& config, const LoadedConfig& loaded, ServedModel& model) {
  absl::StatusOr<ModelShape> shape = ReadShape(config, loaded);
  if (!shape.ok()) return shape.status();
  absl::StatusOr<CostOptions> options = OptionsOf(config, *shape, loaded);
  if (!options.ok()) return options.status();
  model.name = config.name();
  model.max_model_len = config.has_max_model_len() ? config.max_model_len() : shape->max_positions;
  if (model.max_model_len <= 1) {
    return absl::InvalidArgumentError(
        "max_model_len: the source does not say it: set the engine's longest prompt + output");
  }
  if (config.has_default_max_output_tokens()) model.default_max_output_tokens = config.default_max_output_tokens();
  model.min_tokens_per_s = config.min_tokens_per_s();
  model.tokens_per_byte = config.tokens_per_byte();
  model.calibrated = config.prompt_tokens() == v1::Model::CALIBRATED;
  if (absl::Status status = CompileClasses(config, *shape, *options, model); !status.ok()) return status;
  model.assurance = AssuranceOf(config, model);
  return absl::OkStatus();
}

}  // namespace

Costs ServedModel::Price(int64_t prompt_tokens, int64_t output_tokens, int64_t sequences) const {
  Costs costs;
  for (size_t c = 0; c < classes.size(); ++c) costs[c] = classes[c].Price(prompt_tokens, output_tokens, sequences);
  return costs;
}

Costs ServedModel::StartPrice(int64_t prompt_tokens, int64_t sequences) const {
  const int64_t block_tokens = assurance.block_tokens;
  const int64_t whole = (prompt_tokens + block_tokens - 1) / block_tokens * block_tokens;
  return Price(whole, 0, sequences);
}

absl::Duration ServedModel::DrainTime(int64_t output_tokens) const {
  return absl::Seconds(static_cast<double>(output_tokens) / min_tokens_per_s);
}

const ServedModel::Instance* ServedModel::FindInstance(std::string_view instance) const {
  const auto it =
      std::find_if(instances.begin(), instances.end(), [&](const Instance& i) { return i.name == instance; });
  return it == instances.end() ? nullptr : &*it;
}

absl::StatusOr<ModelTable> ModelTable::Load(const LoadedConfig& loaded) {
  ModelTable table;
  std::vector<std::string> errors;
  int32_t next_instance = 0;
  for (int m = 0; m < loaded.config.models_size(); ++m) {
    const v1::Model& config = loaded.config.models(m);
    ServedModel model{.id = ModelId{m}};
    const std::string path = absl::StrFormat("models[%d]", m);
    if (absl::Status status = LoadModel(config, loaded, model); !status.ok()) {
      errors.push_back(absl::StrCat(loaded.Where(path), ": ", status.message()));
      continue;
    }
    for (size_t i = 0; i < model.instances.size(); ++i) {
      model.instances[i].id = InstanceId{next_instance++};
      table.instances_.push_back({table.models_.size(), i});
    }
    table.by_name_.emplace(model.name, table.models_.size());
    for (const std::string& alias : config.aliases()) table.by_name_.emplace(alias, table.models_.size());
    table.models_.push_back(std::move(model));
  }
  if (!errors.empty()) return absl::InvalidArgumentError(absl::StrJoin(errors, "\n"));
  return table;
}

const ServedModel* ModelTable::Find(std::string_view name) const {
  const auto it = by_name_.find(absl::string_view(name.data(), name.size()));
  return it == by_name_.end() ? nullptr : &models_[it->second];
}

const ServedModel::Instance& ModelTable::instance(InstanceId id) const {
  const auto [model, index] = instances_[Index(id)];
  return models_[model].instances[index];
}

GateConfig MakeGateConfig(const v1::Config& config, const ModelTable& models,
                          const std::vector<int64_t>& device_budgets) {
  GateConfig gate;
  std::map<std::string, int> device_index;
  for (int d = 0; d < config.devices_size(); ++d) {
    const int64_t budget = device_budgets[static_cast<size_t>(d)];
    gate.devices.push_back({config.devices(d).id(), budget, budget});
    device_index[config.devices(d).id()] = d;
  }
  for (const ServedModel& model : models.models()) {
    ModelSpec spec{.name = model.name, .assurance = model.assurance};
    for (const ServedModel::Instance& instance : model.instances) {
      InstanceSpec out{.name = instance.name, .fixed_bytes = instance.fixed_bytes, .pool_bytes = instance.pool_bytes};
      for (const std::string& device : instance.devices) out.devices.push_back(device_index.at(device));
      out.price_class = instance.price_class;
      out.loaded = instance.loaded;
      spec.instances.push_back(std::move(out));
    }
    gate.models.push_back(std::move(spec));
  }
  for (const auto& [name, tenant] : config.tenants()) {
    const int64_t limit = tenant.has_limit() ? tenant.limit().value() : kUnlimitedBytes;
    if (name == "default") {
      gate.default_tenant_limit_bytes = limit;
      gate.default_tenant_weight = tenant.weight();
    } else {
      gate.tenants.push_back({name, limit, tenant.weight()});
    }
  }
  std::sort(gate.tenants.begin(), gate.tenants.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  gate.queue = {.max_requests = config.queue().max_requests(),
                .max_tokens = config.queue().max_tokens(),
                .max_wait = FromProto(config.queue().max_wait()),
                .ageing = FromProto(config.queue().ageing()),
                .max_bypass = config.queue().max_bypass(),
                .bypass_window = FromProto(config.queue().bypass_window()),
                .rejoin_window = FromProto(config.queue().rejoin_window()),
                .early_rejection = config.queue().early_rejection()};
  gate.leases = {.ttl = FromProto(config.leases().ttl()),
                 .confirm_within = FromProto(config.leases().confirm_within()),
                 .abort_linger = FromProto(config.leases().abort_linger()),
                 .max = config.leases().max()};
  return gate;
}

absl::Status CheckFits(const LoadedConfig& loaded, const ModelTable& models,
                       const std::vector<int64_t>& device_budgets) {
  std::vector<std::string> errors;
  for (int d = 0; d < loaded.config.devices_size(); ++d) {
    const std::string& id = loaded.config.devices(d).id();
    int64_t left = device_budgets[static_cast<size_t>(d)];
    for (const ServedModel& model : models.models()) {
      for (const ServedModel::Instance& instance : model.instances) {
        if (std::find(instance.devices.begin(), instance.devices.end(), id) == instance.devices.end()) continue;
        const auto m = static_cast<int>(Index(model.id));
        const auto i = static_cast<int>(&instance - model.instances.data());
        const std::string where = loaded.Where(absl::StrFormat("models[%d].instances[%d]", m, i));
        // One that is loaded later may take the place of others: it has to fit the device alone.
        const int64_t room = instance.loaded ? left : device_budgets[static_cast<size_t>(d)];
        if (instance.fixed_bytes > room) {
          errors.push_back(
              absl::StrCat(where, ": weights, overhead and activation (", FormatBytes(instance.fixed_bytes),
                           ") do not fit device ", id, ": ", FormatBytes(std::max<int64_t>(room, 0)),
                           " are left there. Use more devices, a smaller dtype or a lower overhead_ratio"));
        } else if (instance.pool_bytes && *instance.pool_bytes > room - instance.fixed_bytes) {
          errors.push_back(absl::StrCat(where, ": kv_pool: ", FormatBytes(*instance.pool_bytes),
                                        " does not fit device ", id, ": ", FormatBytes(room - instance.fixed_bytes),
                                        " are left after weights, overhead and activation (",
                                        FormatBytes(instance.fixed_bytes), "). Lower it"));
        }
        if (instance.loaded) left -= instance.fixed_bytes + instance.pool_bytes.value_or(0);
      }
    }
  }
  return errors.empty() ? absl::OkStatus() : absl::InvalidArgumentError(absl::StrJoin(errors, "\n"));
}

absl::Status CheckModels(const LoadedConfig& loaded) {
  const absl::StatusOr<ModelTable> models = ModelTable::Load(loaded);
  if (!models.ok()) return models.status();
  constexpr int64_t kNotKnown = int64_t{1} << 60;
  std::vector<int64_t> budgets;
  for (const v1::Device& device : loaded.config.devices()) {
    budgets.push_back(device.has_simulated() ? device.simulated().total().value() - device.headroom().value()
                                             : kNotKnown);
  }
  return CheckFits(loaded, *models, budgets);
}

}  // namespace vramgate
