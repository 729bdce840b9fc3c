// The parts of a sidecar that need no socket, from a config's text: for tests of what the server reads and says.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "admission/check.h"
#include "admission/server/config.h"
#include "admission/server/convert.h"
#include "admission/server/model_table.h"
#include "admission/units.h"

namespace vramgate {

// Instance `a` on device 0, `tp` over both. A token takes 1 MiB of KV and 128 B of activation on each device.
inline constexpr char kTwoDevices[] = R"(devices:
  - {id: "0", simulated: {total: 11GiB}}
  - {id: "1", simulated: {total: 11GiB}}
models:
  - name: m
    aliases: [alias]
    shape: {parameters: 1000000, layers: 1, heads: 2, hidden: 64}
    kv_bytes_per_token: 1MiB
    block_tokens: 1
    max_model_len: 1000
    default_max_output_tokens: 100
    min_tokens_per_s: 10
    tokens_per_byte: 0.5
    instances:
      - {name: a, devices: ["0"], kv_pool: 1GiB}
      - {name: tp, devices: ["0", "1"], kv_pool: 1GiB}
)";

inline LoadedConfig Loaded(std::string_view yaml) {
  absl::StatusOr<LoadedConfig> loaded = ParseConfig(yaml, "test.yaml");
  CHECK(loaded.ok(), loaded.status().ToString().c_str());
  return *std::move(loaded);
}

class Parts {
 public:
  explicit Parts(std::string_view yaml = kTwoDevices) : loaded(Loaded(yaml)) {
    absl::StatusOr<ModelTable> table = ModelTable::Load(loaded);
    CHECK(table.ok(), table.status().ToString().c_str());
    models = std::make_unique<ModelTable>(*std::move(table));
    const std::vector<int64_t> budgets(static_cast<size_t>(loaded.config.devices_size()), 10 * kGiB);
    controller = std::make_unique<Controller>(MakeGateConfig(loaded.config, *models, budgets), clock, nullptr);
    converter = std::make_unique<Converter>(*models, *controller, loaded.config);
  }

  LoadedConfig loaded;
  FakeClock clock;
  std::unique_ptr<ModelTable> models;
  std::unique_ptr<Controller> controller;
  std::unique_ptr<Converter> converter;
};

}  // namespace vramgate
