#include "admission/server/model_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_replace.h"
#include "tests/admission/server/parts.h"

namespace vramgate {
namespace {

using ::testing::HasSubstr;

std::string But(std::string_view from, std::string_view to) {
  const std::string text = absl::StrReplaceAll(kTwoDevices, {{std::string(from), std::string(to)}});
  EXPECT_NE(text, kTwoDevices) << from;
  return text;
}
std::string LoadError(const std::string& yaml) {
  const absl::StatusOr<ModelTable> table = ModelTable::Load(Loaded(yaml));
  EXPECT_EQ(table.status().code(), absl::StatusCode::kInvalidArgument) << yaml;
  return std::string(table.status().message());
}

TEST(ModelTableTest, FindsModelsByNameAndAlias) {
  const Parts parts;
  const ServedModel* model = parts.models->Find("m");
  ASSERT_NE(model, nullptr);
  EXPECT_EQ(parts.models->Find("alias"), model);
  EXPECT_EQ(parts.models->Find("M"), nullptr);
  EXPECT_EQ(parts.models->Find(""), nullptr);
  EXPECT_EQ(model->FindInstance("tp")->id, InstanceId{1});
  EXPECT_EQ(model->FindInstance("b"), nullptr);
  EXPECT_EQ(&parts.models->instance(InstanceId{1}), model->FindInstance("tp"));
}

TEST(ModelTableTest, InstancesOfOneShapeShareAPriceClass) {
  const Parts parts;
  const ServedModel& model = parts.models->models()[0];
  EXPECT_EQ(model.classes.size(), 2u);
  EXPECT_EQ(model.instances[0].price_class, 0);
  EXPECT_EQ(model.instances[1].price_class, 1);
  EXPECT_EQ(model.instances[0].pool_bytes, kGiB);
  EXPECT_GT(model.instances[0].fixed_bytes, model.instances[1].fixed_bytes) << "half the weights on each of two";
  EXPECT_EQ(model.DrainTime(25), absl::Milliseconds(2500));
}

TEST(ModelTableTest, AFaultNamesTheModelAndTheWayOut) {
  EXPECT_THAT(
      LoadError(But("shape: {parameters: 1000000, layers: 1, heads: 2, hidden: 64}", "source: none/config.json")),
      AllOf(HasSubstr("test.yaml:5: models[0]: "), HasSubstr("none/config.json")));
  EXPECT_THAT(LoadError(But("    min_tokens_per_s: 10\n", "    dtype: fp12\n")), HasSubstr("dtype: "));
}

TEST(ModelTableTest, GateConfigIsTheConfigs) {
  const LoadedConfig loaded = Loaded(absl::StrCat(kTwoDevices, R"(
tenants: {default: {limit: 3GiB, weight: 0.5}, b: {limit: 2GiB, weight: 4}, a: {}}
queue: {max_requests: 7, max_wait: 3s, ageing: 4s, max_bypass: 5, bypass_window: 6s, rejoin_window: 8s, max_tokens: 9}
leases: {ttl: 11s, confirm_within: 12s, abort_linger: 13s, max: 14}
)"));
  const absl::StatusOr<ModelTable> models = ModelTable::Load(loaded);
  ASSERT_TRUE(models.ok());
  const GateConfig gate = MakeGateConfig(loaded.config, *models, {10 * kGiB, 9 * kGiB});
  ASSERT_EQ(gate.devices.size(), 2u);
  EXPECT_EQ(gate.devices[1].capacity_bytes, 9 * kGiB);
  EXPECT_EQ(gate.models[0].instances[1].devices, (std::vector<int>{0, 1}));
  EXPECT_EQ(gate.models[0].instances[1].price_class, 1);
  EXPECT_EQ(gate.default_tenant_limit_bytes, 3 * kGiB);
  ASSERT_EQ(gate.tenants.size(), 2u);
  EXPECT_EQ(gate.tenants[0].name, "a");
  EXPECT_EQ(gate.tenants[0].limit_bytes, kUnlimitedBytes);
  EXPECT_EQ(gate.tenants[1].limit_bytes, 2 * kGiB);
  EXPECT_EQ(gate.default_tenant_weight, 0.5);
  EXPECT_EQ(gate.tenants[0].weight, 1);
  EXPECT_EQ(gate.tenants[1].weight, 4);
  EXPECT_EQ(gate.queue.max_requests, 7);
  EXPECT_EQ(gate.queue.max_tokens, 9);
  EXPECT_EQ(gate.queue.max_wait, absl::Seconds(3));
  EXPECT_EQ(gate.queue.ageing, absl::Seconds(4));
  EXPECT_EQ(gate.queue.max_bypass, 5);
  EXPECT_EQ(gate.queue.bypass_window, absl::Seconds(6));
  EXPECT_EQ(gate.queue.rejoin_window, absl::Seconds(8));
  EXPECT_EQ(gate.leases.ttl, absl::Seconds(11));
  EXPECT_EQ(gate.leases.confirm_within, absl::Seconds(12));
  EXPECT_EQ(gate.leases.abort_linger, absl::Seconds(13));
  EXPECT_EQ(gate.leases.max, 14);
}

TEST(ModelTableTest, WhatDoesNotFitIsSaidWithWhatIsLeft) {
  const Parts parts;
  EXPECT_TRUE(CheckFits(parts.loaded, *parts.models, {10 * kGiB, 10 * kGiB}).ok());
  const absl::Status pool = CheckFits(parts.loaded, *parts.models, {10 * kGiB, kGiB});
  EXPECT_THAT(std::string(pool.message()),
              AllOf(HasSubstr("test.yaml:16: models[0].instances[1]: kv_pool: 1GiB does not fit device 1: "),
                    HasSubstr("Lower it")));
  const absl::Status weights = CheckFits(parts.loaded, *parts.models, {kMiB, 10 * kGiB});
  EXPECT_THAT(std::string(weights.message()), HasSubstr("weights, overhead and activation"));
  const absl::Status none = CheckFits(parts.loaded, *parts.models, {0, 0});
  EXPECT_THAT(std::string(none.message()), HasSubstr("0B are left there"));
}

TEST(ModelTableTest, AnAssuranceKnowsTheModelsBlocks) {
  const std::string yaml =
      But("    block_tokens: 1\n",
          "    block_tokens: 48\n    assurance: statistical\n    risk: 0.05\n"
          "    steps: {per_s: 30, min_tokens: 0.5, max_tokens: 4, prompt_tokens: 512, start_steps: 9}\n");
  const absl::StatusOr<ModelTable> models = ModelTable::Load(Loaded(yaml));
  ASSERT_TRUE(models.ok()) << models.status();
  const ServedModel& model = models->models()[0];
  const AssuranceSpec& spec = model.assurance;
  EXPECT_EQ(spec.level, Assurance::kStatistical);
  EXPECT_EQ(spec.risk, 0.05);
  EXPECT_EQ(spec.steps_per_s, 30);
  EXPECT_EQ(spec.min_tokens_per_step, 0.5);
  EXPECT_EQ(spec.max_tokens_per_step, 4);
  EXPECT_EQ(spec.prompt_tokens_per_step, 512);
  EXPECT_EQ(spec.start_steps, 9);
  EXPECT_EQ(spec.block_tokens, 32) << "a power of two";
  ASSERT_EQ(spec.block_bytes.size(), 2u);
  EXPECT_EQ(spec.block_bytes[0], 48 * kMiB);
  // What grows by such blocks from the start is never less than what it costs.
  for (int64_t prompt = 1; prompt < 200; ++prompt) {
    for (int64_t output = 0; output < 200; ++output) {
      const int64_t grown =
          model.StartPrice(prompt, 2)[0].kv_bytes + ((prompt - 1) % 32 + output) / 32 * spec.block_bytes[0] * 2;
      ASSERT_GE(grown, model.Price(prompt, output, 2)[0].kv_bytes) << prompt << " + " << output;
    }
  }
}

}  // namespace
}  // namespace vramgate
