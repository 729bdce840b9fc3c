#include "plugin/triton/model_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/plugin/triton/error_text.h"

namespace vramgate {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

json Target() {
  return json::parse(R"({"name": "llm", "backend": "x", "max_batch_size": 8,
    "input": [{"name": "IN", "data_type": "TYPE_INT32", "dims": [-1], "reshape": {"shape": []}, "optional": true}],
    "output": [{"name": "OUT", "data_type": "TYPE_FP16", "dims": [2], "label_filename": "labels.txt"}],
    "model_transaction_policy": {"decoupled": true}})");
}

TEST(ModelConfigTest, WhatIsLeftOutIsTheTargets) {
  const json gate =
      json::parse(R"({"name": "gate", "backend": "vramgate", "max_batch_size": 0, "input": [], "output": []})");
  ASSERT_TRUE(NeedsCompletion(gate));
  const json whole = Complete(gate, Target());
  EXPECT_FALSE(NeedsCompletion(whole));
  EXPECT_EQ(whole["name"], "gate");
  EXPECT_EQ(whole["backend"], "vramgate");
  EXPECT_EQ(whole["max_batch_size"], 8);
  EXPECT_EQ(whole["model_transaction_policy"]["decoupled"], true);
  EXPECT_EQ(whole["input"],
            json::parse(R"([{"name": "IN", "data_type": "TYPE_INT32", "dims": [-1], "optional": true}])"))
      << "the client's shape, not the one that the target's engine sees";
  EXPECT_EQ(whole["output"], json::parse(R"([{"name": "OUT", "data_type": "TYPE_FP16", "dims": [2]}])"))
      << "no file of labels, which lies in the target's directory";
  EXPECT_EQ(whole["instance_group"][0]["kind"], "KIND_CPU");
}

TEST(ModelConfigTest, WhatIsWrittenStays) {
  const json gate = json::parse(R"({"input": [{"name": "MINE"}], "output": [], "instance_group": [{"count": 3}]})");
  const json whole = Complete(gate, Target());
  EXPECT_EQ(whole["input"][0]["name"], "MINE");
  EXPECT_EQ(whole["output"][0]["name"], "OUT");
  EXPECT_EQ(whole["instance_group"][0]["count"], 3);
}

TEST(ModelConfigTest, MessagesThereAndBack) {
  TRITONSERVER_Message* message = nullptr;
  ASSERT_EQ(TextOf(MakeMessage(Target(), &message)), "");
  json config;
  ASSERT_EQ(TextOf(TakeJson(message, &config)), "");
  EXPECT_EQ(config, Target());
  ASSERT_EQ(TextOf(MakeMessage(json::array(), &message)), "");
  EXPECT_THAT(TextOf(TakeJson(message, &config)), HasSubstr("is no JSON object"));
}

}  // namespace
}  // namespace vramgate
