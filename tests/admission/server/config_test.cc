// The config file: what is read, what is refused and how it is said, and that what is printed reads back as the same.
#include "admission/server/config.h"

#include <gmock/gmock.h>
#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <random>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "admission/units.h"
#include "tests/admission/server/config_test_text.h"

namespace vramgate {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

constexpr char kExample[] = VRAMGATE_SOURCE_DIR "/examples/config.yaml";

v1::Config Good(const std::string& yaml) {
  const absl::StatusOr<LoadedConfig> loaded = ParseConfig(yaml, "f.yaml");
  EXPECT_TRUE(loaded.ok()) << loaded.status();
  return loaded.ok() ? loaded->config : v1::Config();
}
std::vector<std::string> Warnings(const std::string& yaml) {
  const absl::StatusOr<LoadedConfig> loaded = ParseConfig(yaml, "f.yaml");
  EXPECT_TRUE(loaded.ok()) << loaded.status();
  return loaded.ok() ? loaded->warnings : std::vector<std::string>();
}

TEST(ConfigTest, DefaultsAreThoseOfTheContract) {
  const v1::Config c = Good(kLeast);
  ASSERT_EQ(c.listeners().grpc_size(), 1);
  EXPECT_EQ(c.listeners().grpc(0).address(), "unix:/run/vramgate/gate.sock");
  EXPECT_FALSE(c.listeners().grpc(0).insecure());
  EXPECT_EQ(c.listeners().operator_(), "unix:/run/vramgate/operator.sock");
  EXPECT_EQ(c.listeners().admin(), "127.0.0.1:9901");
  EXPECT_EQ(c.devices(0).headroom().value(), kGiB);
  EXPECT_EQ(c.devices(0).poll_interval().seconds(), 1);
  EXPECT_EQ(c.devices(0).stale_after().seconds(), 10);
  const v1::Model& m = c.models(0);
  EXPECT_EQ(m.engine(), "generic");
  EXPECT_EQ(m.block_tokens(), 16);
  EXPECT_EQ(m.activation(), v1::Model::RESIDENT);
  EXPECT_EQ(m.assurance(), v1::Model::WORST_CASE);
  EXPECT_FALSE(m.has_risk());
  EXPECT_EQ(m.steps().per_s(), 0);
  EXPECT_EQ(m.steps().lookahead_tokens(), 16);
  EXPECT_EQ(m.steps().report_within().seconds(), 2);
  EXPECT_EQ(m.min_tokens_per_s(), 10);
  EXPECT_EQ(m.tokens_per_byte(), 1);
  EXPECT_EQ(m.max_batched_tokens(), 8192);
  EXPECT_EQ(m.overhead_ratio(), 0.15);
  EXPECT_FALSE(m.has_max_model_len());
  EXPECT_FALSE(m.has_default_max_output_tokens());
  EXPECT_FALSE(m.has_weights_bytes());
  EXPECT_FALSE(m.has_shape());
  EXPECT_EQ(m.instances(0).pool(), v1::Instance::PREALLOCATED);
  EXPECT_EQ(c.tenants().at("default").weight(), 1);
  EXPECT_FALSE(c.tenants().at("default").has_limit());
  EXPECT_EQ(c.queue().max_requests(), 1000);
  EXPECT_EQ(c.queue().max_tokens(), 10'000'000);
  EXPECT_EQ(c.queue().max_wait().seconds(), 30);
  EXPECT_EQ(c.queue().ageing().seconds(), 10);
  EXPECT_EQ(c.queue().max_bypass(), 16);
  EXPECT_EQ(c.queue().bypass_window().seconds(), 1);
  EXPECT_EQ(c.queue().rejoin_window().seconds(), 5);
  EXPECT_EQ(c.leases().ttl().seconds(), 60);
  EXPECT_EQ(c.leases().confirm_within().seconds(), 10);
  EXPECT_EQ(c.leases().abort_linger().seconds(), 2);
  EXPECT_EQ(c.leases().max(), 100'000);
  EXPECT_EQ(c.limits().request_id_bytes(), 256);
  EXPECT_EQ(c.limits().message_bytes().value(), 64 * kMiB);
  EXPECT_EQ(c.limits().streams(), 50'000);
  EXPECT_EQ(c.trusted_cost_size(), 0);
  EXPECT_EQ(c.drain().grace().seconds(), 30);
  EXPECT_EQ(c.http_status().at("QUEUE_FULL"), 429);
  EXPECT_EQ(c.http_status().at("NEVER_FITS"), 413);
  EXPECT_EQ(c.log().level(), v1::Log::INFO);
  EXPECT_EQ(c.log().grants(), v1::Log::SAMPLED);
}

TEST(ConfigTest, TheExampleIsGoodAndNamesItsModel) {
  const absl::StatusOr<LoadedConfig> loaded = LoadConfig(kExample);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_THAT(loaded->warnings, IsEmpty());
  const std::string source = loaded->Resolve(loaded->config.models(0).source());
  EXPECT_EQ(source, VRAMGATE_SOURCE_DIR "/examples/models/llama-3.1-8b/config.json");
  EXPECT_TRUE(std::ifstream(source).good());
  EXPECT_THAT(loaded->Where("models[0].instances[0].kv_pool"),
              AllOf(StartsWith(kExample), HasSubstr(": models[0].instances[0].kv_pool")));
}

TEST(ConfigTest, WhatIsPrintedReadsBackAsTheSame) {
  for (const std::string& text : {std::string(kLeast), With(R"(tenants:
  "a.b \" c": {limit: 1234567891}
  "null": {weight: 0.3}
queue: {max_wait: 1m30s, ageing: 1ms}
listeners: {grpc: ["unix:/a", {address: "[::1]:0", insecure: true}]}
)")}) {
    const v1::Config config = Good(text);
    const v1::Config again = Good(ConfigToYaml(config));
    EXPECT_TRUE(google::protobuf::util::MessageDifferencer::Equals(config, again)) << ConfigToYaml(config);
    EXPECT_EQ(ConfigToYaml(again), ConfigToYaml(config));
    // JSON is YAML too.
    EXPECT_TRUE(google::protobuf::util::MessageDifferencer::Equals(config, Good(ConfigToJson(config))));
  }
}

TEST(ConfigTest, TheEffectiveConfigHasHumanUnits) {
  const v1::Config config = Good(kLeast);
  EXPECT_THAT(ConfigToYaml(config),
              AllOf(HasSubstr("kv_pool: 40GiB\n"), HasSubstr("max_wait: 30s\n"), HasSubstr("  - id: \"0\"\n")));
  const nlohmann::json json = nlohmann::json::parse(ConfigToJson(config));
  EXPECT_EQ(json["models"][0]["instances"][0]["kv_pool"], "40GiB");
  EXPECT_EQ(json["queue"]["max_requests"], 1000);
  EXPECT_EQ(json["listeners"]["grpc"][0]["insecure"], false);
  EXPECT_EQ(json["devices"][0]["id"], "0");
}

TEST(ConfigTest, ErrorsNameFileLineFieldValueAndFix) {
  EXPECT_THAT(Error(But("40GiB", "40Gib")),
              StartsWith("f.yaml:7: models[0].instances[0].kv_pool: \"40Gib\" is not a size: write"));
  EXPECT_THAT(Error(With("queue: {max_wait: 30}\n")),
              StartsWith("f.yaml:8: queue.max_wait: \"30\" is not a duration: write"));
  EXPECT_EQ(Error(But("kv_pool", "kvpool")),
            "f.yaml:7: models[0].instances[0].kvpool: unknown field; did you mean kv_pool? "
            "Known here: name, devices, pool, kv_pool, engine_metrics, engine_log, engine_poll_interval, "
            "loaded\n"
            "f.yaml:7: models[0].instances[0].kv_pool: missing: a preallocated pool needs its size on each device; "
            "or write `pool: dynamic`");
  EXPECT_THAT(Error(With("frobnicate: 1\n")),
              AllOf(HasSubstr("f.yaml:8: frobnicate: unknown field; Known here: listeners"),
                    ::testing::Not(HasSubstr("did you mean"))));
}

TEST(ConfigTest, EveryErrorIsSaidNotJustTheFirst) {
  const std::string errors = Error(R"(devices:
  - {id: "0", headroom: -1GiB, polling: 1s}
models:
  - name: m
    source: x
    block_tokens: many
    instances:
      - {name: a, devices: ["1"], pool: dynamic, kv_pool: 1GiB}
queue: [1]
)");
  const std::vector<std::string> lines = absl::StrSplit(errors, '\n');
  EXPECT_THAT(
      lines,
      ElementsAre(StartsWith("f.yaml:2: devices[0].headroom: "), StartsWith("f.yaml:2: devices[0].polling: "),
                  StartsWith("f.yaml:6: models[0].block_tokens: "), StartsWith("f.yaml:9: queue: is a list"),
                  StartsWith("f.yaml:8: models[0].instances[0].devices[0]: \"1\" is no device; devices are: \"0\""),
                  StartsWith("f.yaml:8: models[0].instances[0].kv_pool: ")));
}

TEST(ConfigTest, ManyErrorsAreBounded) {
  std::string text = kLeast;
  for (int i = 0; i < 1000; ++i) absl::StrAppend(&text, "unknown", i, ": 1\n");
  const std::vector<std::string> lines = absl::StrSplit(Error(text), '\n');
  EXPECT_EQ(lines.size(), ErrorList::kMax + 1);
  EXPECT_EQ(lines.back(), "... and 950 more");
}

TEST(ConfigTest, AnEmptyFileMissesWhatHasNoDefault) {
  for (const char* text : {"", "# nothing\n", "{}\n"}) {
    EXPECT_EQ(Error(text),
              "f.yaml:1: devices: missing: it has no default\nf.yaml:1: models: missing: it has no default");
  }
}

TEST(ConfigTest, AtMostFourDifferentNumbersOfDevices) {
  std::string text = "devices:\n";
  for (int i = 0; i < 5; ++i) absl::StrAppend(&text, "  - {id: d", i, ", simulated: {total: 80GiB}}\n");
  text += "models:\n  - name: m\n    source: x\n    instances:\n";
  std::string devices;
  for (int i = 0; i < 5; ++i) {
    absl::StrAppend(&devices, i == 0 ? "" : ", ", "d", i);
    absl::StrAppend(&text, "      - {name: i", i, ", devices: [", devices, "], pool: dynamic}\n");
    if (i < 4) {
      EXPECT_TRUE(ParseConfig(text, "f.yaml").ok()) << i;
    }
  }
  EXPECT_THAT(Error(text),
              HasSubstr("f.yaml:10: models[0].instances: run on 5 different numbers of devices (1, 2, 3, 4, 5)"));
}

TEST(ConfigTest, DefaultEntriesStandBesideGivenOnes) {
  const v1::Config c = Good(With("http_status: {QUEUE_FULL: 503}\ntenants: {a: {limit: 5GiB}}\n"));
  EXPECT_EQ(c.http_status().at("QUEUE_FULL"), 503);
  EXPECT_EQ(c.http_status().at("NEVER_FITS"), 413);
  EXPECT_EQ(c.tenants().at("a").limit().value(), 5 * kGiB);
  EXPECT_EQ(c.tenants().count("default"), 1u);
}

TEST(ConfigTest, WhatHasNoEffectIsSaid) {
  EXPECT_THAT(Warnings(With("tenants: {a: {weight: 3}}\n")), IsEmpty());
  EXPECT_THAT(Warnings(With("listeners: {grpc: [{address: \"0.0.0.0:1\", insecure: true}]}\n")),
              ElementsAre(HasSubstr("other machines")));
  EXPECT_THAT(Warnings(With("leases: {max: 10}\n")), ElementsAre(HasSubstr("is never reached")));
  EXPECT_THAT(Warnings(With("listeners: {grpc: [{address: \"127.0.0.1:0\", insecure: true}]}\n")), IsEmpty());
}

TEST(ConfigTest, TrustedCostNamesAListener) {
  EXPECT_EQ(Good(With("trusted_cost: [\"unix:/run/vramgate/gate.sock\"]\n")).trusted_cost_size(), 1);
}

TEST(ConfigTest, WhatCannotBeReadIsSaid) {
  EXPECT_EQ(LoadConfig("/nonexistent/gate.yaml").status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(LoadConfig(::testing::TempDir()).status().message()), HasSubstr("is a directory"));
}

// Bytes of the example changed at random: an error or a config, never a crash.
TEST(ConfigTest, SurvivesAnything) {
  const auto seed = static_cast<uint32_t>(::testing::UnitTest::GetInstance()->random_seed());
  SCOPED_TRACE(absl::StrCat("seed ", seed));
  std::mt19937 random(seed);
  constexpr std::string_view kBytes = "\n :-,[]{}\"'#&*!|>%@`?~0aZ\t\\";
  const std::string good = ConfigToYaml(Good(kLeast));
  int refused = 0;
  for (int i = 0; i < 1000; ++i) {
    std::string text = good;
    for (int k = 0; k < 3; ++k) text[random() % text.size()] = kBytes[random() % kBytes.size()];
    refused += ParseConfig(text, "f.yaml").ok() ? 0 : 1;
  }
  EXPECT_GT(refused, 500);
}

TEST(ConfigTest, AnAssuranceAboveWorstCaseHasItsDefaults) {
  const std::string yaml = But("name: m\n", "name: m\n    assurance: statistical\n    steps: {per_s: 40}\n");
  const v1::Model m = Good(yaml).models(0);
  EXPECT_EQ(m.risk(), 0.001);
  EXPECT_EQ(m.steps().per_s(), 40);
  EXPECT_EQ(m.steps().min_tokens(), 1);
  EXPECT_EQ(m.steps().max_tokens(), 1);
  EXPECT_EQ(m.steps().prompt_tokens(), 8192 - 1024) << "of a step, what decodes leave";
  EXPECT_THAT(ConfigToYaml(Good(yaml)), AllOf(HasSubstr("risk: 0.001"), HasSubstr("per_s: 40")));
  EXPECT_THAT(Warnings(yaml), IsEmpty());
}

TEST(ConfigTest, WarnsWhereNobodyMayReportSteps) {
  EXPECT_THAT(Warnings(But("name: m\n", "name: m\n    assurance: lockstep\n")),
              ElementsAre(HasSubstr("models[0].steps.per_s: is 0, and no listener in trusted_cost may report steps")));
  EXPECT_THAT(Warnings(But("name: m\n", "name: m\n    steps: {per_s: 40}\n")),
              ElementsAre(HasSubstr("models[0].steps: has no effect at `assurance: worst_case`")));
}

}  // namespace
}  // namespace vramgate
