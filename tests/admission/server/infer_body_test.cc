#include "admission/server/infer_body.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "protozero/pbf_writer.hpp"

namespace vramgate {
namespace {

using protozero::pbf_writer;
using testing::HasSubstr;

RequestBody Read(Endpoint endpoint, const BodyText& text) {
  RequestBody body;
  const std::optional<Refusal> refusal = ReadRequestBody(endpoint, text, &body);
  EXPECT_FALSE(refusal.has_value()) << refusal->field << ": " << refusal->message;
  return body;
}
RequestBody Json(std::string_view json) {
  return Read(Endpoint::kInfer, {.bytes = json});
}
Refusal Refused(Endpoint endpoint, const BodyText& text) {
  RequestBody body;
  std::optional<Refusal> refusal = ReadRequestBody(endpoint, text, &body);
  EXPECT_TRUE(refusal.has_value()) << text.bytes;
  return refusal.value_or(Refusal{});
}
Refusal RefusedJson(std::string_view json) {
  return Refused(Endpoint::kInfer, {.bytes = json});
}

TEST(InferBodyTest, VllmsBackend) {
  const RequestBody body = Json(
      R"({"id": "1", "inputs": [{"name": "text_input", "shape": [1], "datatype": "BYTES", "data": ["What is it?"]},
          {"name": "stream", "shape": [1], "datatype": "BOOL", "data": [true]},
          {"name": "sampling_parameters", "shape": [1], "datatype": "BYTES",
           "data": ["{\"max_tokens\": \"40\", \"n\": 2, \"temperature\": 0}"]}]})");
  EXPECT_EQ(body.max_output_tokens, 40);
  EXPECT_EQ(body.sequences, 2);
  EXPECT_EQ(body.prompt_tokens, std::nullopt);
  EXPECT_GE(body.prompt_bytes, 11);
  EXPECT_LT(body.prompt_bytes, 250);
  EXPECT_EQ(Json(R"({"inputs": [], "parameters": {"max_tokens": "12"}})").max_output_tokens, 12);
  EXPECT_EQ(Json(R"({"inputs": [], "parameters": {"max_tokens": 13, "n": 3}})").sequences, 3);
}

// The name may come after the data.
TEST(InferBodyTest, TensorRtLlm) {
  const RequestBody body = Json(
      R"({"inputs": [{"data": [[1, 2, 3, 4], [5, 6, 7, 8]], "shape": [2, 4], "datatype": "INT32", "name": "input_ids"},
          {"name": "request_output_len", "shape": [2, 1], "datatype": "INT32", "data": [20, 30]},
          {"name": "beam_width", "shape": [1], "datatype": "INT32", "data": [2]}]})");
  EXPECT_EQ(body.prompt_tokens, 4);
  EXPECT_EQ(body.max_output_tokens, 30);
  EXPECT_EQ(body.sequences, 4);
  const RequestBody texts = Json(R"({"inputs": [{"name": "text_input", "shape": [2, 1], "data": ["a", "bbbb"]}]})");
  EXPECT_EQ(texts.sequences, 2);
}

TEST(InferBodyTest, AnUnknownTensorIsText) {
  const int64_t empty = Json(R"({"inputs": [{"name": "context", "data": [""]}]})").prompt_bytes;
  EXPECT_EQ(Json(R"({"inputs": [{"name": "context", "data": ["0123456789"]}]})").prompt_bytes, empty + 10);
  EXPECT_EQ(Json(R"({"inputs": [{"name": "image", "data": ["x"]}]})").prompt_bytes, kUnboundedPromptBytes);
}

