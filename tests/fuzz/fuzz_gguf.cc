// GGUF heads, and what they say of a model's layers. What is read is consistent with itself, sizes are in range, and
// half of a file is refused or read the same.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "admission/check.h"
#include "admission/estimator/gguf_config.h"
#include "admission/estimator/gguf_file.h"
#include "admission/estimator/gguf_layers.h"

namespace {

void Layers(const vramgate::GgufFile& file) {
  const absl::StatusOr<vramgate::GgufModel> model = vramgate::ReadGgufLayers(file, "fuzz.gguf");
  if (!model.ok()) {
    CHECK(model.status().message().substr(0, 11) == "fuzz.gguf: ", "an error without the file's name");
    return;
  }
  CHECK(!model->layers.empty(), "a model without layers");
  constexpr int64_t kMax = int64_t{1} << 50;
  for (const vramgate::GgufLayer& layer : model->layers) {
    CHECK(layer.kv_heads == 0 || layer.key_dim > 0, "keys of no size");
    CHECK(layer.conv_elements >= 0 && layer.conv_elements < kMax, "a state out of range");
    CHECK(layer.state_elements >= 0 && layer.state_elements < kMax, "a state out of range");
    CHECK(layer.window_tokens >= 0, "a negative window");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const absl::StatusOr<vramgate::GgufFile> file = vramgate::ParseGguf(bytes, "fuzz.gguf");
  if (!file.ok()) {
    CHECK(file.status().message().substr(0, 11) == "fuzz.gguf: ", "an error without the file's name");
    return 0;
  }
  int64_t sum = 0;
  for (const vramgate::GgufTensor& tensor : file->tensors) {
    CHECK(tensor.bytes > 0 && tensor.elements > 0, "a tensor of nothing");
    CHECK(file->FindTensor(tensor.name) == &tensor, "a tensor that cannot be found");
    sum += tensor.bytes;
  }
  CHECK(sum == file->tensor_bytes, "the sum is not the sum");
  for (const auto& [key, value] : file->values) {
    CHECK(file->Find(key) == &value, "a key that cannot be found");
    (void)file->Uint(key);
    (void)file->UintArray(key);
    (void)file->String(key);
    (void)file->Float(key);
    (void)file->Bool(key);
  }
  Layers(*file);
  if (const absl::StatusOr<vramgate::ModelShape> shape = vramgate::ShapeOfGguf(*file, "fuzz.gguf"); shape.ok()) {
    CHECK(shape->Validate().ok(), "a shape that is let in and cannot be");
  }
  const absl::StatusOr<vramgate::GgufFile> shorter = vramgate::ParseGguf(bytes.substr(0, size / 2), "fuzz.gguf");
  CHECK(!shorter.ok() || shorter->tensor_bytes == sum, "half of a file that has other tensors");
  return 0;
}
