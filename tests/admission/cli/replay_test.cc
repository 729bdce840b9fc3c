// `vramgate replay` as a shell sees it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "tests/support/child.h"
#include "tests/support/sidecar_yaml.h"
#include "tests/support/temporary_directory.h"

namespace vramgate {
namespace {

using nlohmann::json;
using testing::HasSubstr;

constexpr char kTrace[] = VRAMGATE_TEST_DATA "/traces/azure2023_conv_1500.csv";

class ReplayTest : public testing::Test {
 protected:
  Ran Replay(const std::vector<std::string>& flags, const std::string& trace = kTrace) const {
    std::vector<std::string> command = {VRAMGATE_PROGRAM, "replay", trace};
    command.insert(command.end(), flags.begin(), flags.end());
    return RunToEnd(command);
  }
  json List(std::vector<std::string> flags) const {
    flags.insert(flags.end(), {"--format", "json"});
    const Ran ran = Replay(flags);
    EXPECT_EQ(ran.status, 0) << ran.err;
    json list = json::parse(ran.out, nullptr, false);
    EXPECT_TRUE(list.is_array()) << ran.out;
    return list;
  }
  // Wrong usage: nothing on stdout, and stderr says what is wrong.
  void Refused(const std::vector<std::string>& flags, const char* says) const {
    const Ran ran = Replay(flags);
    EXPECT_EQ(ran.status, 2) << ran.err;
    EXPECT_EQ(ran.out, "");
    EXPECT_THAT(ran.err, HasSubstr(says));
  }
  static std::string Read(const std::string& path) {
    std::ifstream in(path);
    std::stringstream text;
    text << in.rdbuf();
    return text.str();
  }

