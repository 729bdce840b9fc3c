#include "admission/server/engines.h"

#include "admission/check.h"
#include "admission/estimator/text_scanner.h"
#include "admission/server/durations.h"

namespace vramgate {

PredictedPool PredictPool(const ServedModel& model, const ServedModel::Instance& instance) {
  const CostTable& table = model.classes[static_cast<size_t>(instance.price_class)];
  const PoolLayout& layout = table.layout();
  const int64_t block_tokens = layout.smallest_block();
  PredictedPool predicted{.pool_bytes = instance.pool_bytes.value_or(0),
                          .block_tokens = block_tokens,
                          .max_model_len = model.max_model_len,
                          .bytes_per_longest_request = table.KvBytes(model.max_model_len, Phase::kPeak)};
  // Where layers keep windows or states, a request is no number of equal blocks, unless the pool is made of ids.
  const int64_t block = layout.id_bytes() > 0 ? layout.id_bytes() : table.KvBytes(1, Phase::kPeak);
  const int64_t blocks = (model.max_model_len + block_tokens - 1) / block_tokens;
  int64_t product = 0;
  predicted.uniform = block > 0 && block % block_tokens == 0 && !__builtin_mul_overflow(block, blocks, &product) &&
                      product == predicted.bytes_per_longest_request;
  if (predicted.uniform) predicted.bytes_per_token = block / block_tokens;
  if (predicted.uniform || layout.id_bytes() > 0) predicted.bytes_per_block = block;
  return predicted;
}

std::vector<WatchedEngine> EnginesToWatch(const LoadedConfig& loaded, const ModelTable& models, const Fleet& fleet) {
  std::vector<WatchedEngine> engines;
  for (const ServedModel& model : models.models()) {
    const v1::Model& config = loaded.config.models(static_cast<int>(Index(model.id)));
    EngineVersion version;
    TextScanner scan(config.engine());  // "vllm-0.21"
    const bool versioned = scan.SkipPast("-") && scan.Version(&version);
    for (size_t i = 0; i < model.instances.size(); ++i) {
      const ServedModel::Instance& instance = model.instances[i];
      const v1::Instance& spec = config.instances(static_cast<int>(i));
      if (!spec.has_engine_metrics() && !spec.has_engine_log()) continue;
      CHECK(instance.pool_bytes.has_value(), "EnginesToWatch: the config was not checked");
      WatchedEngine engine{.model = model.name, .instance = instance.name, .pool = fleet.instance(instance.id).pool};
      engine.predicted = PredictPool(model, instance);
      if (spec.has_engine_metrics()) {
        const absl::StatusOr<HttpUrl> url = ParseHttpUrl(spec.engine_metrics());
        CHECK(url.ok(), "EnginesToWatch: the config was not checked");
        engine.metrics = *url;
      }
      if (spec.has_engine_log()) engine.log_path = loaded.Resolve(spec.engine_log());
      if (versioned) engine.version = version;
      engine.poll_interval = FromProto(spec.engine_poll_interval());
      engines.push_back(std::move(engine));
    }
  }
  return engines;
}

std::vector<Metrics::DriftView> Drifts(const EngineWatch& watch) {
  std::vector<Metrics::DriftView> drifts;
  for (EngineWatch::DriftView& view : watch.drifts()) {
    drifts.push_back({std::move(view.model), std::move(view.instance), view.ratio});
  }
  return drifts;
}

}  // namespace vramgate
