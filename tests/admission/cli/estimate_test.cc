#include "admission/cli/estimate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include <nlohmann/json.hpp>

namespace vramgate {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;

struct Result {
  ExitCode exit;
  std::string out;
  std::string err;
};

// Runs `vramgate` with `arguments` as a shell would.
Result RunVramgate(std::vector<std::string> arguments) {
  const Program program = {.name = "vramgate", .commands = {EstimateCommand()}};
  std::vector<const char*> argv = {"vramgate"};
  for (const std::string& argument : arguments) argv.push_back(argument.c_str());
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  const ExitCode code = RunProgram(program, static_cast<int>(argv.size()), argv.data());
  return {code, testing::internal::GetCapturedStdout(), testing::internal::GetCapturedStderr()};
}

std::vector<std::string> Plus(std::vector<std::string> a, std::vector<std::string> b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

const std::vector<std::string> kClassical = {
    "estimate", "--parameters", "72e9",     "--parameter-bytes", "4",    "--quantization-factor",
    "4",        "--layers",     "48",       "--heads",           "32",   "--head-dim",
    "128",      "--hidden",     "4096",     "--dtype",           "fp16", "--context",
    "12000",    "--activation", "resident", "--overhead",        "0.15"};

std::string Model(const std::string& name) {
  return std::string(VRAMGATE_TEST_DATA) + "/models/" + name + ".json";
}

json Json(const std::vector<std::string>& arguments) {
  const Result result = RunVramgate(Plus(arguments, {"--format", "json"}));
  EXPECT_EQ(result.exit, ExitCode::kDone) << result.err;
  EXPECT_EQ(result.err, "");
  return json::parse(result.out, nullptr, false);
}

TEST(EstimateCommandTest, ClassicalExampleByShape) {
  const json one = Json(kClassical);
  EXPECT_EQ(one["total_bytes"], 96'955'776'000);
  const json many = Json(Plus(kClassical, {"--concurrency", "32"}));
  EXPECT_EQ(many["weights_bytes"], 72'000'000'000);
  EXPECT_EQ(many["kv_bytes"], 32 * 9'437'184'000);
  EXPECT_EQ(many["kv_bytes_per_request"], 9'437'184'000);
  EXPECT_EQ(many["activation_bytes"], 32 * 4'718'592'000);
  EXPECT_EQ(many["activation_bytes_per_request"], 4'718'592'000);
  EXPECT_EQ(many["overhead_bytes"], 10'800'000'000);
  EXPECT_EQ(many["total_bytes"], 535'784'832'000);
  EXPECT_EQ(many["quality"], "UPPER_BOUND");
  int64_t sum = 0;
  for (const json& term : many["terms"]) {
    EXPECT_TRUE(term["name"].is_string() && term["formula"].is_string());
    sum += term["bytes"].get<int64_t>() * (term["per_request"].get<bool>() ? 32 : 1);
  }
  EXPECT_EQ(sum, many["total_bytes"]);
}

TEST(EstimateCommandTest, DefaultsByShape) {
  const json plain = Json(
      {"estimate", "--parameters", "1e9", "--layers", "10", "--heads", "8", "--hidden", "512", "--context", "100"});
  EXPECT_EQ(plain["weights_bytes"], 2'000'000'000) << "fp16";
  EXPECT_EQ(plain["kv_bytes"], 2 * 10 * 8 * 64 * 2 * 100) << "KV heads as heads, head dim as hidden / heads, no blocks";
  EXPECT_EQ(plain["overhead_bytes"], 300'000'000);
  EXPECT_EQ(plain["activation_bytes"], 512 * 10 * 2 * 100);
  const json grouped = Json({"estimate", "--parameters", "1e9", "--layers", "10", "--heads", "8", "--kv-heads", "2",
                             "--hidden", "512", "--context", "101", "--kv-dtype", "fp8", "--block-tokens", "16"});
  EXPECT_EQ(grouped["kv_bytes"], 2 * 10 * 2 * 64 * 1 * 112);
}

TEST(EstimateCommandTest, ByModel) {
  const json e = Json({"estimate", "--model", Model("llama-3.1-8b"), "--context", "8192", "--concurrency", "4",
                       "--activation", "batched"});
  EXPECT_EQ(e["parameters"], 8'030'261'248);
  EXPECT_EQ(e["kv_bytes"], 4 * int64_t{131'072} * 8192);
  EXPECT_EQ(e["activation_bytes_per_request"], 0);
  EXPECT_EQ(e["quality"], "PROFILE");
  const json split = Json({"estimate", "--model", Model("llama-3.1-8b"), "--prompt-tokens", "8000", "--output-tokens",
                           "192", "--tensor-parallel", "2", "--kv-dtype", "fp8"});
  EXPECT_EQ(split["kv_bytes"], int64_t{131'072} / 4 * 8192);
  const json longest = Json({"estimate", "--model", Model("llama-3.1-8b")});
  EXPECT_EQ(longest["context_tokens"], 131'072);
  const json eight_bit = Json({"estimate", "--model", Model("llama-3.1-8b"), "--dtype", "fp8", "--context", "16"});
  EXPECT_EQ(eight_bit["kv_bytes"], 131'072 * 16) << "KV stays at 16 bits unless asked";
}

TEST(EstimateCommandTest, TextSaysUnitsAndFormulas) {
  const Result result = RunVramgate(Plus(kClassical, {"--concurrency", "32"}));
  EXPECT_EQ(result.exit, ExitCode::kDone);
  EXPECT_THAT(result.out, AllOf(HasSubstr("8.79 GiB"), HasSubstr("535.78 GB"), HasSubstr("498.99 GiB"),
                                HasSubstr("72.00 GB"), HasSubstr("48 layers x 32 KV heads x (128 + 128) x fp16"),
                                HasSubstr("quality UPPER_BOUND"), HasSubstr("32 requests of 12000 tokens")));
}

// Wrong input: exit 2, nothing on stdout, and a message that names the flag, the value and the way out.
void ExpectUsage(const std::vector<std::string>& arguments, const std::vector<std::string>& words) {
  const Result result = RunVramgate(arguments);
  EXPECT_EQ(result.exit, ExitCode::kUsage) << result.out;
  EXPECT_EQ(result.out, "");
  for (const std::string& word : words) EXPECT_THAT(result.err, HasSubstr(word));
}

TEST(EstimateCommandTest, NonsenseValues) {
  const std::vector<std::pair<std::string, std::string>> nonsense = {{"--layers", "-3"},
                                                                     {"--layers", "0"},
                                                                     {"--layers", "x"},
                                                                     {"--layers", "1.5"},
                                                                     {"--layers", "1e30"},
                                                                     {"--layers", "99999999999999999999"},
                                                                     {"--heads", "0"},
                                                                     {"--kv-heads", "0"},
                                                                     {"--kv-heads", "7"},
                                                                     {"--head-dim", "nan"},
                                                                     {"--hidden", "-1"},
                                                                     {"--parameters", "0"},
                                                                     {"--parameters", "1e400"},
                                                                     {"--parameter-bytes", "nan"},
                                                                     {"--quantization-factor", "0"},
                                                                     {"--quantization-factor", "inf"},
                                                                     {"--overhead", "15%"},
                                                                     {"--overhead", "-0.1"},
                                                                     {"--dtype", "fp7"},
                                                                     {"--kv-dtype", ""},
                                                                     {"--activation", "lazy"},
                                                                     {"--context", "0"},
                                                                     {"--context", "-5"},
                                                                     {"--concurrency", "0"},
                                                                     {"--concurrency", "many"},
                                                                     {"--tensor-parallel", "3"},
                                                                     {"--tp", "0"},
                                                                     {"--block-tokens", "0"},
                                                                     {"--format", "xml"},
                                                                     {"--kv-bytes-per-token", "0"},
                                                                     {"--weights-bytes", "80 gigs"}};
  for (const auto& [flag, value] : nonsense) {
    SCOPED_TRACE(flag + " " + value);
    std::vector<std::string> arguments = kClassical;
    const auto at = std::find(arguments.begin(), arguments.end(), flag);
    if (at != arguments.end()) {
      *(at + 1) = value;
    } else {
      arguments = Plus(arguments, {flag, value});
    }
    if (value.empty()) continue;
    ExpectUsage(arguments, {flag, value});
  }
}

TEST(EstimateCommandTest, MisspeltAndContradictoryFlags) {
  ExpectUsage(Plus(kClassical, {"--laers", "4"}), {"--laers", "Did you mean --layers?"});
  ExpectUsage(Plus(kClassical, {"--concurency=4"}), {"--concurency", "Did you mean --concurrency?"});
  ExpectUsage({"estimte"}, {"estimte", "Did you mean estimate?"});
  ExpectUsage(Plus(kClassical, {"stray"}), {"stray"});
  ExpectUsage({"estimate", "--layers"}, {"--layers"});
  ExpectUsage(Plus(kClassical, {"--layers", "4"}), {"--layers"});
  ExpectUsage({"estimate"}, {"--model", "--parameters"});
  ExpectUsage({"estimate", "--layers", "4", "--context", "10"}, {"--model", "--parameters"});
  ExpectUsage({"estimate", "--parameters", "1e9", "--layers", "4", "--heads", "4", "--hidden", "64"},
              {"--context", "missing"});
  ExpectUsage({"estimate", "--parameters", "1e9", "--layers", "4", "--hidden", "64", "--context", "1"},
              {"--heads: missing", "--kv-bytes-per-token"});
  ExpectUsage(Plus(kClassical, {"--prompt-tokens", "5"}), {"--context", "--prompt-tokens"});
  ExpectUsage({"estimate", "--model", Model("llama-3.1-8b"), "--layers", "4"}, {"--layers", "--model"});
  ExpectUsage({"estimate", "--model", Model("llama-3.1-8b"), "--parameter-bytes", "4"}, {"--parameters"});
}

TEST(EstimateCommandTest, ModelsThatCannotBePriced) {
  ExpectUsage({"estimate", "--model", "/no/such/model"}, {"/no/such/model", "no such file"});
  ExpectUsage({"estimate", "--model", Model("llama-3.1-8b"), "--context", "1e18"}, {"total"});
  const auto alien = std::filesystem::path(testing::TempDir()) / "vramgate_alien.json";
  std::ofstream(alien) << R"({"model_type": "alien", "num_hidden_layers": 2, "hidden_size": 64})";
  ExpectUsage({"estimate", "--model", alien.string(), "--context", "16"},
              {"vramgate_alien.json", "model_type", "--kv-bytes-per-token", "--state-bytes", "--weights-bytes"});
  const json by_hand = Json({"estimate", "--model", alien.string(), "--kv-bytes-per-token", "1KiB", "--state-bytes",
                             "1MiB", "--weights-bytes", "5.38GiB", "--context", "16"});
  EXPECT_EQ(by_hand["weights_bytes"], 5'776'731'014);
  EXPECT_EQ(by_hand["kv_bytes"], 16 * 1024 + (1 << 20));
  EXPECT_EQ(by_hand["state_bytes_per_request"], 1 << 20);
  std::filesystem::remove(alien);
}

TEST(EstimateCommandTest, EveryPromisedKeyIsThereForTheWorstRankAndForEach) {
  const json e = Json({"estimate", "--model", Model("llama-3.1-8b"), "--engine", "vllm-0.19", "--gpu", "H100-80GB",
                       "--gpu-memory-utilization", "0.95", "--tp", "2", "--pp", "2", "--max-model-len", "8192"});
  ASSERT_EQ(e["ranks"].size(), 4u);
  std::vector<json> answers = {e};
  answers.insert(answers.end(), e["ranks"].begin(), e["ranks"].end());
  for (const json& answer : answers) {
    for (const char* key :
         {"quality", "parameters", "weights_bytes", "kv_bytes_per_token", "kv_bytes_per_request_peak",
          "kv_bytes_per_request_steady", "state_bytes_per_request", "activation_bytes", "activation_resident_bytes",
          "non_torch_bytes", "cuda_graph_bytes", "context_bytes", "overhead_bytes", "kv_pool_bytes", "kv_pool_blocks",
          "kv_pool_tokens", "max_concurrency", "total_bytes", "fits"}) {
      EXPECT_TRUE(answer.contains(key)) << key;
    }
    EXPECT_EQ(answer["overhead_bytes"].get<int64_t>(), answer["context_bytes"].get<int64_t>() +
                                                           answer["non_torch_bytes"].get<int64_t>() +
                                                           answer["cuda_graph_bytes"].get<int64_t>());
    EXPECT_EQ(answer["total_bytes"].get<int64_t>(),
              answer["weights_bytes"].get<int64_t>() + answer["activation_bytes"].get<int64_t>() +
                  answer["overhead_bytes"].get<int64_t>() + answer["kv_bytes"].get<int64_t>());
    EXPECT_EQ(answer["fits"], true);
  }
  for (const char* key : {"kv_bytes", "kv_bytes_per_request", "activation_bytes_per_request", "terms", "model",
                          "context_tokens", "concurrency"}) {
    EXPECT_TRUE(e.contains(key)) << key;
  }
}

TEST(EstimateCommandTest, AKnownPoolIsCountedInAndTheCardIsNotNeeded) {
  const json e = Json({"estimate", "--model", Model("llama-3.1-8b"), "--engine", "vllm-0.19", "--max-model-len", "8192",
                       "--kv-pool", "58.11GiB", "--context", "8192", "--concurrency", "59"});
  EXPECT_EQ(e["kv_pool_blocks"], 29'752);
  EXPECT_EQ(e["kv_pool_tokens"], 476'032);
  EXPECT_NEAR(e["max_concurrency"].get<double>(), 58.11, 0.005);
  EXPECT_EQ(e["fits"], false) << "59 requests of 512 blocks are more than 29,752";
  EXPECT_EQ(e["longest_request_tokens"], 8192);
}

TEST(EstimateCommandTest, TextShowsTheCardAndWhatWouldMakeItFit) {
  const Result fits = RunVramgate({"estimate", "--model", Model("llama-3.1-8b"), "--engine", "vllm-0.19", "--gpu",
                                   "H100-80GB", "--max-model-len", "8192", "--context", "8192"});
  EXPECT_THAT(fits.out, AllOf(HasSubstr("[WWW"), HasSubstr("79.19 GiB"), HasSubstr("it fits"),
                              HasSubstr("quality EXACT"), HasSubstr("requests of 8192 tokens at once")));
  const Result tight = RunVramgate({"estimate", "--model", Model("llama-3.1-8b"), "--engine", "vllm-0.19",
                                    "--gpu-memory", "24GiB", "--max-model-len", "131072", "--context", "60000"});
  EXPECT_THAT(tight.out, AllOf(HasSubstr("it does NOT fit"), HasSubstr("--kv-dtype fp8"), HasSubstr("--tp 2"),
                               HasSubstr("--context ")));
}

TEST(EstimateCommandTest, SeveralModelsOnOneCardAddUp) {
  const json e = Json({"estimate", "--model", Model("llama-3.1-8b"), "--model", Model("qwen2.5-7b"), "--context",
                       "1000", "--activation", "batched", "--gpu-memory", "40GiB"});
  ASSERT_EQ(e["models"].size(), 2u);
  EXPECT_EQ(e["total_bytes"].get<int64_t>(),
            e["models"][0]["total_bytes"].get<int64_t>() + e["models"][1]["total_bytes"].get<int64_t>());
  EXPECT_EQ(e["fits"], e["total_bytes"].get<int64_t>() <= 40 * (int64_t{1} << 30));
}

TEST(EstimateCommandTest, CardsAndEnginesThatAreNotKnown) {
  const std::string model = Model("llama-3.1-8b");
  ExpectUsage({"estimate", "--model", model, "--gpu", "H200-9000"}, {"--gpu", "H200-9000", "H100-80GB"});
  ExpectUsage({"estimate", "--model", model, "--gpu", "H100-80GB", "--gpu-memory", "80GiB"}, {"--gpu", "--gpu-memory"});
  ExpectUsage({"estimate", "--model", model, "--engine", "vllm-0.1"}, {"--engine", "vllm-0.1", "vllm-0.19"});
  ExpectUsage({"estimate", "--model", model, "--gpu-memory-utilization", "1.5"}, {"--gpu-memory-utilization", "1.5"});
  ExpectUsage({"estimate", "--model", model, "--quantization", "fp3"}, {"quantization", "fp3"});
  ExpectUsage({"estimate", "--model", model, "--quantization", "compressed-tensors"}, {"quantization", "compressed"});
  ExpectUsage({"estimate", "--model", model, "--pp", "33"}, {"33", "32 layers"});
}

TEST(EstimateCommandTest, HelpIsNoError) {
  const Result result = RunVramgate({"estimate", "--help"});
  EXPECT_EQ(result.exit, ExitCode::kDone);
  EXPECT_THAT(result.out, AllOf(HasSubstr("--model"), HasSubstr("--concurrency"), HasSubstr("By shape")));
}

// Engines are told the method of a checkpoint that says it itself, or "None".
TEST(EstimateCommandTest, QuantizationThatTheCheckpointSaysItselfChangesNothing) {
  const std::vector<std::string> quantized = {"estimate", "--model", Model("qwen2.5-7b-w8a8"), "--context", "100"};
  const json plain = Json(quantized);
  EXPECT_EQ(Json(Plus(quantized, {"--quantization", "compressed-tensors"})), plain);
  EXPECT_EQ(Json(Plus(quantized, {"--quantization", "None"})), plain);
  const std::vector<std::string> wide = {"estimate", "--model", Model("qwen2.5-7b"), "--context", "100"};
  EXPECT_EQ(Json(Plus(wide, {"--quantization", "None"})), Json(wide));
  EXPECT_LT(Json(Plus(wide, {"--quantization", "fp8"}))["weights_bytes"], Json(wide)["weights_bytes"]);
}

}  // namespace
}  // namespace vramgate