TEST(InferBodyTest, BinaryTensorsAreReadBehindTheJson) {
  const std::string json =
      R"({"inputs": [{"name": "text_input", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": 9}},
          {"name": "max_tokens", "shape": [1], "datatype": "INT32", "parameters": {"binary_data_size": 4}}]})";
  const std::string raw("\5\0\0\0hello\x2c\1\0\0", 13);
  const auto size = static_cast<int64_t>(json.size());
  EXPECT_EQ(Read(Endpoint::kInfer, {json + raw, size}).max_output_tokens, 300);
  for (size_t cut = 1; cut <= raw.size(); ++cut) {
    EXPECT_THAT(Refused(Endpoint::kInfer, {json + raw.substr(cut), size}).field, HasSubstr("inputs.")) << cut;
  }
  EXPECT_EQ(Refused(Endpoint::kInfer, {json, size + 1}).field, "inference-header-content-length");
  EXPECT_EQ(Refused(Endpoint::kInfer, {json, -1}).field, "inference-header-content-length");
}

TEST(InferBodyTest, WrongTypesAndValuesNameTheTensor) {
  for (const char* data : {"[-1]", "[1.5]", "[\"7\"]", "[]", "[1099511627777]", "[99999999999999999999]"}) {
    EXPECT_EQ(RefusedJson(absl::StrCat(R"({"inputs": [{"name": "max_tokens", "data": )", data, "}]}")).field,
              "inputs.max_tokens")
        << data;
  }
  EXPECT_EQ(RefusedJson(R"({"inputs": [{"name": "beam_width", "data": [0]}]})").field, "inputs.beam_width");
  EXPECT_EQ(RefusedJson(R"({"inputs": [{"name": "a", "name": "max_tokens"}]})").message, "given twice");
  EXPECT_EQ(RefusedJson(R"({"inputs": [], "inputs": []})").field, "inputs");
  EXPECT_EQ(RefusedJson(R"({"parameters": {"max_tokens": 1, "max_tokens": 2}})").field, "parameters.max_tokens");
  EXPECT_EQ(RefusedJson(R"({"parameters": {"max_tokens": [1]}})").field, "parameters.max_tokens");
  EXPECT_EQ(RefusedJson(R"({"parameters": {"n": 0}})").field, "parameters.n");
  EXPECT_EQ(RefusedJson(R"({"inputs": {}})").field, "inputs");
  EXPECT_EQ(RefusedJson(R"({"inputs": [[]]})").field, "inputs");
  EXPECT_THAT(RefusedJson("[]").message, HasSubstr("not an object"));
  EXPECT_THAT(RefusedJson(R"({"inputs": [)").message, HasSubstr("not well-formed"));
  EXPECT_THAT(RefusedJson(R"({"x": )" + std::string(100, '[')).message, HasSubstr("nested deeper"));
}

std::string Framed(const std::string& message) {
  std::string out(1, '\0');
  for (int shift = 24; shift >= 0; shift -= 8) out += static_cast<char>(message.size() >> shift & 0xff);
  return out + message;
}

struct Input {
  std::string name;
  std::string datatype;
  std::vector<int64_t> shape;
  std::string contents;  // an InferTensorContents
};

std::string Message(const std::vector<Input>& inputs, const std::vector<std::string>& raw = {},
                    const std::string& parameter = "") {
  std::string message;
  pbf_writer out(message);
  out.add_string(1, "llama");
  if (!parameter.empty()) out.add_message(4, parameter);
  for (const Input& input : inputs) {
    std::string inner;
    pbf_writer writer(inner);
    writer.add_string(1, input.name);
    writer.add_string(2, input.datatype);
    writer.add_packed_int64(3, input.shape.begin(), input.shape.end());
    if (!input.contents.empty()) writer.add_message(5, input.contents);
    out.add_message(5, inner);
  }
  for (const std::string& contents : raw) out.add_bytes(7, contents);
  return message;
}