  TemporaryDirectory directory_;
};

TEST_F(ReplayTest, JsonHasTheKeysOfTheContract) {
  const json list = List({"--kv-tokens", "60000", "--speed", "4", "--first", "500", "--compare", "--seed", "7"});
  ASSERT_EQ(list.size(), 8u) << "statistical at two risks";
  std::vector<std::string> policies;
  for (const json& run : list) {
    policies.push_back(run.at("policy"));
    EXPECT_EQ(run.at("risk").is_null(), run.at("policy") != "statistical");
    EXPECT_EQ(run.at("requests"), 500);
    for (const char* key : {"output_tokens_per_s", "utilization", "utilization_while_queued", "violations",
                            "revocation_rate", "recomputed_tokens", "preemptions", "rejected", "wait_p50_s",
                            "wait_p99_s", "decision_ns_p50", "decision_ns_p99"}) {
      EXPECT_TRUE(run.at(key).is_number()) << key;
    }
    EXPECT_TRUE(run.at("fairness_gap").is_null()) << "there is one tenant";
    EXPECT_EQ(run.at("violations"), 0);
    EXPECT_GT(run.at("decision_ns_p50"), 0);
  }
  EXPECT_THAT(policies, testing::ElementsAre("worst_case", "lockstep", "statistical", "statistical", "watermark",
                                             "ratio", "past_future", "oracle"));
}

TEST_F(ReplayTest, LedgersAreTheSameFilesAsServes) {
  const std::string ledger = directory_.At("ledger.csv");
  List({"--kv-tokens", "60000", "--first", "300", "--ledger", ledger});
  EXPECT_EQ(RunToEnd({VRAMGATE_PROGRAM, "audit", ledger}).status, 0);
  EXPECT_THAT(Read(ledger), HasSubstr(",GRANT,"));
  const std::string before = Read(ledger);
  List({"--kv-tokens", "60000", "--first", "300", "--ledger", ledger});
  EXPECT_EQ(Read(ledger), before) << "an earlier replay's is replaced, and the same run is the same ledger";
  const std::string serves = directory_.At("serve.csv");
  std::ofstream(serves) << "t_s,event,lease,account,delta_bytes,used_bytes,capacity_bytes\n"
                        << "5397.357366440,START,,device/0,0,0,1024\n";
  const Ran refused = Replay({"--kv-tokens", "60000", "--first", "300", "--ledger", serves});
  EXPECT_EQ(refused.status, 1);
  EXPECT_THAT(refused.err, HasSubstr("is no replay's"));

  List({"--kv-tokens", "60000", "--first", "300", "--ledger", ledger, "--compare"});
  for (const char* policy : {"worst_case", "watermark", "ratio", "past_future", "oracle"}) {
    EXPECT_EQ(RunToEnd({VRAMGATE_PROGRAM, "audit", absl::StrCat(ledger, ".", policy)}).status, 0) << policy;
  }
}

TEST_F(ReplayTest, AConfigGivesThePoolThePricesAndTheQueue) {
  const std::string config = directory_.At("gate.yaml");
  std::ofstream(config) << absl::StrCat(ListenersYaml(directory_.path()), DevicesYaml(1), "models:\n",
                                        ModelYaml("m", 8192, R"(      - {name: a, devices: ["0"], kv_pool: 1000MiB})"),
                                        "queue: {max_wait: 5s}\n");
  const json plain = List({"--config", config, "--first", "300"});
  EXPECT_EQ(plain.at(0).at("requests"), 300);
  const std::string ledger = directory_.At("ledger.csv");
  const json waits = List({"--config", config, "--first", "300", "--model", "m", "--instance", "a", "--kv-tokens",
                           "9000", "--max-tokens", "512", "--ledger", ledger});
  EXPECT_GT(waits.at(0).at("rejected"), 0) << "five seconds is all they wait";
  EXPECT_LE(waits.at(0).at("wait_p99_s"), 5.0);
  EXPECT_THAT(Read(ledger), HasSubstr("pool/m/a"));
  Refused({"--config", config, "--model", "n"}, "--model: n is not in");
  Refused({"--config", config, "--instance", "z"}, "--instance: m has no z");
  Refused({"--config", directory_.At("none.yaml")}, "none.yaml");
}

TEST_F(ReplayTest, PlotsAndSweeps) {
  const std::string plot = directory_.At("out.svg");
  const Ran ran = Replay({"--kv-tokens", "60000", "--speed", "4", "--first", "300", "--plot", plot, "--compare"});
  EXPECT_EQ(ran.status, 0) << ran.err;
  EXPECT_THAT(ran.out, HasSubstr("while queued"));
  EXPECT_THAT(ran.err, HasSubstr("compressed 4 times"));
  EXPECT_THAT(Read(plot), testing::StartsWith("<svg"));
  const json sweep = List({"--kv-tokens", "20000", "--first", "200", "--sweep", "--target-wait", "2"});
  EXPECT_GT(sweep.at(0).at("kv_tokens"), 2000);
  EXPECT_LE(sweep.at(0).at("wait_p99_s"), 2.0);
  EXPECT_TRUE(sweep.at(0).contains("queue_requests"));
}

TEST_F(ReplayTest, SaysWhatIsWrong) {
  Refused({}, "--kv-tokens: missing");
  Refused({"--kv-tokens", "6e4", "--policy", "magic"}, "\"magic\" is none of worst_case, lockstep");
  Refused({"--kv-tokens", "6e4", "--policy", "oracle", "--compare"}, "--policy: cannot go with --compare");
  Refused({"--kv-tokens", "0"}, "--kv-tokens");
  Refused({"--kv-tokens", "6e4", "--speed", "0"}, "--speed");
  Refused({"--kv-tokens", "6e4", "--order", "lifo"}, "--order");
  Refused({"--kv-tokens", "6e4", "--sweep"}, "--target-wait");
  Refused({"--kv-tokens", "6e4", "--max-sequences", "9000"}, "--step-tokens");
  Refused({"--kv-tokens", "6e4", "--model", "m"}, "--config: missing");
  const Ran none = Replay({"--kv-tokens", "6e4"}, "/nowhere.csv");
  EXPECT_EQ(none.status, 2);
  EXPECT_THAT(none.err, HasSubstr("/nowhere.csv"));
}

}  // namespace
}  // namespace vramgate
