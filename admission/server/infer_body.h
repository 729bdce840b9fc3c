// What an inference request of KServe's v2 protocol says of its size: tensors by name, whether they came as JSON, as
// the binary behind it, or in a gRPC message. Their names are those of Triton's vLLM and TensorRT-LLM backends:
// text_input, prompt, input_ids; max_tokens, request_output_len; sampling_parameters; beam_width. Any other tensor is
// text like any other; a model of no language has no place in the gate's config, and its route no place behind the
// gate.
//
//   if (auto refusal = ReadInferJson(json, tensors, &body)) ...          // POST /v2/models/{model}/infer
//   if (auto refusal = ReadInferMessage(framed, &body)) ...              // /inference.GRPCInferenceService/ModelInfer
//
// Used by the reader of bodies. Hostile input: sizes that a message states are checked against what is there. Pure; any
// thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "admission/server/json_body.h"
#include "admission/server/refusal.h"
#include "admission/server/request_body.h"

namespace vramgate {

// One input, as far as it matters.
struct InferTensor {
  static constexpr size_t kMostKeptText = 65536;  // of sampling_parameters

  std::string name;
  std::string datatype;    // "BYTES", "INT32", ...
  int64_t rows = 1;        // the batch: the first dimension, where there are two or more
  int64_t dimensions = 0;  //
  int64_t elements = 0;    //
  int64_t texts = 0;       // of the elements
  int64_t text_bytes = 0;  // of them all
  int64_t longest_text_bytes = 0;
  int64_t largest = 0;  // of the numbers
  bool whole = true;    // all of them are whole and not below 0
  std::string text;     // the first, where it is not too long

  void AddText(std::string_view value);
  void AddNumber(int64_t value);
  void AddFractions(int64_t count);
  void AddDimension(int64_t size);
  // The elements as raw little-endian bytes, texts with their length before them. False: not what the datatype says.
  [[nodiscard]] bool AddRaw(std::string_view raw);
};

// Adds up a request's tensors.
class InferSize {
 public:
  [[nodiscard]] std::optional<Refusal> Add(const InferTensor& tensor);
  // The request's own parameters: what the vLLM backend reads where there is no tensor sampling_parameters.
  void AddParams(const OutputLimits& limits) { params_.Add(limits); }
  void AddTextBytes(int64_t bytes) { other_bytes_ += bytes; }
  void Finish(RequestBody* out) const;

 private:
  OutputLimits limits_;
  OutputLimits params_;
  OutputLimits in_text_;
  bool has_text_params_ = false;
  bool unbounded_ = false;
  int64_t other_bytes_ = 0;
  int64_t prompts_ = 0;
  int64_t longest_text_bytes_ = 0;
  int64_t longest_ids_ = 0;
  bool has_text_ = false;
};

// `tensors`: what follows the JSON by KServe's binary extension; "" without it.
[[nodiscard]] std::optional<Refusal> ReadInferJson(std::string_view json, std::string_view tensors, RequestBody* out);

// A ModelInferRequest, framed as gRPC does. The model's name is in it.
[[nodiscard]] std::optional<Refusal> ReadInferMessage(std::string_view framed, RequestBody* out);

}  // namespace vramgate
