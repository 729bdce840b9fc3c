// GGUF heads. What is read is consistent with itself, and a file cut off anywhere is refused or read the same.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "admission/check.h"
#include "admission/estimator/gguf_file.h"

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
  const absl::StatusOr<vramgate::GgufFile> shorter = vramgate::ParseGguf(bytes.substr(0, size / 2), "fuzz.gguf");
  CHECK(!shorter.ok() || shorter->tensor_bytes == sum, "half of a file that has other tensors");
  return 0;
}
