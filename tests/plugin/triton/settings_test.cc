#include "plugin/triton/settings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "plugin/triton/model_loads.h"
#include "tests/plugin/triton/error_text.h"

namespace vramgate {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

json Config(const std::map<std::string, std::string>& parameters) {
  json config = {{"name", "gate"}, {"max_batch_size", 4}, {"model_transaction_policy", {{"decoupled", true}}}};
  config["parameters"]["TARGET_MODEL"]["string_value"] = "llm";
  for (const auto& [key, value] : parameters) config["parameters"][key]["string_value"] = value;
  return config;
}

TEST(SettingsTest, DefaultsAreOfTheTarget) {
  GateSettings settings;
  ASSERT_EQ(TextOf(ReadSettings(Config({}), &settings)), "");
  EXPECT_EQ(settings.model, "gate");
  EXPECT_EQ(settings.gate_model, "llm");
  EXPECT_EQ(settings.gate, "unix:/run/vramgate/plugin.sock");
  EXPECT_EQ(settings.target_version, -1);
  EXPECT_EQ(settings.max_wait_ns, -1);
  EXPECT_EQ(settings.when_away, VG_FAIL_CLOSED);
  EXPECT_EQ(settings.starts_per_second, 400);
  EXPECT_TRUE(settings.batched);
  EXPECT_TRUE(settings.decoupled);
}

TEST(SettingsTest, KeysAreInTheirUnits) {
  GateSettings settings;
  const json config = Config({{"MAX_WAIT_MS", "1500"},
                              {"WHEN_AWAY", "local_share"},
                              {"LOCAL_SHARE_MIB", "64"},
                              {"MAX_HELD_MIB", "2"},
                              {"MAX_TOKENS", " a , b.c,, "},
                              {"TENANT", ""}});
  ASSERT_EQ(TextOf(ReadSettings(config, &settings)), "");
  EXPECT_EQ(settings.max_wait_ns, 1500000000);
  EXPECT_EQ(settings.local_share_bytes, 64 << 20);
  EXPECT_EQ(settings.most_held_bytes, 2 << 20);
  EXPECT_THAT(settings.max_tokens, ElementsAre("a", "b.c"));
  EXPECT_THAT(settings.tenant, IsEmpty());
}

TEST(SettingsTest, WhatIsWrongIsNamed) {
  const std::map<std::string, std::string> wrong = {
      {"GATE", "tcp:1"},          {"MAX_WAIT_MS", "-1"},   {"MAX_WAIT_MS ", "1"},  {"STARTS_PER_SECOND", "1.5"},
      {"MAX_HELD_MIB", "0"},      {"REVOCABLE", "yes"},    {"WHEN_AWAY", "never"}, {"TARGET_MODEL", "gate"},
      {"TARGET_VERSION", "1e99"}, {"LOCAL_SHARE_MIB", "5"}};
  for (const auto& [key, value] : wrong) {
    GateSettings settings;
    EXPECT_THAT(TextOf(ReadSettings(Config({{key, value}}), &settings)),
                AllOf(HasSubstr("vramgate: config.pbtxt: parameters: "), HasSubstr(key)));
  }
}

TEST(SettingsTest, AConfigWithoutParameters) {
  for (const json& config :
       {json::object(), json{{"parameters", json::array()}}, json{{"parameters", {{"GATE", 5}}}}}) {
    GateSettings settings;
    EXPECT_THAT(TextOf(ReadSettings(config, &settings)), HasSubstr("TARGET_MODEL"));
  }
}

TEST(LoadTargetTest, DefaultsAndKeys) {
  LoadTarget target;
  ASSERT_EQ(TextOf(ReadLoadTarget({}, "llm", &target)), "");
  EXPECT_EQ(target.model, "llm");
  EXPECT_EQ(target.timeout_ns, 10000000000);
  EXPECT_FALSE(target.reload);
  ASSERT_EQ(TextOf(ReadLoadTarget({{"MODEL", "m"}, {"INSTANCE", "b"}, {"TIMEOUT_MS", "20"}, {"RELOAD", "allow"}}, "llm",
                                  &target)),
            "");
  EXPECT_EQ(target.model, "m");
  EXPECT_EQ(target.instance, "b");
  EXPECT_EQ(target.timeout_ns, 20000000);
  EXPECT_TRUE(target.reload);
}

TEST(LoadTargetTest, WhatIsWrongIsNamed) {
  const std::map<std::string, std::string> wrong = {{"GATE", "/a"},        {"TIMEOUT_MS", "0"},
                                                    {"TIMEOUT_MS ", "5"},  {"MODEL", ""},
                                                    {"RELOAD", "perhaps"}, {"WHEN_AWAY", "local_share"}};
  for (const auto& [key, value] : wrong) {
    LoadTarget target;
    EXPECT_THAT(TextOf(ReadLoadTarget({{key, value}}, "llm", &target)), HasSubstr(key));
  }
}

TEST(RefusalTest, SaysWhyAndWhenToComeBack) {
  vg_decision decision = VG_DECISION_INIT;
  decision.code = VG_RESOURCE_EXHAUSTED;
  std::strcpy(decision.reason, "BUDGET_EXHAUSTED");
  std::strcpy(decision.message, "no room");
  decision.retry_after_ns = 1000001;
  const Error error = Refusal(decision);
  EXPECT_EQ(TRITONSERVER_ErrorCode(error.get()), TRITONSERVER_ERROR_UNAVAILABLE);
  EXPECT_EQ(TextOf(error), "vramgate: BUDGET_EXHAUSTED: no room; retry_after_ms=2");
}

TEST(RefusalTest, EveryCodeIsOneOfTritons) {
  for (int32_t code = VG_CANCELLED; code <= VG_UNAUTHENTICATED + 1; ++code) {
    EXPECT_NE(TritonCode(code), TRITONSERVER_ERROR_UNKNOWN) << code;
  }
}

}  // namespace
}  // namespace vramgate