std::string Ints(const std::vector<int32_t>& values) {
  std::string contents;
  pbf_writer(contents).add_packed_int32(2, values.begin(), values.end());
  return contents;
}
std::string Text(std::string_view value) {
  std::string contents;
  pbf_writer(contents).add_bytes(8, value.data(), value.size());
  return contents;
}
std::string Parameter(std::string_view name, int64_t value) {
  std::string inner;
  pbf_writer(inner).add_int64(2, value);
  std::string entry;
  pbf_writer writer(entry);
  writer.add_string(1, name.data(), name.size());
  writer.add_message(2, inner);
  return entry;
}
RequestBody Grpc(const std::string& message) {
  return Read(Endpoint::kInferGrpc, {.bytes = Framed(message)});
}
Refusal RefusedGrpc(const std::string& message) {
  return Refused(Endpoint::kInferGrpc, {.bytes = Framed(message)});
}

TEST(InferMessageTest, ReadsModelTensorsAndParameters) {
  const RequestBody body =
      Grpc(Message({{"text_input", "BYTES", {1}, Text("hello")}, {"max_tokens", "INT32", {1}, Ints({77})}}));
  EXPECT_EQ(body.model, "llama");
  EXPECT_EQ(body.max_output_tokens, 77);
  EXPECT_GE(body.prompt_bytes, 5);
  EXPECT_EQ(Grpc(Message({}, {}, Parameter("max_tokens", 9))).max_output_tokens, 9);
  EXPECT_EQ(Grpc(Message({}, {}, Parameter("priority", 9))).max_output_tokens, std::nullopt);
}

TEST(InferMessageTest, ReadsRawContents) {
  const std::vector<Input> inputs = {{"input_ids", "INT32", {1, 3}, ""}, {"request_output_len", "INT64", {1, 1}, ""}};
  const RequestBody body = Grpc(Message(inputs, {std::string(12, '\1'), std::string("\x40\0\0\0\0\0\0\0", 8)}));
  EXPECT_EQ(body.prompt_tokens, 3);
  EXPECT_EQ(body.max_output_tokens, 64);
  EXPECT_EQ(RefusedGrpc(Message(inputs, {std::string(12, '\1')})).field, "raw_input_contents");
  EXPECT_EQ(RefusedGrpc(Message(inputs, {std::string(11, '\1'), std::string(8, '\1')})).field, "inputs.input_ids");
}

// Protobuf skips a field of another wire type, and so must the gate: or the two would read different requests.
TEST(InferMessageTest, AFieldOfTheWrongTypeIsNone) {
  std::string contents = Ints({500});
  pbf_writer(contents).add_fixed32(2, 1);
  EXPECT_EQ(Grpc(Message({{"max_tokens", "INT32", {1}, contents}})).max_output_tokens, 500);
  std::string unpacked;
  pbf_writer(unpacked).add_int32(2, 600);
  EXPECT_EQ(Grpc(Message({{"max_tokens", "INT32", {1}, unpacked}})).max_output_tokens, 600);
}

TEST(InferMessageTest, WhatIsNoSuchMessageIsRefused) {
  const std::string message = Message({{"max_tokens", "INT32", {1}, Ints({77})}});
  for (const char* bytes : {"", "\0\0", "{}"}) EXPECT_EQ(Refused(Endpoint::kInferGrpc, {.bytes = bytes}).field, "body");
  std::string framed = Framed(message);
  EXPECT_EQ(Refused(Endpoint::kInferGrpc, {.bytes = framed.substr(0, framed.size() - 1)}).field, "body");
  EXPECT_EQ(Refused(Endpoint::kInferGrpc, {.bytes = framed + framed}).field, "body");
  framed[0] = 1;
  EXPECT_THAT(Refused(Endpoint::kInferGrpc, {.bytes = framed}).message, HasSubstr("compressed"));
  EXPECT_THAT(RefusedGrpc(message.substr(0, message.size() - 1)).message, HasSubstr("not a well-formed"));
  EXPECT_EQ(RefusedGrpc(Message({{"max_tokens", "INT32", {1}, Ints({-1})}})).field, "inputs.max_tokens");
  EXPECT_EQ(RefusedGrpc(Message({}, {}, Parameter("n", 0))).field, "parameters.n");
}

}  // namespace
}  // namespace vramgate
