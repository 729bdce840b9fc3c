#include "plugin/triton/demand.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "tests/plugin/triton/error_text.h"

namespace vramgate {
namespace {

using ::testing::HasSubstr;

constexpr auto kInt32 = static_cast<TRITONSERVER_DataType>(8);
constexpr auto kUint64 = static_cast<TRITONSERVER_DataType>(5);
constexpr auto kFloat = static_cast<TRITONSERVER_DataType>(11);

template <typename T>
Tensor Numbers(std::string name, TRITONSERVER_DataType type, std::vector<int64_t> shape, const std::vector<T>& values) {
  std::string bytes(values.size() * sizeof(T), '\0');
  std::memcpy(bytes.data(), values.data(), bytes.size());
  return {std::move(name), type, std::move(shape), std::move(bytes)};
}

Tensor Texts(std::string name, std::vector<int64_t> shape, const std::vector<std::string>& texts) {
  std::string bytes;
  for (const std::string& text : texts) {
    const auto size = static_cast<uint32_t>(text.size());
    bytes.append(reinterpret_cast<const char*>(&size), sizeof size).append(text);
  }
  return {std::move(name), TRITONSERVER_TYPE_BYTES, std::move(shape), std::move(bytes)};
}

class DemandTest : public ::testing::Test {
 protected:
  DemandTest() {
    settings_.prompt_tokens = {"input_ids"};
    settings_.prompt_text = {"text_input"};
    settings_.max_tokens = {"max_tokens", "request_output_len", "sampling_parameters.max_tokens"};
    settings_.sequences = {"n", "sampling_parameters.n"};
    settings_.tenant = {"x-tenant-id"};
    settings_.priority = {"x-priority"};
  }

  void Add(Tensor tensor) {
    copy_.held_bytes += static_cast<int64_t>(tensor.bytes.size());
    copy_.inputs.push_back(std::move(tensor));
  }
  template <typename T>
  void Add(std::string key, T value) {
    copy_.parameters.push_back({std::move(key), std::move(value)});
  }
  // What is wrong with it; "": nothing.
  std::string Read() { return TextOf(ReadDemand(copy_, settings_, &demand_)); }

  GateSettings settings_;
  RequestCopy copy_;
  Demand demand_;
};

TEST_F(DemandTest, TokensOfAPromptAreItsElements) {
  Add(Numbers<int32_t>("input_ids", kInt32, {5}, {1, 2, 3, 4, 5}));
  Add(Numbers<int32_t>("request_output_len", kInt32, {1}, {40}));
  EXPECT_EQ(Read(), "");
  EXPECT_EQ(demand_.prompt_tokens, 5);
  EXPECT_EQ(demand_.max_output_tokens, 40);
  EXPECT_EQ(demand_.sequences, 1);
}

TEST_F(DemandTest, ABatchIsSoManySequencesOfItsLongestRow) {
  settings_.batched = true;
  Add(Texts("text_input", {3, 1}, {"a", "four", "bb"}));
  Add(Numbers<uint64_t>("request_output_len", kUint64, {3, 1}, {7, 9, 8}));
  Add("n", int64_t{2});
  EXPECT_EQ(Read(), "");
  EXPECT_EQ(demand_.prompt_bytes, 4);
  EXPECT_EQ(demand_.max_output_tokens, 9);
  EXPECT_EQ(demand_.sequences, 6);
}

TEST_F(DemandTest, VllmsSamplingParametersAreJsonInAnInput) {
  Add(Texts("text_input", {1}, {"hello"}));
  Add(Texts("sampling_parameters", {1}, {R"({"temperature": 0.5, "max_tokens": "64", "n": 3})"}));
  EXPECT_EQ(Read(), "");
  EXPECT_EQ(demand_.prompt_bytes, 5);
  EXPECT_EQ(demand_.max_output_tokens, 64);
  EXPECT_EQ(demand_.sequences, 3);
}

TEST_F(DemandTest, WhatIsNotSaidIsLeftToTheGate) {
  Add(Texts("something", {1}, {"0123456789"}));
  Add(Texts("sampling_parameters", {1}, {""}));
  EXPECT_EQ(Read(), "");
  EXPECT_EQ(demand_.prompt_tokens, -1);
  EXPECT_EQ(demand_.prompt_bytes, 18) << "all that came in bounds the prompt";
  EXPECT_EQ(demand_.max_output_tokens, -1);
}

TEST_F(DemandTest, NamesOfParametersAreOfAnyCase) {
  Add("X-Tenant-ID", std::string("team-a"));
  Add("X-Priority", std::string("-3"));
  Add("MAX_TOKENS", 12.0);
  EXPECT_EQ(Read(), "");
  EXPECT_EQ(demand_.tenant, "team-a");
  EXPECT_EQ(demand_.priority, -3);
  EXPECT_EQ(demand_.max_output_tokens, 12);
}

TEST_F(DemandTest, NumbersThatAreNone) {
  for (const auto& value : std::vector<std::variant<std::string, int64_t, bool, double>>{
           "many", "", "1e3", " 5", int64_t{0}, int64_t{-4}, true, 1.5, 1e300}) {
    copy_.parameters = {{"max_tokens", value}};
    EXPECT_THAT(Read(), HasSubstr("vramgate: max_tokens: ")) << value.index();
  }
}

TEST_F(DemandTest, JsonThatIsNone) {
  for (const char* text : {"{", "[]", "5", R"({"max_tokens": "x"})", R"({"max_tokens": 1.5})", R"({"max_tokens": []})",
                           R"({"max_tokens": -1})"}) {
    copy_.parameters = {{"sampling_parameters", std::string(text)}};
    EXPECT_THAT(Read(), HasSubstr("sampling_parameters")) << text;
  }
}

TEST_F(DemandTest, TextsThatAreCutOff) {
  for (const size_t bytes : {1U, 3U, 4U, 8U}) {
    copy_.inputs = {Texts("text_input", {1}, {"hello"})};
    copy_.inputs[0].bytes.resize(bytes);
    EXPECT_THAT(Read(), HasSubstr("text_input")) << bytes;
  }
  copy_.inputs = {{"text_input", TRITONSERVER_TYPE_BYTES, {1}, "\xff\xff\xff\xff"}};
  EXPECT_THAT(Read(), HasSubstr("shorter than its length says"));
}

TEST_F(DemandTest, NumbersThatAreTooLarge) {
  Add(Numbers<uint64_t>("request_output_len", kUint64, {1}, {~uint64_t{0}}));
  Add("n", int64_t{1} << 40);
  EXPECT_THAT(Read(), HasSubstr("sequences"));
  EXPECT_EQ(demand_.max_output_tokens, std::numeric_limits<int64_t>::max()) << "and the gate says that it never fits";
  copy_ = RequestCopy();
  Add(Numbers<int32_t>("input_ids", kInt32, {int64_t{1} << 40, int64_t{1} << 40}, {}));
  EXPECT_THAT(Read(), HasSubstr("input_ids: its shape overflows"));
}

TEST_F(DemandTest, AnInputOfAnotherTypeIsNoNumberOfTokens) {
  Add(Numbers<float>("request_output_len", kFloat, {1}, {5.0F}));
  EXPECT_THAT(Read(), HasSubstr("request_output_len: the input is of no integer type"));
}

}  // namespace
}  // namespace vramgate
